package Backend::Goaway;

# What the backend speaks: HTTP/2, and the second request on a connection is answered as is said in a file:
#
#     goaway          a GOAWAY, by which no request after the first one is carried out
#     none            none at all is
#     debug           with a text
#     frames          after other frames
#     pieces          byte by byte
#     twice           after another one, by which all requests are carried out
#     ours, graceful  a GOAWAY after the request, and the response
#     close           a frame that is no response, and the end of the connection

use warnings;
use strict;

use base qw/ Backend::GRPC /;

use Backend::GRPC;

use constant { GOAWAY => 7, LAST => 0x7fffffff };

our $file;

my %second = (
	goaway => sub { goaway(1) },
	none => sub { goaway(0) },
	debug => sub { goaway(1, 'x' x 300) },
	frames => sub { Backend::GRPC::frame(Backend::GRPC::SETTINGS, 0, 0, '') . ping() . goaway(1) },
	pieces => sub { goaway(1) },
	twice => sub { goaway(LAST) . goaway(1) },
	ours => sub { goaway(3) },
	graceful => sub { goaway(LAST) },
	close => sub { Backend::GRPC::frame(Backend::GRPC::SETTINGS, 0, 0, '') },
);

sub request {
	my ($c) = @_;

	my $uri = Backend::GRPC::request($c);

	return $uri unless defined $uri && $c->{requests};

	open my $in, '<', $file or die "$file: $!\n";
	my $what = <$in>;
	my $bytes = $second{$what}->();
	my $size = $what eq 'pieces' ? 1 : length $bytes;

	# each piece is there to be read before the next one

	for my $piece (unpack "(a$size)*", $bytes) {
		$c->{socket}->syswrite($piece);
		select undef, undef, undef, 0.005 if $size == 1;
	}

	return $uri if $what =~ /ours|graceful/;

	shutdown $c->{socket}, 1 if $what eq 'close';

	return;
}

sub ping {
	return Backend::GRPC::frame(Backend::GRPC::PING, 0, 0, 'abcdefgh');
}

sub goaway {
	my ($last, $debug) = @_;

	return Backend::GRPC::frame(GOAWAY, 0, 0, pack('N N', $last, 0) . ($debug // ''));
}

1;
