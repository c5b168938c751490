#!/usr/bin/perl

# Tests for upstream_idle_timeout module, repeat: requests that are sent again,
# by what is known of them, and those that never are.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Late;
use Certificate;
use Client;
use Stall;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my @levels = qw/off unwritten refused closed reused/;

# what becomes of a connection on which a POST goes out, what is known of that, and from which level on it is sent again; a
# reset that was there before shows in time for nginx to repeat the request by itself

my @cases = (
	['plain', 'reset before', 'unwritten', 'nginx'],
	['plain', 'closed before', 'refused', 'refused'],
	['plain', 'reset', 'unknown', 'reused'],
	['plain', 'closed', 'received', 'never'],
	['plain', 'part of a response', 'received', 'never'],
	['tls', 'reset before', 'unwritten', 'nginx'],
	['tls', 'closed before', 'refused', 'refused'],
	['tls', 'reset', 'unknown', 'reused'],
	['fastcgi', 'closed before', 'refused', 'refused'],
	['fastcgi', 'reset', 'unknown', 'reused'],
	['unix', 'closed before', 'unwritten', 'unwritten'],
	['unix', 'closed', 'unknown', 'reused'],
	['unix', 'part of a response', 'received', 'never'],
);

my $t = Test::Nginx->new()->has(qw/http proxy fastcgi http_ssl rewrite ssi unix upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(3 * @cases * @levels + 43);

my $d = $t->testdir();

my %server = (
	plain => '127.0.0.1:8081',
	tls => '127.0.0.1:8082',
	fastcgi => '127.0.0.1:8083',
	unix => "unix:$d/unix.sock",
);

my $upstreams = '';

for my $protocol (sort keys %server) {
	$upstreams .= upstream("${protocol}_$_", "server $server{$protocol};", "probe=off repeat=$_") for @levels;
}

$upstreams .= upstream('unix_auto', "server $server{unix};", '') . upstream('plain_auto', "server $server{plain};", '')
	. upstream('only', "server $server{plain}; server 127.0.0.1:8084 down;", 'probe=off')
	. upstream('gone', "server $server{plain}; server 127.0.0.1:8084 max_fails=0 backup;", 'probe=off');

$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream_idle_timeout 60s probe=off;

    $upstreams

    upstream default {
        server 127.0.0.1:8081;
        keepalive 4;
    }

    upstream down {
        server 127.0.0.1:8081;
        server 127.0.0.1:8084 max_fails=0 backup;
        server 127.0.0.1:8085 max_fails=0 backup;
        server 127.0.0.1:8086 backup;
        keepalive 4;
    }

    log_format tries "\$status (\$upstream_addr) (\$upstream_reused) (\$upstream_reuse_outcome) (\$upstream_reuse_evidence)";

    access_log %%TESTDIR%%/tries.log tries;

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        client_body_buffer_size 1k;

        location / {
            proxy_pass http://\$arg_upstream;
        }

        location /tls {
            proxy_pass https://\$arg_upstream;
        }

        location /fastcgi {
            fastcgi_pass \$arg_upstream;
            fastcgi_keep_conn on;
            fastcgi_param REQUEST_METHOD \$request_method;
            fastcgi_param REQUEST_URI \$request_uri;
            fastcgi_param CONTENT_LENGTH \$content_length;
        }

        location /next/off {
            proxy_pass http://\$arg_upstream;
            proxy_next_upstream off;
        }

        location /next/timeout {
            proxy_pass http://\$arg_upstream;
            proxy_next_upstream timeout;
        }

        location /next/tries {
            proxy_pass http://\$arg_upstream;
            proxy_next_upstream_tries 1;
        }

        location /unbuffered {
            proxy_pass http://\$arg_upstream;
            proxy_request_buffering off;
        }

        location /non_idempotent {
            proxy_pass http://\$arg_upstream;
            proxy_next_upstream error non_idempotent;
        }

        location /ssi {
            ssi on;
        }

        location /stall {
            access_log %%TESTDIR%%/stall.fifo;
            return 204;
        }

        location /status {
            access_log off;
            upstream_idle_status;
        }
    }
}

EOF

my $stall = Stall->new($t);

my %backend = (
	plain => { port => port(8081) },
	tls => { port => port(8082), tls => Certificate::create($t) },
	fastcgi => { port => port(8083), fastcgi => 1, protocol => 'Backend::FastCGI' },
	unix => { path => "$d/unix.sock" },
	backup => { port => port(8086) },
);

