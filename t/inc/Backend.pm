package Backend;

# A backend that tells which of its connections served a request, and how old an idle connection was when the request
# arrived, or when the connection ended.
#
# Every response has the body "connection N request M\n", or "connection N request M resumed\n" over TLS when the
# connection began with a session of an earlier one. Arguments of the request's URI change it:
#
#     delay=SECONDS   is answered that much later
#     size=BYTES      has a body of that size
#     keep_alive=TEXT has a header Keep-Alive of that text, in which %XX stands for a character; one for each argument
#     connection=TEXT has a header Connection of that text; where there is a Keep-Alive it says so unless this is given
#
# Every request on a connection that was idle becomes a line of the log, "reuse N request M age MS", and every end of a
# connection another one: "connection N requests M age MS end HOW", where HOW is "peer", "reset", or "self" when the
# backend closed a connection that was idle for its timeout.

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use List::Util qw/ max /;
use POSIX qw/ EAGAIN /;
use Time::HiRes qw/ sleep time /;

use Backend::HTTP;

# Serves for ever, so is for run_daemon(). Options: log, and if need be
#
#     port or path    where to listen
#     address         and at which, 127.0.0.1 unless it is given
#     timeout         seconds after which an idle connection is closed
#     protocol        what it speaks, a package: Backend::HTTP, Backend::FastCGI, Backend::GRPC, Backend::Memcached
#     tls             { SSL_cert_file => ..., SSL_key_file => ... }
#     count           the number before that of the first connection
#     class           what it is, a package derived from this one, such as Backend::Faulty

sub run {
	my ($t, %self) = @_;

	my $self = bless { protocol => 'Backend::HTTP', count => 0, %self, connections => {} }, $self{class} // __PACKAGE__;

	local $SIG{PIPE} = 'IGNORE';

	$self->{server} = $self->{path}
		? IO::Socket::UNIX->new(Local => $self->{path}, Listen => 128)
		: IO::Socket::INET->new(
			LocalAddr => $self->{address} // '127.0.0.1', LocalPort => $self->{port},
			Listen => 128, ReuseAddr => 1);

	die "cannot listen: $!\n" unless $self->{server};

	$self->{tls} = tls_context($self->{tls}) if $self->{tls};

	$self->{select} = IO::Select->new($self->{server});

	while (1) {
		for my $socket ($self->{select}->can_read($self->wait())) {
			if ($socket == $self->{server}) {
				$self->accept();

			} else {
				$self->read($self->{connections}{$socket});
			}
		}

		$self->expire();
	}
}

# The ends of connections, by their numbers: hashes of requests, age and end. Waits for them for ten seconds at most.

