#!/usr/bin/perl

# Tests for upstream_idle_timeout module, connections that nobody answers on any
# more: the request that has waited for one takes a fresh one then.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Faulty;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(6);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream u {
    server 127.0.0.1:8081;
    server 127.0.0.1:8082;
    keepalive 4;
    upstream_idle_timeout 30s;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_read_timeout 500ms;

location / {
    proxy_pass http://u;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();
my @peers = map { '127.0.0.1:' . port($_) } 8081, 8082;

for my $port (8081, 8082) {
	$t->run_daemon(\&Backend::Faulty::run, $t, port => port($port), log => "$d/$port.log",
		count => $port == 8081 ? 0 : 1000);
	$t->waitforsocket('127.0.0.1:' . port($port));
}

$t->run();

###############################################################################

# idle connections to both servers, which take what comes and do not read it

my @numbers = sort { $a <=> $b } map { (served(get('/')))[0] } 1, 2;

cmp_ok($numbers[1] - $numbers[0], '>', 900, 'both servers');

Backend::Faulty::order({ port => port(8081 + $_) }, 'deaf', $numbers[$_]) for 0, 1;

my $before = figures();
my $asked = now();
my $response = get('/');
my $waited = now() - $asked;

is((served($response))[1], 1, 'fresh');
cmp_ok($waited, '>', 490, 'waited for one connection');
cmp_ok($waited, '<', 900, 'and for no other');

my $after = figures()->{u}{''};

is($after->{'reuse_failures.timeout'}, 1, 'one failure');
is($after->{'closes.dead'}, 1, 'the other connection is not tried');

###############################################################################
