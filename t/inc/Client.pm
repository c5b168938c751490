package Client;

# Requests with idle times between them, which are measured.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ now sleep_until get post ask answer served servers answers twice is_reused is_fresh errors /;

use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw/ clock_gettime CLOCK_MONOTONIC /;

use Test::Nginx;

# Milliseconds of the monotonic clock.

sub now {
	return clock_gettime(CLOCK_MONOTONIC) * 1000;
}

sub sleep_until {
	my ($time) = @_;

	while ((my $left = $time - now()) > 0) {
		select undef, undef, undef, $left / 1000;
	}
}

sub get {
	my ($uri, %extra) = @_;

	return http("GET $uri HTTP/1.0\r\nHost: localhost\r\n\r\n", %extra);
}

sub post {
	my ($uri, %extra) = @_;

	return http("POST $uri HTTP/1.0\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody", %extra);
}

# Sends a request on a connection that is kept, a new one unless it is given, and returns the connection.

sub ask {
	my ($method, $uri, $socket) = @_;

	my $request = "$method $uri HTTP/1.1\r\nHost: localhost\r\n"
		. ($method eq 'POST' ? "Content-Length: 4\r\n\r\nbody" : "\r\n");

	return http($request, start => 1, $socket ? (socket => $socket) : ());
}

# The response on such a connection; what has come of it, if nothing more comes for ten seconds.

sub answer {
	my ($socket) = @_;

	my $response = '';
	my $select = IO::Select->new($socket);

	while ($select->can_read(10) && sysread $socket, $response, 65536, length($response)) {
		my $chunked = $response =~ /^Transfer-Encoding: chunked/mi;
		last if $response =~ ($chunked ? qr/\r\n0\r\n(?:.+\r\n)*\r\n\z/ : qr/\r\n\r\n.*\n\z/s);
	}

	return $response;
}

# What the backend says in a response: the connection and the number of the request on it.

sub served {
	my ($response) = @_;

	return ($response // '') =~ /^HTTP\S+ 200 .*\n\r?\n.*?connection (\d+) request (\d+)/s ? ($1, $2) : (0, 0);
}

# Which backends have sent the responses, in numerical order: 1 for one whose connections are numbered from 1 on, 2 for
# one with numbers above 1000, and 0 for none.

sub servers {
	my @responses = @_;

	return join ' ', sort map { $_ == 0 ? 0 : $_ < 1000 ? 1 : 2 } map { (served($_))[0] } @responses;
}

# The responses to requests that were only sent; undef in place of one that did not come within ten seconds.

sub answers {
	my @sockets = @_;

	my %response;
	my $select = IO::Select->new(@sockets);

	while ($select->count() and my @ready = $select->can_read(10)) {
		for my $socket (@ready) {
			next if sysread($socket, $response{$socket}, 65536, length($response{$socket} // ''));
			$select->remove($socket);
		}
	}

	return map { $response{$_} } @sockets;
}

# Makes two requests, and waits between them for so many milliseconds. When an idle age is given that the connection must
# be below at the second request, and this took too long to be sure of it, all is done again.

sub twice {
	my ($request, $wait, $below) = @_;

	for (1 .. 10) {
		my $started = now();
		my $first = $request->();

		sleep_until(now() + $wait);

		my $second = $request->();

		return ($first, $second) if !defined $below || now() - $started < $below;
	}

	diag("too slow for an idle age below $below ms");

	return ('', '');
}

sub is_reused {
	my ($first, $second, $name) = @_;

	my ($connection, $request) = served($first);

	is(join(' ', served($second)), join(' ', $connection, $request + 1), "$name, reused");
}

sub is_fresh {
	my ($first, $second, $name) = @_;

	my ($old, $new) = map { [served($_)] } $first, $second;

	ok($old->[1] && $new->[1] == 1 && $new->[0] != $old->[0], "$name, fresh")
		or diag("first: $first\nsecond: " . ($second // 'none'));
}

# How often nginx has logged an error about a request with "?upstream=" and that name.

sub errors {
	my ($t, $error, $upstream) = @_;

	return scalar grep { /\Q$error\E.*\?upstream=$upstream\b/ } split /\n/, $t->read_file('error.log');
}

1;
