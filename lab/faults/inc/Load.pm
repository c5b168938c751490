package Load;

# Clients, each a process of its own, that make requests until they are told to stop.

use warnings;
use strict;

use POSIX ();

use Client;

# Options:
#
#     choose      returns a method, a URI, and if need be a word that a failure is known by
#     clients     how many, 3 unless given
#     pause       seconds between requests

sub new {
	my ($class, $t, %self) = @_;

	my $self = bless { clients => 3, pause => 0.002, end => $t->testdir() . '/load.end', %self }, $class;

	$self->{outputs} = [map { $self->begin($_) } 1 .. $self->{clients}];

	return $self;
}

# Ends the load, and tells what came of it: the number of requests, and hashes of method, kind, word, from and to
# (milliseconds) of those that failed.

sub stop {
	my ($self) = @_;

	open my $end, '>', $self->{end} or die "$self->{end}: $!\n";
	close $end;

	my ($made, @lost) = (0);

	for my $output (@{$self->{outputs}}) {
		chomp(my ($count, @lines) = <$output>);
		close $output;

		$made += $count // 0;
		push @lost, map { my %lost; @lost{qw/method kind word from to/} = split; \%lost } @lines;
	}

	unlink $self->{end};

	return ($made, @lost);
}

# What is wrong with a response, if it is not the whole one of a backend.

sub failure {
	my ($response) = @_;

	return if (served($response))[0];

	return ($response // '') =~ /^HTTP\S+ (\d+)/ ? $1 == 200 ? 'cut' : $1 : 'none';
}

###############################################################################

sub begin {
	my ($self, $number) = @_;

	my $owner = $$;
	my $pid = open(my $output, '-|') // die "cannot fork: $!\n";

	return $output if $pid;

	srand $number;

	my ($count, $lines) = (0, '');

	# when the suite dies, nobody is left to tell

	until (-e $self->{end} || getppid() != $owner) {
		$lines .= $self->request();
		$count++;
		select undef, undef, undef, $self->{pause};
	}

	print STDOUT "$count\n$lines";
	STDOUT->flush();
	POSIX::_exit(0);
}

# Makes a request, and returns a line if it fails.

sub request {
	my ($self) = @_;

	my ($method, $uri, $word) = $self->{choose}->();
	my $started = now();
	my $kind = failure($method eq 'POST' ? post($uri) : get($uri));

	return $kind ? sprintf("%s %s %s %d %d\n", $method, $kind, $word // '-', $started, now()) : '';
}

1;
