package Backend::HTTP;

# What the backend speaks: HTTP/1.1. More arguments of a request's URI:
#
#     status=NUMBER   is the status of the response, which has no body then
#     etag=1          has an ETag

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

	my ($status) = $c->{uri} =~ /\bstatus=(\d+)/;

	$headers .= "ETag: \"backend\"\r\n" if $c->{uri} =~ /\betag=1/;

	return "HTTP/1.1 $status Other\r\nContent-Length: 0\r\n$headers\r\n" if $status;
	return "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n$headers\r\n$body";
}

1;
