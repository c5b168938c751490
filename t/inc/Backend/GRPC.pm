package Backend::GRPC;

# What the backend speaks: as much of HTTP/2 as nginx needs for gRPC. A request's URI is not decoded.

use warnings;
use strict;

use constant { DATA => 0, HEADERS => 1, SETTINGS => 4, PING => 6 };
use constant { END_STREAM => 1, ACK => 1, END_HEADERS => 4 };

my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

# Takes frames from what was read until a request ends. The first ones on a connection are answered at once.

sub request {
	my ($c) = @_;

	if (!$c->{greeted}) {
		return unless length($c->{in}) >= length($preface);

		substr($c->{in}, 0, length($preface)) = '';
		$c->{socket}->syswrite(frame(SETTINGS, 0, 0, ''));
		$c->{greeted} = 1;
	}

	while (length($c->{in}) >= 9) {
		my ($high, $low, $type, $flags, $stream) = unpack('C n C C N', $c->{in});
		my $length = 9 + ($high << 16 | $low);

		return if length($c->{in}) < $length;

		substr($c->{in}, 0, $length) = '';

		if ($type == SETTINGS && !($flags & ACK)) {
			$c->{socket}->syswrite(frame(SETTINGS, ACK, 0, ''));
		}

		if (($type == HEADERS || $type == DATA) && $flags & END_STREAM) {
			$c->{stream} = $stream;
			return '/';
		}
	}

	return;
}

# The headers are a static entry (":status: 200"), and literals with names of their own.

sub response {
	my ($c, $body) = @_;

	return frame(HEADERS, END_HEADERS, $c->{stream}, "\x88" . literal('content-type', 'application/grpc'))
		. frame(DATA, 0, $c->{stream}, $body)
		. frame(HEADERS, END_HEADERS | END_STREAM, $c->{stream}, literal('grpc-status', '0'));
}

sub literal {
	my ($name, $value) = @_;

	return pack('x C/a* C/a*', $name, $value);
}

sub frame {
	my ($type, $flags, $stream, $payload) = @_;

	return pack('x n C C N', length($payload), $type, $flags, $stream) . $payload;
}

1;
