package Backend::HTTP;

# What the backend speaks: HTTP/1.1.

use warnings;
use strict;

# Takes a request from what was read, and returns its URI.

sub request {
	my ($c) = @_;

	return unless $c->{in} =~ /^\w+ (\S+) .*?\r\n\r\n/s;

	my ($uri, $length) = ($1, $+[0]);
	my ($body) = substr($c->{in}, 0, $length) =~ /\r\nContent-Length: (\d+)/i;

	$length += $body // 0;

	return if length($c->{in}) < $length;

	substr($c->{in}, 0, $length) = '';

	return $uri;
}

sub response {
	my ($c, $body, $headers) = @_;

	return "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n$headers\r\n$body";
}

1;
