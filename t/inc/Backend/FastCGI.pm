package Backend::FastCGI;

# What the backend speaks: FastCGI.

use warnings;
use strict;

# FCGI_END_REQUEST, FCGI_STDIN, FCGI_STDOUT

use constant { END_REQUEST => 3, FROM_CLIENT => 5, TO_CLIENT => 6 };

# Takes a request from what was read. Its parameters are returned as they are: arguments can be found there, too.

sub request {
	my ($c) = @_;

	my $end = 0;
	my ($type, $length);

	do {
		return if length($c->{in}) < $end + 8;

		($type, $length, my $padding) = unpack('x C x2 n C', substr($c->{in}, $end, 8));
		$end += 8 + $length + $padding;

	} until $type == FROM_CLIENT && $length == 0;

	return if length($c->{in}) < $end;

	return substr($c->{in}, 0, $end, '');
}

sub response {
	my ($c, $body, $headers) = @_;

	my $out = '';

	$out .= record(TO_CLIENT, $_) for unpack('(a65000)*', "Content-Type: text/plain\r\n$headers\r\n$body");

	return $out . record(TO_CLIENT, '') . record(END_REQUEST, "\0" x 8);
}

sub record {
	my ($type, $content) = @_;

	return pack('C C n n C x', 1, $type, 1, length($content), 0) . $content;
}

1;
