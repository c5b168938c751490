#!/usr/bin/perl

# Tests for upstream_idle_timeout module, servers that are down or do not answer:
# their failures count, and stale connections make no difference.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Late;
use Client;
use Conf;
use Stall;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(11);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream_idle_timeout 60s probe=off;

upstream down {
    server 127.0.0.1:8081;
    server 127.0.0.1:8084;
    keepalive 4;
}

upstream killed {
    server 127.0.0.1:8082;
    server 127.0.0.1:8083;
    keepalive 4;
}

upstream silent {
    server 127.0.0.1:8081;
    server 127.0.0.1:8082;
    keepalive 4;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_read_timeout 300ms;

location / {
    proxy_pass http://$arg_upstream;
}

location /stall {
    access_log %%TESTDIR%%/stall.fifo;
    return 204;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();
my $stall = Stall->new($t);

# the numbers of connections tell the servers from each other

$t->run_daemon(\&Backend::Late::run, $t, port => port($_), log => "$d/$_.log", count => $_ % 2 ? 0 : 1000)
	for 8081 .. 8083;
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8083;

###############################################################################

# nobody is there

is(servers(map { post('/?upstream=down') } 1 .. 6), '1 1 1 1 1 1', 'down, the other');
is(errors($t, 'connect() failed', 'down'), 1, 'down, asked once');

# a server ends: the connection that is left of it is no failure, the one that it refuses is

my @clients = map { ask('GET', '/?upstream=killed') } 1, 2;

is(servers(map { answer($_) } @clients), '1 2', 'killed, GET');

$stall->begin();
ask('GET', '/?upstream=killed', $_) for @clients;
Backend::Late::order({ port => port(8083) }, 'exit', 0);
wait_for(sub { !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => port(8083)) });
$stall->release();

is(servers(map { answer($_) } @clients), '2 2', 'killed, the other');
is(servers(map { get('/?upstream=killed') } 1 .. 6), '2 2 2 2 2 2', 'killed, the other, later');
is(errors($t, 'connect() failed', 'killed'), 1, 'killed, asked once');

my $figures = figures()->{killed}{'127.0.0.1:' . port(8083)};

is($figures->{'reuse_failures.reset'} + $figures->{'reuse_failures.eof'}, 1, 'killed, stale connection');

# the servers do not answer on connections that are kept

is(servers(map { get('/?upstream=silent') } 1, 2), '1 2', 'silent, GET');
is(servers(map { post('/?upstream=silent&reused=silent') } 1, 2), '0 0', 'silent, POST');
is(servers(get('/?upstream=silent')), '0', 'silent, no answer any more');
is(errors($t, 'no live upstreams', 'silent'), 1, 'silent, no live upstreams');

###############################################################################
