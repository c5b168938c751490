package Wire;

# A wire between the suite, which has nginx with it, and its backends, that can be slow and lose things: lab/wire. TCP is not
# terminated on it, so that nginx sees of a backend's kernel what it would see over a network.

use warnings;
use strict;

use FindBin;
use IO::Handle;
use IPC::Open2;
use POSIX ();
use Test::More ();

use constant { SERVER => '10.77.0.2', CLONE_NEWNET => 0x40000000 };

# setns(2), which Perl has no function for

my %setns = (x86_64 => 308, aarch64 => 268, riscv64 => 268, ppc64le => 350, s390x => 339);

# Makes a wire, and moves the suite to its client's end: so this comes before a port is asked for, and before nginx and other
# processes are started. Skips the suite where it can't be done. Options:
#
#     delay       milliseconds, one way; in both directions
#     lifetime    seconds after which the wire is cut, whatever the suite does: 600
#     trace       a file that has all segments then
#     seed        of what is lost and delayed at random

sub new {
	my ($class, %option) = @_;

	my $self = bless { owner => $$ }, $class;
	my $setns = $setns{(POSIX::uname())[4]} or Test::More::plan(skip_all => 'no wire: unknown machine');

	$self->{setns} = $setns;
	$self->{pid} = open2($self->{answers}, $self->{commands},
		'python3', "$FindBin::Bin/../wire/wire.py", map { "$_=$option{$_}" } sort keys %option);

	for my $end (qw/client server/) {
		my $line = readline($self->{answers}) // "no wire: it does not start\n";

		($self->{$end}) = $line =~ /^$end (\S+)/ or Test::More::plan(skip_all => $line =~ s/\n//r);
	}

	$self->enter('client');

	return $self;
}

# The address of the backends.

sub server {
	return SERVER;
}

# Runs a daemon at the server's end: as $t->run_daemon().

sub run_daemon {
	my ($self, $t, $daemon, @arguments) = @_;

	$t->run_daemon(sub {
		$self->enter('server');
		ref $daemon ? $daemon->(@arguments) : exec $daemon, @arguments;
		die "cannot run: $!\n";
	});
}

# Whether somebody listens at the server's end, on all of these ports.

sub waitforsocket {
	my ($self, $t, @ports) = @_;

	return !grep { !$t->waitforsocket(SERVER . ":$_") } @ports;
}

# Gives a command to the wire, which obeys before this returns: see lab/wire/wire.py.

sub order {
	my ($self, $command) = @_;

	print {$self->{commands}} "$command\n";
	$self->{commands}->flush();

	my $answer = readline($self->{answers}) // "error: the wire is cut\n";

	chomp $answer;
	die "wire: $answer\n" if $answer =~ /^error/;

	return $answer;
}

# What the wire has counted: a hash of passed, lost, forged, and late in milliseconds.

sub figures {
	my ($self) = @_;

	return { split / /, $self->order('figures') };
}

# Moves this process to an end of the wire.

sub enter {
	my ($self, $end) = @_;

	open my $namespace, '<', $self->{$end} or die "no $end end of the wire: $!\n";
	syscall($self->{setns}, fileno $namespace, CLONE_NEWNET) == 0 or die "setns() failed: $!\n";
}

# The wire ends with its standard input, of which the suite's daemons have copies.

sub DESTROY {
	my ($self) = @_;

	return if $self->{owner} != $$ || !$self->{pid};

	local ($?, $!);

	kill TERM => $self->{pid};
	waitpid $self->{pid}, 0;
}

1;
