package Backend::Faulty;

# A backend that lets connections fail when it is told to. More arguments of a request's URI:
#
#     fresh=HOW       if the request is the first on its connection
#     reused=HOW      if it is not:
#
#                     close       the connection is closed; over TLS with a close_notify
#                     fin         the same without a close_notify
#                     reset       the connection is reset
#                     silent      there is no answer
#                     half        there is half of a response header, and then the connection is closed
#                     part        the same, but the connection is reset
#                     status500   the answer is an error
#
#     work=SECONDS    it fails that much later
#     last=1          the response says that the connection is closed, which it is
#     accel=URI       the response has an X-Accel-Redirect to that URI
#
# What is to be done to a connection that is idle, a suite says to the backend itself, see order().

use warnings;
use strict;

use base qw/ Backend /;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw/ SOL_SOCKET SO_LINGER /;
use Time::HiRes qw/ time /;

my %answer = (half => \&half, part => \&part, status500 => \&status500, silent => \&silent);

# For run_daemon(), with the options of Backend.

sub run {
	my ($t, %self) = @_;

	Backend::run($t, class => __PACKAGE__, %self);
}

# Has something done to the connection of that number, and returns when it is done:
#
#     close, fin, reset   as above
#     chatter             sends what nobody has asked for
#     deaf                what comes is not read any more
#     unread              closes a connection that is deaf when something has come
#
# The order "count" is for no connection: it returns the number of open ones.

sub order {
	my ($where, $order, $number) = @_;

	my $socket = $where->{tls} ? tls_client($where->{port})
		: $where->{path} ? IO::Socket::UNIX->new(Peer => $where->{path})
		: IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $where->{port});

	die "cannot connect: $!\n" unless $socket;

	print $socket "GET /?order=$order&number=" . ($number // 0) . " HTTP/1.1\r\n\r\n";
	$socket->flush();

	my $response = '';

	while (IO::Select->new($socket)->can_read(10) && sysread $socket, $response, 4096, length($response)) {
		last if $response =~ /(\d+) done\n/;
	}

	$response =~ /(\d+) done\n/ or die "backend does not obey\n";

	return $1;
}

###############################################################################

sub tls_client {
	my ($port) = @_;

	require IO::Socket::SSL;

	return IO::Socket::SSL->new(PeerAddr => '127.0.0.1', PeerPort => $port, SSL_verify_mode => 0);
}

# Orders are for other connections: they are obeyed while nobody looks through those.

sub wait {
	my ($self) = @_;

	$self->obey(@$_) for splice @{$self->{orders}};

	return $self->SUPER::wait();
}

sub answer {
	my ($self, $c) = @_;

	if ($c->{uri} =~ /order=(\w+)&number=(\d+)/) {
		delete $c->{answer_at};
		push @{$self->{orders}}, [$c, $1, $2];
		return;
	}

	my $which = $c->{requests} > 1 ? 'reused' : 'fresh';
	my ($how) = $c->{uri} =~ /\b$which=(\w+)/;

	return $self->SUPER::answer($c) if !$how && $c->{uri} !~ /\b(?:last|accel)=/;

	my ($work) = $c->{uri} =~ /\bwork=([\d.]+)/;

	if ($how && $work && !$c->{worked}++) {
		$c->{answer_at} = time() + $work;
		return;
	}

	delete @$c{qw/answer_at worked/};

	my $answer = $answer{$how // ''} // ($how ? \&cut : \&special);

	$answer->($self, $c, $how);

	$c->{last} = time();
	$c->{expire_at} = $c->{last} + $self->{timeout} if $self->{timeout};
}

sub obey {
	my ($self, $c, $order, $number) = @_;

	# no request of nginx's

	$c->{control} = 1;
	$c->{requests} = 0;

	my @open = grep { !$_->{control} } values %{$self->{connections}};
	my ($other) = grep { $_->{number} == $number } @open;

	if ($other && $order eq 'chatter') {
		$other->{socket}->syswrite('x');

	} elsif ($other && $order eq 'deaf') {
		$self->{select}->remove($other->{socket});

	} elsif ($other && $order eq 'unread') {
		IO::Select->new($other->{socket})->can_read(5);
		$self->cut($other, 'fin');

	} elsif ($other) {
		$self->cut($other, $order);
	}

	send_all($c, scalar(@open) . " done\n");
}

# Ends a connection: close, fin, or reset.

sub cut {
	my ($self, $c, $how) = @_;

	my $name = "$c->{socket}";

	# what was a TLS connection has another name now

	$c->{socket}->stop_SSL(SSL_no_shutdown => 1) if $self->{tls} && $how ne 'close';
	$self->{connections}{$c->{socket}} = delete $self->{connections}{$name};

	setsockopt $c->{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) if $how eq 'reset';

	$self->end($c, 'self');
}

sub silent {
}

sub half {
	my ($self, $c) = @_;

	send_all($c, "HTTP/1.1 200 OK\r\nContent-");
	$self->cut($c, 'close');
}

sub part {
	my ($self, $c) = @_;

	send_all($c, "HTTP/1.1 200 OK\r\nContent-");
	$self->cut($c, 'reset');
}

sub status500 {
	my ($self, $c) = @_;

	send_all($c, "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\noops\n");
}

sub special {
	my ($self, $c) = @_;

	my ($accel) = $c->{uri} =~ /\baccel=([^&]+)/;
	my $last = $c->{uri} =~ /\blast=/;
	my $body = "connection $c->{number} request $c->{requests}\n";

	send_all($c, "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n"
		. ($accel ? "X-Accel-Redirect: $accel\r\n" : '')
		. ($last ? "Connection: close\r\n" : '')
		. "\r\n$body");

	$self->cut($c, 'close') if $last;
}

# It is not much: there is room for it.

sub send_all {
	my ($c, $text) = @_;

	$c->{socket}->syswrite($text);
}

1;
