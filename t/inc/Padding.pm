package Padding;

# Upstreams whose status is as long as a suite wants it to be.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ upstreams padding /;

use List::Util qw/ min /;

# The upstreams, with so many bytes more in their names. A name stands once in the status.

sub upstreams {
	my ($bytes) = @_;

	my $upstreams = '';

	for my $n (10 .. 29) {
		my $more = min($bytes, 1000);

		$bytes -= $more;
		$upstreams .= "upstream u$n" . 'x' x $more
			. " { server 127.0.0.1:8081; keepalive 2; upstream_idle_timeout 60s; }\n";
	}

	return $upstreams;
}

# How many bytes a length is short of a multiple of that.

sub padding {
	my ($length, $of) = @_;

	return -$length % $of;
}

1;
