package Stall;

# Blocks nginx's worker inside a handler, by an access log that is a pipe which nobody reads from.
#
# The configuration has a location with the log, where nothing is logged before the response is sent:
#
#     location /stall {
#         access_log %%TESTDIR%%/stall.fifo;
#         return 204;
#     }

use warnings;
use strict;

use Fcntl qw/ O_NONBLOCK O_RDWR /;
use POSIX qw/ mkfifo /;

use Client qw/ now sleep_until get ask answer /;
use Test::Nginx;

# linux/fcntl.h

use constant F_SETPIPE_SZ => 1031;

# Makes the pipe. It has to be there, and open, before nginx starts.

sub new {
	my ($class, $t) = @_;

	my $path = $t->testdir() . '/stall.fifo';

	mkfifo($path, 0666) or die "cannot make $path: $!\n";
	sysopen my $pipe, $path, O_RDWR | O_NONBLOCK or die "cannot open $path: $!\n";
	fcntl $pipe, F_SETPIPE_SZ, 4096 or die "cannot shrink $path: $!\n";

	return bless { pipe => $pipe }, $class;
}

# The worker is blocked from now on: what it gets is handled after release().

sub begin {
	my ($self) = @_;

	$self->drain();
	syswrite $self->{pipe}, 'x' x 4096;

	# the response is sent just before the log is written

	$self->{client} = get('/stall', start => 1);
	sysread($self->{client}, my $response, 4096) or die "worker did not answer\n";
}

sub release {
	my ($self) = @_;

	$self->drain();

	# the end of the connection comes after the log is written

	1 while sysread $self->{client}, my $buf, 4096;
}

# A request, and another one that the worker gets while it is blocked for so many milliseconds. Nothing that happens
# meanwhile is seen by the worker before the second request: that comes from a client whom it knows.

sub twice {
	my ($self, $method, $uri, $msec) = @_;

	my $socket = ask($method, $uri);
	my $first = answer($socket);

	$self->begin();

	my $begun = now();

	ask($method, $uri, $socket);
	sleep_until($begun + $msec);

	$self->release();

	return ($first, answer($socket));
}

sub drain {
	my ($self) = @_;

	1 while sysread $self->{pipe}, my $buf, 4096;
}

1;