$t->write_file('ssi.html', '<!--#include virtual="/?upstream=default&subrequest=1" -->end' . "\n");
$t->run_daemon(\&Backend::Late::run, $t, %{$backend{$_}}, log => "$d/$_.log") for keys %backend;
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8083, 8086;
$t->waitforfile("$d/unix.sock");

# the worker may be of another user

chmod 0711, $d;
chmod 0666, "$d/unix.sock";

###############################################################################

my $fresh = qr/^HTTP\S+ 200 .*connection \d+ request 1(?: resumed)?\n/s;

for my $case (@cases) {
	my ($protocol, $event, $evidence, $least) = @$case;

	for my $level (@levels) {
		my $name = "$protocol, $event, $level";
		my $by_nginx = $least eq 'nginx';
		my $again = $by_nginx || place($level) >= place($least);
		my ($before, $response) = failed($protocol, "${protocol}_$level", $event);

		like($response, $again ? $fresh : qr/^HTTP\S+ 502 /, $name);
		is(changed($before, "${protocol}_$level"), join(', ', $again ? 'connects +1' : (),
			is_client_failure($again, $evidence) ? 'failed_requests +1' : (), $again && !$by_nginx ? "repeats.$evidence +1" : (),
			"reuse_evidence.$evidence +1"), "$name, counted");
		like(last_report($t), $again ? qr/request $evidence, .*, may be sent again while/
			: qr/request $evidence, .* a failure of the server while/, "$name, log");
	}
}

# the default is what the kernel of the peer has refused, for all that nginx does not repeat

for my $method (qw/POST LOCK PATCH/) {
	my ($before, $response) = failed('plain', 'default', 'closed before', $method);

	like($response, $fresh, "default, $method");
	like(changed($before, 'default'), qr/repeats.refused \+1/, "default, $method, counted");
}

# what nginx repeats by itself is not counted as ours

for (['GET', ''], ['POST', 'non_idempotent']) {
	my ($method, $where) = @$_;
	my ($before, $response) = failed('plain', 'default', 'closed before', $method, $where);

	like($response, $fresh, "by nginx, $method");
	is(changed($before, 'default'), 'connects +1, reuse_evidence.refused +1', "by nginx, $method, counted");
}

# bodies in memory, and in a file

for my $size (10, 100_000) {
	my ($before, $response) = failed('plain', 'plain_reused', 'closed before', 'POST', '', $size);

	like($response, $fresh, "body of $size");
	like(changed($before, 'plain_reused'), qr/repeats\.\w+ \+1/, "body of $size, counted");
}

# more than a segment is not refused for sure

my ($before, $response) = failed('plain', 'plain_refused', 'closed before', 'POST', '', 100_000);

like($response, qr/^HTTP\S+ 502 /, 'refused, long body');
like(changed($before, 'plain_refused'), qr/^failed_requests \+1, reuse_evidence\.(?:closed|unknown) \+1$/,
	'refused, long body, counted');

# a body that is gone is not sent again, and nothing is where nginx does not go on

for (['unbuffered', 100_000], ['next/off', 4], ['next/timeout', 4]) {
	my ($where, $size) = @$_;

	($before, $response) = failed('plain', 'plain_reused', 'closed before', 'POST', $where, $size);

	like($response, qr/^HTTP\S+ 502 /, $where);
	like(changed($before, 'plain_reused'), qr/^failed_requests \+1, reuse_evidence\.\w+ \+1$/, "$where, counted");
}

# one try is what the cached connection had been, as with nginx itself

($before, $response) = failed('plain', 'default', 'closed before', 'POST', 'next/tries');

like($response, $fresh, 'next_upstream_tries');
like(changed($before, 'default'), qr/repeats.refused \+1/, 'next_upstream_tries, counted');

# servers that refuse the connection are passed by, since the request was never received

for (1 .. 3) {
	($before, $response) = failed('plain', 'down', 'closed before');

	like($response, $fresh, "servers that are down, $_");
}

like((lines($t, 'tries.log'))[-1], qr/^200 \(127.0.0.1:\d+(?:, 127.0.0.1:\d+)+\) \(1(?:, 0)+\) \(eof(?:, -)+\) \(refused(?:, -)+\)$/,
	'variables');

# a request that is sent again, and fails as any fresh one does

($before, $response) = failed('plain', 'default', 'closed before', 'POST', '', 4, 'fresh=close');

like($response, qr/^HTTP\S+ 502 /, 'failed again');
is(changed($before, 'default'), 'connects +1, repeats.refused +1, reuse_evidence.refused +1', 'failed again, counted once');

# it is sent again when it goes out, and has failed when it does not