sub ended {
	my ($t, $log, @numbers) = @_;

	my %end;

	for (1 .. 1000) {
		%end = map { $_->{connection} => $_ } logged($t, $log, 'connection');

		last if @numbers == grep { $end{$_} } @numbers;

		select undef, undef, undef, 0.01;
	}

	my @ends = map { $end{$_} // { requests => 0, age => -1, end => 'none' } } @numbers;

	return wantarray ? @ends : $ends[0];
}

# The requests on connections that were idle: hashes of reuse (the connection's number), request and age.

sub reuses {
	my ($t, $log) = @_;

	return logged($t, $log, 'reuse');
}

###############################################################################

# The lines of the log that begin with the words.

sub logged {
	my ($t, $log, $words) = @_;

	return unless -e $log;

	return map { { split / / } } grep { /^$words / } split /\n/, $t->read_file($log =~ s!.*/!!r);
}

sub write_log {
	my ($self, $line) = @_;

	open my $log, '>>', $self->{log} or die "$self->{log}: $!\n";
	syswrite $log, "$line\n";
	close $log;
}

# One context for all connections: a session of one is good for another.

sub tls_context {
	my ($options) = @_;

	require IO::Socket::SSL;

	return IO::Socket::SSL::SSL_Context->new(SSL_server => 1, SSL_session_id_context => 'backend', %$options)
		|| die "cannot use TLS: " . IO::Socket::SSL::errstr() . "\n";
}

sub wait {
	my ($self) = @_;

	my @deadlines = sort { $a <=> $b } grep { defined }
		map { $_->{answer_at} // $_->{expire_at} } values %{$self->{connections}};

	return undef unless @deadlines;

	my $wait = $deadlines[0] - time();

	return $wait > 0 ? $wait : 0;
}

sub accept {
	my ($self) = @_;

	my $socket = $self->{server}->accept() or return;

	if ($self->{tls}) {
		IO::Socket::SSL->start_SSL($socket, SSL_server => 1, SSL_reuse_ctx => $self->{tls}) or return;
	}

	$socket->blocking(0);
	$self->{select}->add($socket);
	$self->{connections}{$socket} = {
		socket => $socket, number => ++$self->{count}, requests => 0, in => '', last => time()
	};
}

sub read {
	my ($self, $c) = @_;

	while (1) {
		my $n = $c->{socket}->sysread(my $buf, 65536);

		return $self->end($c, 'peer') if defined $n && $n == 0;

		if (!defined $n) {
			last if $!{EAGAIN};
			return $self->end($c, 'reset');
		}

		$c->{in} .= $buf;
	}

	my $uri = $self->{protocol}->can('request')->($c);

	if (!defined $uri) {
		delete $c->{expire_at} if length($c->{in});
		return;
	}

	my ($delay) = $uri =~ /delay=([\d.]+)/;

	delete $c->{expire_at};

	$c->{uri} = $uri;
	$c->{answer_at} = time() + ($delay // 0);
	$c->{requests}++;

	my (undef, $ago) = last_data($c);

	$self->write_log(sprintf 'reuse %d request %d age %.1f', $c->{number}, $c->{requests}, age($c) - $ago)
		if $c->{requests} > 1;
}

# How long ago the backend answered, in milliseconds.

sub age {
	my ($c) = @_;

	return (time() - $c->{last}) * 1000;
}

# How long ago data was sent and received last, as the kernel tells for TCP: the backend itself may be late.

sub last_data {
	my ($c) = @_;

	# TCP_INFO, tcpi_last_data_sent and tcpi_last_data_recv

	my $info = getsockopt $c->{socket}, 6, 11;

	return defined $info ? unpack('x44 L x4 L', $info) : (0, 0);
}

sub answer {
	my ($self, $c) = @_;

	my ($size) = $c->{uri} =~ /size=(\d+)/;
	my $resumed = $self->{tls} && $c->{socket}->get_session_reused() ? ' resumed' : '';
	my $body = "connection $c->{number} request $c->{requests}$resumed\n";

	$body .= 'x' x ($size - length($body)) if $size;

	my $out = $self->{protocol}->can('response')->($c, $body, keep_alive($c));

	my $started = time();

	while (length($out)) {
		my $n = $c->{socket}->syswrite($out);

		if (!defined $n) {
			return $self->end($c, 'reset') unless $!{EAGAIN};
			sleep 0.001;
			next;
		}

		substr($out, 0, $n) = '';
	}

	delete $c->{answer_at};

	my $now = time();
	my ($ago) = last_data($c);

	$c->{last} = max($started, $now - $ago / 1000);
	$c->{expire_at} = $c->{last} + $self->{timeout} if $self->{timeout};
}

sub keep_alive {
	my ($c) = @_;

	my %headers = map { $_ => [map { s/%(..)/chr hex $1/ger } $c->{uri} =~ /\b$_=([\w%.-]*)/g] } qw/keep_alive connection/;

	$headers{connection} = ['keep-alive'] if @{$headers{keep_alive}} && !@{$headers{connection}};

	return join '', (map { "Keep-Alive: $_\r\n" } @{$headers{keep_alive}}),
		map { "Connection: $_\r\n" } grep { length } @{$headers{connection}};
}

# Answers what is due, and closes the connections whose time is up.

sub expire {
	my ($self) = @_;

	my $now = time();

	for my $c (values %{$self->{connections}}) {
		if (defined $c->{answer_at}) {
			$self->answer($c) if $c->{answer_at} <= $now;

		} elsif (defined $c->{expire_at} && $c->{expire_at} <= $now) {
			$self->end($c, 'self');
		}
	}
}

sub end {
	my ($self, $c, $how) = @_;

	$self->{select}->remove($c->{socket});
	delete $self->{connections}{$c->{socket}};
	close $c->{socket};

	$self->write_log(sprintf 'connection %d requests %d age %.1f end %s', @$c{qw/number requests/}, age($c), $how);
}

1;
