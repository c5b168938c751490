package Relay;

# A link with latency: passes on what it gets, and the ends of connections, a fixed time later.

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw/ clock_gettime CLOCK_MONOTONIC /;

# Serves for ever, so is for run_daemon(). Options:
#
#     port, to        where to listen, and the port to connect to
#     address         of both, 127.0.0.1 unless it is given
#     delay           seconds, in each direction
#     log             gets a line whenever something was passed on more than 20 milliseconds late

sub run {
	my (%self) = @_;

	my $self = bless { address => '127.0.0.1', %self, links => {}, queue => [] };

	local $SIG{PIPE} = 'IGNORE';

	$self->{server} = IO::Socket::INET->new(
		LocalAddr => $self->{address}, LocalPort => $self->{port}, Listen => 128, ReuseAddr => 1)
		or die "cannot listen: $!\n";

	$self->{select} = IO::Select->new($self->{server});

	while (1) {
		for my $socket ($self->{select}->can_read($self->wait())) {
			$socket == $self->{server} ? $self->accept() : $self->read($socket);
		}

		$self->pass_on();
	}
}

# A figure that grows whenever it is late.

sub late {
	my ($log) = @_;

	return -s $log // 0;
}

###############################################################################

sub now {
	return clock_gettime(CLOCK_MONOTONIC);
}

# All is delayed alike, so the queue is in order.

sub wait {
	my ($self) = @_;

	return undef unless @{$self->{queue}};

	my $wait = $self->{queue}[0]{due} - now();

	return $wait > 0 ? $wait : 0;
}

sub accept {
	my ($self) = @_;

	my $client = $self->{server}->accept() or return;
	my $server = IO::Socket::INET->new(PeerAddr => $self->{address}, PeerPort => $self->{to}) or return;

	$self->{links}{$client} = $server;
	$self->{links}{$server} = $client;
	$self->{select}->add($client, $server);
}

sub read {
	my ($self, $socket) = @_;

	my $n = sysread $socket, my $data, 65536;

	# an empty string is the end

	push @{$self->{queue}}, { from => $socket, data => $data // '', due => now() + $self->{delay} };

	$self->{select}->remove($socket) unless $n;
}

sub pass_on {
	my ($self) = @_;

	my $queue = $self->{queue};

	while (@$queue && $queue->[0]{due} <= now()) {
		my ($from, $data, $due) = @{shift @$queue}{qw/from data due/};
		my $to = $self->{links}{$from};

		if (length($data)) {
			syswrite $to, $data;

		} else {
			shutdown $to, 1;
			delete $self->{links}{$from};
		}

		$self->write_log($due) if now() - $due > 0.02;
	}
}

sub write_log {
	my ($self, $due) = @_;

	open my $log, '>>', $self->{log} or die "$self->{log}: $!\n";
	syswrite $log, sprintf "%.1f ms late\n", (now() - $due) * 1000;
	close $log;
}

1;