($before, $response) = failed('plain', 'only', 'closed before');

like($response, qr/^HTTP\S+ 502 /, 'no other server');
is(changed($before, 'only'), 'failed_requests +1, reuse_evidence.refused +1', 'no other server, counted');

($before, $response) = failed('plain', 'gone', 'closed before');

like($response, qr/^HTTP\S+ 502 /, 'the other server is gone');
is(changed($before, 'gone'), 'reuse_evidence.refused +1', 'the other server is gone, not counted as sent again');

# by default an idle connection is looked at, and always where its end would tell nothing of the request

($before, $response) = failed('unix', 'unix_auto', 'closed before');

like($response, $fresh, 'unix, auto');
is(changed($before, 'unix_auto'), 'closes.dead +1, connects +1', 'unix, auto, counted');

for my $event ('closed before', 'late408 before') {
	($before, $response) = failed('plain', 'plain_auto', $event);

	like($response, $fresh, "auto, $event");
	is(changed($before, 'plain_auto'), 'closes.dead +1, connects +1', "auto, $event, counted");
}

# a subrequest

my $client = ask('GET', '/?upstream=default');
my $first = answer($client);

$before = figures();
$stall->begin();
ask('GET', '/ssi.html', $client);
Backend::Late::order($backend{plain}, 'close', (served($first))[0]);
$stall->release();

like(answer($client), qr/request 1\n\r\n4\r\nend/, 'subrequest');
is(changed($before, 'default'), 'connects +1, reuse_evidence.refused +1', 'subrequest, counted');

unlike($t->read_file('error.log'), qr/\[(?:alert|crit|emerg)\]/, 'no alerts');

###############################################################################

sub place {
	my ($level) = @_;

	my ($place) = grep { $levels[$_] eq $level } 0 .. $#levels;

	return $place // @levels;
}

sub is_client_failure {
	my ($again, $evidence) = @_;

	return !$again && $evidence ne 'received';
}

# A request on a connection that was idle, to which that happens: the figures before it, and the response. While nginx reads a
# long body, it may come to see the end of the connection first.

sub failed {
	my ($protocol, $upstream, @request) = @_;
	my ($before, $response);

	for (1 .. 5) {
		($before, $response) = failed_once($protocol, $upstream, @request);
		last if changed($before, $upstream) !~ /closes\.peer/;
	}

	return ($before, $response);
}

sub failed_once {
	my ($protocol, $upstream, $event, $method, $where, $size, $more) = @_;

	my $idle = ($protocol =~ /tls|fastcgi/ ? "/$protocol" : '/') . "?upstream=$upstream";
	my $uri = $where ? "/$where?upstream=$upstream" : $idle;
	my $how = $event =~ /^(reset|part|late408)/ ? $1 : 'close';

	# TLS: without a word

	$how = 'fin' if $protocol eq 'tls' && $how eq 'close';

	my $client = ask('GET', $idle);
	my $first = answer($client);
	my $before = figures();

	$uri .= ($event =~ /before/ ? '' : "&reused=$how") . ($more ? "&$more" : '');

	my $body = 'x' x ($size // 4);
	my $request = ($method // 'POST') . " $uri HTTP/1.1\r\nHost: localhost\r\n"
		. (($method // '') eq 'GET' ? "\r\n" : 'Content-Length: ' . length($body) . "\r\n\r\n$body");

	if ($event =~ /before/) {
		$stall->begin();
		http($request, start => 1, socket => $client);
		Backend::Late::order($backend{$protocol}, $how, (served($first))[0]);
		$stall->release();

	} else {
		http($request, start => 1, socket => $client);
	}

	return ($before, answer($client));
}

# What has changed of the upstream's figures, but what is always the same.

sub changed {
	my ($before, $upstream) = @_;

	my $changes = changes($before);

	my ($mine) = $changes =~ /(?:^|; )\Q$upstream\E \S+: ([^;]*)/;

	return join ', ', grep { !/^(?:ages|connections|reuses|reuse_failures)/ } split /, /, $mine // '';
}

sub last_report {
	my ($t) = @_;

	return (grep { /reused connection/ } split /\n/, $t->read_file('error.log'))[-1] // '';
}

sub lines {
	my ($t, $file) = @_;

	return split /\n/, $t->read_file($file);
}

sub upstream {
	my ($name, $servers, $parameters) = @_;

	return <<"EOF";

    upstream $name {
        $servers
        keepalive 4;
        upstream_idle_timeout 60s $parameters;
    }
EOF
}

###############################################################################
