#!/usr/bin/perl

# Tests for upstream_idle_timeout module, two servers some way off that close
# idle connections just when the next request is on its way.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Relay;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(6)
	->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream_idle_timeout 60s hint=off probe=off;

    upstream off {
        server 127.0.0.1:8083;
        server 127.0.0.1:8084;
        keepalive 8;
    }

    upstream on {
        server 127.0.0.1:8083;
        server 127.0.0.1:8084;
        keepalive 8;
        upstream_idle_timeout 60s hint=off probe=off fails=on;
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";

        location / {
            proxy_pass http://$arg_upstream;
        }

        location /status {
            upstream_idle_status;
        }
    }
}

EOF

my $d = $t->testdir();
my $timeout = 300;
my $latency = 20;

for (1, 2) {
	$t->run_daemon(\&Backend::run, $t, port => port(8080 + $_), log => "$d/backend$_.log",
		timeout => $timeout / 1000);
	$t->run_daemon(\&Relay::run, port => port(8082 + $_), to => port(8080 + $_), log => "$d/relay$_.log",
		delay => $latency / 1000);
}

$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8084;

###############################################################################

# POSTs to both upstreams: each server gets every second one, as long after the one before as it keeps connections, give
# or take the latency

my $requests = 0;
my %failed = (off => 0, on => 0);

while ($requests < 400 && ($failed{off} < 10 || errors($t, 'no live upstreams', 'on') < 10)) {
	for my $pause (map { $timeout / 2 - 2 * $latency + 2 * $_ } 0 .. 9) {
		my @upstreams = keys %failed;
		my @responses = answers(map { post("/?upstream=$_", start => 1) } @upstreams);

		$failed{$upstreams[$_]}++ for grep { !(served($responses[$_]))[0] } 0, 1;
		$requests++;

		sleep_until(now() + $pause);
	}
}

my %figures = map { $_ => figures()->{$_}{''} } keys %failed;
my %stale = map { $_ => $figures{$_}{'reuse_failures.reset'} + $figures{$_}{'reuse_failures.eof'} } keys %failed;

note("$requests requests, $failed{$_} failed, $stale{$_} stale connections, fails=$_") for sort keys %failed;

cmp_ok($stale{off}, '>=', 10, 'stale connections');
is($failed{off}, $stale{off}, 'a request failed on each');
is($figures{off}{failed_requests}, $stale{off}, 'all are counted');
is(errors($t, 'no live upstreams', 'off'), 0, 'no live upstreams');

cmp_ok(errors($t, 'no live upstreams', 'on'), '>=', 10, 'fails=on, no live upstreams');
is($failed{on}, $stale{on} + errors($t, 'no live upstreams', 'on'), 'fails=on, all failed requests');

###############################################################################
