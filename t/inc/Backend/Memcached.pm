package Backend::Memcached;

# What the backend speaks: the text protocol of memcached.

use warnings;
use strict;

# Takes a request from what was read, and returns its key.

sub request {
	my ($c) = @_;

	return unless $c->{in} =~ s/^get (\S+)\r\n//;

	return $c->{key} = $1;
}

sub response {
	my ($c, $body) = @_;

	return "VALUE $c->{key} 0 " . length($body) . "\r\n$body\r\nEND\r\n";
}

1;
