package Backend::Late;

# A faulty backend that also speaks FastCGI, and has more to do with idle connections. More orders:
#
#     late408         sends the response that some servers have for a connection on which no request came in time
#     notify          sends a close_notify, and does not close the connection
#     exit            ends the backend; for any connection

use warnings;
use strict;

use base qw/ Backend::Faulty /;

use IO::Socket::INET;
use Socket qw/ IPPROTO_TCP TCP_NODELAY /;

use Backend::FastCGI;

# For run_daemon(), with the options of Backend.

sub run {
	my ($t, %self) = @_;

	Backend::Faulty::run($t, class => __PACKAGE__, %self);
}

# As Backend::Faulty's. With "fastcgi" it is said in a parameter.

sub order {
	my ($where, $order, $number) = @_;

	return Backend::Faulty::order($where, $order, $number) unless $where->{fastcgi};

	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $where->{port})
		or die "cannot connect: $!\n";

	syswrite $socket, Backend::FastCGI::record(4, "order=$order&number=$number\n") . Backend::FastCGI::record(5, '');
	sysread $socket, my $response, 4096;
	$response =~ /done\n/ or die "backend does not obey\n";
}

###############################################################################

sub obey {
	my ($self, $c, $order, $number) = @_;

	my ($other) = grep { $_->{number} == $number } values %{$self->{connections}};

	# what was sent last may not be acknowledged yet

	setsockopt $other->{socket}, IPPROTO_TCP, TCP_NODELAY, 1 if $other;

	if ($order eq 'late408') {
		$other->{socket}->syswrite("HTTP/1.1 408 Request Timeout\r\nContent-Length: 5\r\n\r\nlate\n");

	} elsif ($order eq 'notify') {
		Net::SSLeay::shutdown($other->{socket}->_get_ssl_object());

	} elsif ($order ne 'exit') {
		return $self->SUPER::obey($c, $order, $number);
	}

	$c->{control} = 1;
	Backend::Faulty::send_all($c, "1 done\n");

	exit if $order eq 'exit';
}

1;
