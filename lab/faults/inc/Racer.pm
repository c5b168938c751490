package Racer;

# Clients that race with the end of idle connections: each makes a request that leaves a connection, waits for an age, and makes
# a POST, again and again. Each has an upstream of its own, whose connection nobody else takes.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ race /;

use IO::Select;

use Client qw/ now /;
use Test::Nginx;

# a POST that has no response by then is not waited for, in milliseconds

use constant PATIENCE => 15000;

# Makes so many POSTs, and returns what came of them: hashes of id, age and response. Options:
#
#     clients     how many
#     posts       how many, all clients together
#     uri         the URI of the client of a number, with an upstream in its arguments
#     prime       returns arguments of a request that leaves a connection
#     age         returns the age of the connection at the POST, in milliseconds
#     body        the size of the POST's body, 100 unless given
#     prefix      what ids begin with

sub race {
	my ($t, %self) = @_;

	my $self = bless { body => 100, count => 0, left => $self{posts}, select => IO::Select->new(), %self }, __PACKAGE__;

	# not all at the same time

	my @clients = map { { uri => $self->{uri}->($_), due => now() + 10 * $_, next => \&prime } } 1 .. $self->{clients};

	while (my @open = grep { $_->{next} || $_->{socket} } @clients) {
		$self->step(@open);
	}

	return @{$self->{results}};
}

###############################################################################

sub step {
	my ($self, @clients) = @_;

	my ($first) = sort { $a->{due} <=> $b->{due} } @clients;
	my $wait = ($first->{due} - now()) / 1000;
	my %client = map { $_->{socket} => $_ } grep { $_->{socket} } @clients;

	if ($self->{select}->count()) {
		$self->read($client{$_}) for $self->{select}->can_read($wait > 0 ? $wait : 0);

	} elsif ($wait > 0) {
		select undef, undef, undef, $wait;
	}

	for my $client (grep { $_->{due} <= now() } @clients) {
		$client->{socket} ? $self->done($client) : $client->{next}->($self, $client);
	}
}

sub prime {
	my ($self, $client) = @_;

	return delete $client->{next} if $self->{left}-- <= 0;

	my $id = $self->{prefix} . 'p' . ++$self->{count};

	$client->{next} = \&post;
	$self->send($client, 'GET ' . join('&', $client->{uri}, "id=$id", $self->{prime}->()), '');
}

sub post {
	my ($self, $client) = @_;

	my $id = $self->{prefix} . ++$self->{count};

	$client->{result} = { id => $id, age => now() - $client->{idle} };
	$client->{next} = \&prime;
	$self->send($client, "POST $client->{uri}&last=1&id=$id", 'x' x $self->{body});
}

sub send {
	my ($self, $client, $line, $body) = @_;

	my $length = length $body;

	$client->{response} = '';
	$client->{due} = now() + PATIENCE;
	$client->{socket} = http("$line HTTP/1.0\r\nHost: localhost\r\nContent-Length: $length\r\n\r\n$body", start => 1)
		or die "nginx does not listen\n";
	$self->{select}->add($client->{socket});
}

sub read {
	my ($self, $client) = @_;

	$self->done($client) unless sysread $client->{socket}, $client->{response}, 65536, length($client->{response});
}

# There is a response, or no hope of one.

sub done {
	my ($self, $client) = @_;

	$self->{select}->remove($client->{socket});
	close delete $client->{socket};

	$client->{idle} = now();
	$client->{due} = $client->{idle} + ($client->{result} ? 0 : $self->{age}->());

	my $result = delete $client->{result} or return;

	push @{$self->{results}}, { %$result, response => $client->{response} };
}

1;
