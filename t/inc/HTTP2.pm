package HTTP2;

# A client that speaks HTTP/2 in clear text, frame by frame (RFC 9113). It does not decode header fields, but for the
# two that nginx always writes in one way.

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;

use Test::Nginx;

use constant {
	DATA => 0, HEADERS => 1, RST_STREAM => 3, SETTINGS => 4, GOAWAY => 7, WINDOW_UPDATE => 8,
	END_STREAM => 1, ACK => 1, END_HEADERS => 4,
	INITIAL_WINDOW_SIZE => 4, MAX_WINDOW => 0x7fffffff,
};

# Connects; each stream begins with that window, and the connection with the largest one.

sub new {
	my ($class, $window) = @_;

	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . port(8080)) or die "cannot connect: $!\n";
	my $self = bless { socket => $socket, in => '', out => '', last => -1, streams => {} }, $class;

	$self->{out} = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	$self->frame(SETTINGS, 0, 0, pack 'nN', INITIAL_WINDOW_SIZE, $window);
	$self->update(0, MAX_WINDOW - 65535);

	return $self;
}

# Makes a request, and returns its stream. Nothing is sent before the next read().

sub request {
	my ($self, $method, $path, $gzip) = @_;

	my $stream = $self->{last} += 2;

	# from the static table: GET is 2, http is 6, "gzip, deflate" is 16; names of :method 2, :path 4, :authority 1

	my $headers = ($method eq 'GET' ? "\x82" : "\x02" . string($method))
		. "\x86\x04" . string($path) . "\x01" . string('localhost') . ($gzip ? "\x90" : '');

	$self->{streams}{$stream} = { headers => '', data => '' };
	$self->frame(HEADERS, END_STREAM | END_HEADERS, $stream, $headers);

	return $stream;
}

# Lets the peer send so many bytes more.

sub update {
	my ($self, $stream, $bytes) = @_;

	$self->frame(WINDOW_UPDATE, 0, $stream, pack 'N', $bytes);
}

# Reads until the condition is true of a stream, and returns that: its header fields as they were sent, data, and
# whether there is an end, "END_STREAM" or what came in place of it. Gives up when there is nothing for ten seconds.

sub read {
	my ($self, $stream, $condition) = @_;

	my $seen = $self->{streams}{$stream};
	my $select = IO::Select->new($self->{socket});

	$self->flush();

	until ($seen->{end} || $condition && $condition->($seen)) {
		$select->can_read(10) && sysread $self->{socket}, $self->{in}, 65536, length $self->{in}
			or $seen->{end} = 'no end';

		while (defined(my $frame = $self->next())) {
			$self->take($frame);
		}

		$self->flush();
	}

	return $seen;
}

# The status code, when it is 200, and the length that the header tells.

sub ok {
	my ($seen) = @_;

	return $seen->{headers} =~ /^\x20?\x88/;
}

sub length_of {
	my ($seen) = @_;

	return $seen->{headers} =~ /\x5c[\x01-\x14](\d+)/ ? $1 : undef;
}

###############################################################################

sub string {
	my ($text) = @_;

	return pack 'C/a*', $text;
}

sub frame {
	my ($self, $type, $flags, $stream, $payload) = @_;

	$self->{out} .= substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $stream) . $payload;
}

sub flush {
	my ($self) = @_;

	syswrite $self->{socket}, $self->{out} if length $self->{out};
	$self->{out} = '';
}

# A frame from what was read, when it is there as a whole.

sub next {
	my ($self) = @_;

	return if length $self->{in} < 9;

	my $length = 9 + unpack 'N', "\0$self->{in}";

	return if length $self->{in} < $length;

	return substr $self->{in}, 0, $length, '';
}

sub take {
	my ($self, $frame) = @_;

	my ($type, $flags, $stream, $payload) = unpack 'x3 C C N a*', $frame;
	my $seen = $self->{streams}{$stream};

	if ($type == HEADERS) {
		$seen->{headers} .= $payload;

	} elsif ($type == DATA) {
		$seen->{data} .= $payload;

	} elsif ($type == RST_STREAM) {
		$seen->{end} //= 'RST_STREAM';

	} elsif ($type == GOAWAY) {
		$_->{end} //= 'GOAWAY' for values %{$self->{streams}};

	} elsif ($type == SETTINGS && !($flags & ACK)) {
		$self->frame(SETTINGS, ACK, 0, '');
	}

	$seen->{end} //= 'END_STREAM' if $flags & END_STREAM && ($type == HEADERS || $type == DATA);
}

1;
