package Backend;

# A backend that tells which of its connections served a request, and how old an idle connection was when it ended.
#
# Every response has the body "connection N request M\n". Arguments of the request's URI change it:
#
#     delay=SECONDS   is answered that much later
#     size=BYTES      has a body of that size
#
# Every end of a connection becomes a line of the log: "connection N requests M age MS end HOW", where HOW is "peer",
# "reset", or "self" when the backend closed a connection that was idle for its timeout.

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX qw/ EAGAIN /;
use Time::HiRes qw/ sleep time /;

# Serves for ever, so is for run_daemon(). Options: log, and if need be
#
#     port or path    where to listen
#     timeout         seconds after which an idle connection is closed
#     fastcgi         speak FastCGI and not HTTP
#     tls             { SSL_cert_file => ..., SSL_key_file => ... }

sub run {
	my ($t, %self) = @_;

	my $self = bless { %self, connections => {}, count => 0 };

	local $SIG{PIPE} = 'IGNORE';

	$self->{server} = $self->{path}
		? IO::Socket::UNIX->new(Local => $self->{path}, Listen => 128)
		: IO::Socket::INET->new(
			LocalAddr => '127.0.0.1', LocalPort => $self->{port},
			Listen => 128, ReuseAddr => 1);

	die "cannot listen: $!\n" unless $self->{server};

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

# The end of a connection, by its number: a hash of requests, age and end. Waits for it for ten seconds at most.

sub ended {
	my ($t, $log, $number) = @_;

	for (1 .. 1000) {
		my ($line) = grep { /^connection $number / }
			-e "$log" ? split(/\n/, $t->read_file($log =~ s!.*/!!r)) : ();

		if ($line) {
			my (undef, undef, %end) = split / /, $line;
			return \%end;
		}

		select undef, undef, undef, 0.01;
	}

	return { requests => 0, age => -1, end => 'none' };
}

###############################################################################

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
		require IO::Socket::SSL;
		IO::Socket::SSL->start_SSL($socket, SSL_server => 1, %{$self->{tls}}) or return;
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

	delete $c->{expire_at};

	my $uri = $self->request($c) // return;
	my ($delay) = $uri =~ /delay=([\d.]+)/;

	$c->{uri} = $uri;
	$c->{answer_at} = time() + ($delay // 0);
}

# Takes a request from what was read, and returns its URI.

sub request {
	my ($self, $c) = @_;

	if ($self->{fastcgi}) {
		my $stdin_end = "\x01\x05\x00\x01\x00\x00";

		return unless $c->{in} =~ s/^(.*\Q$stdin_end\E..)//s;
		return $1;
	}

	return unless $c->{in} =~ /^\w+ (\S+) .*?\r\n\r\n/s;

	my ($uri, $length) = ($1, $+[0]);
	my ($body) = substr($c->{in}, 0, $length) =~ /\r\nContent-Length: (\d+)/i;

	$length += $body // 0;

	return if length($c->{in}) < $length;

	substr($c->{in}, 0, $length) = '';

	return $uri;
}

sub answer {
	my ($self, $c) = @_;

	$c->{requests}++;

	my ($size) = $c->{uri} =~ /size=(\d+)/;
	my $body = "connection $c->{number} request $c->{requests}\n";

	$body .= 'x' x ($size - length($body)) if $size;

	my $out = $self->{fastcgi} ? fastcgi_response($body) : http_response($body);

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

	$c->{last} = time();
	$c->{expire_at} = $c->{last} + $self->{timeout} if $self->{timeout};
}

sub http_response {
	my ($body) = @_;

	return "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}

sub fastcgi_response {
	my ($body) = @_;

	my $record = sub { pack('CCnnCC', 1, $_[0], 1, length($_[1]), 0, 0) . $_[1] };
	my $out = '';

	$out .= $record->(6, $_) for unpack('(a65000)*', "Content-Type: text/plain\r\n\r\n$body");

	return $out . $record->(6, '') . $record->(3, "\0" x 8);
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

	my $age = sprintf "%.1f", (time() - $c->{last}) * 1000;

	$self->{select}->remove($c->{socket});
	delete $self->{connections}{$c->{socket}};
	close $c->{socket};

	open my $log, '>>', $self->{log} or die "$self->{log}: $!\n";
	syswrite $log, "connection $c->{number} requests $c->{requests} age $age end $how\n";
	close $log;
}

1;
