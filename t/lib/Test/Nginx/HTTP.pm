package Test::Nginx::HTTP;

# The plain functions that Test::Nginx exports: ports, the log of a dialogue,
# and a small HTTP client. Documented in Test::Nginx.

use strict;
use warnings;

use Exporter qw/import/;
use IO::Socket::INET;
use Test::More ();

our @EXPORT_OK = qw/
    port log_core log_in log_out
    http http_get http_head http_start http_end http_content
/;

# seconds for each half of an exchange: sending the request, reading the reply

use constant TIMEOUT => 8;

my %reserved;    # the number a suite uses => { port, lock }

sub port {
    my ($number, %opt) = @_;

    my $r = $reserved{$number} ||= reserve($number, $opt{udp});

    return $opt{socket} ? $r->{lock} : $r->{port};
}

# A port is ours as long as we hold the port of the same number of the other
# protocol: nginx or a daemon can then bind the port itself, and a suite that
# runs at the same time looks elsewhere.

sub reserve {
    my ($number, $udp) = @_;

    my ($wanted, $other) = $udp ? qw/udp tcp/ : qw/tcp udp/;
    my $base = $number - $number % 500;

    for my $try (0 .. 99) {
        my $port = $try == 0 ? $number : $base + int rand 500;

        my $lock = bound($other, $port) or next;
        return { port => $port, lock => $lock } if bound($wanted, $port);
    }

    die "no free port in $base .. ", $base + 499, "\n";
}

sub bound {
    my ($proto, $port) = @_;

    return IO::Socket::INET->new(
        Proto     => $proto,
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        ($proto eq 'tcp' ? (Listen => 1, ReuseAddr => 1) : ()),
    );
}

sub log_in  { log_core('<<', @_) }
sub log_out { log_core('>>', @_) }

sub log_core {
    my ($prefix, $text) = @_ > 1 ? @_ : ('', @_);

    return unless $ENV{TEST_NGINX_VERBOSE} and defined $text;

    $text = substr($text, 0, 2048) . "\n[" . length($text) . ' bytes in all]'
        if length $text > 2048;

    # straight to the handle: daemons, which are forks, come here too

    for my $line (split /\n/, $text) {
        $line =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ge;
        print { Test::More->builder->output } "# $prefix $line\n";
    }
}

sub http_get {
    my ($uri, %opt) = @_;
    return http("GET $uri HTTP/1.0\nHost: localhost\n\n", %opt);
}

sub http_head {
    my ($uri, %opt) = @_;
    return http("HEAD $uri HTTP/1.0\nHost: localhost\n\n", %opt);
}

sub http {
    my ($request, %opt) = @_;

    my $s = http_start($request, %opt);

    return $s if $opt{start} or not defined $s;
    return http_end($s);
}

sub http_start {
    my ($request, %opt) = @_;

    return in_time(sub {
        my $s = $opt{socket} || IO::Socket::INET->new(
            Proto    => 'tcp',
            PeerAddr => '127.0.0.1:' . port($opt{SSL} ? 8443 : 8080),
            %opt,
        ) or die "can't connect to nginx: $!\n";

        start_tls($s, %opt) if $opt{SSL};

        send_text($s, $request);
        select undef, undef, undef, $opt{sleep} if $opt{sleep};
        send_text($s, $opt{body}) if $opt{body};

        return $s;
    });
}

sub http_end {
    my ($s) = @_;

    my $reply = in_time(sub {
        local $/;
        my $all = $s->getline();
        $s->close();
        return $all;
    });

    log_in($reply);
    return $reply;
}

sub start_tls {
    my ($s, %opt) = @_;

    require IO::Socket::SSL;

    IO::Socket::SSL->start_SSL(
        $s, SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE(), %opt
    ) or die 'TLS: ' . IO::Socket::SSL::errstr() . "\n";

    log_in('cipher: ' . ($s->get_cipher() // 'none'));
}

sub send_text {
    my ($s, $text) = @_;

    log_out($text);
    $s->print($text);
}

# What $code returns, or undef when it dies or takes too long.

sub in_time {
    my ($code) = @_;

    my $value = eval {
        local $SIG{ALRM} = sub { die "timed out\n" };
        local $SIG{PIPE} = sub { die "connection is closed\n" };

        alarm TIMEOUT;
        my $v = eval { $code->() };
        my $error = $@;
        alarm 0;

        die $error if $error;
        $v;
    };

    log_in("failed: $@") if $@;
    return $value;
}

sub http_content {
    my ($reply) = @_;

    my ($head, $body) = split /\r?\n\r?\n/, $reply // '', 2;

    return undef unless defined $body;
    return $body unless $head =~ /^Transfer-Encoding:\s*chunked/mi;
    return join_chunks($body);
}

sub join_chunks {
    my ($body) = @_;
    my $content = '';

    while ($body =~ s/\A([0-9a-f]+)[^\n]*\n//i) {
        my $size = hex $1 or return $content;

        $content .= substr $body, 0, $size, '';
        $body =~ s/\A\r?\n//;
    }

    return $content . '[no-last-chunk]';
}

1;
