#!/usr/bin/perl

# Tests for upstream_idle_timeout module, memcached backends.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Backend::Memcached;
use Client;
use Conf;
use Stall;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http memcached upstream_keepalive/)->plan(9);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream u {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 500ms margin=200ms;
}
HTTP
location / {
    memcached_pass u;
    set $memcached_key $uri;
}

location /stall {
    access_log %%TESTDIR%%/stall.fifo;
    return 204;
}
SERVER

my $stall = Stall->new($t);
my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), protocol => 'Backend::Memcached',
	log => $log, timeout => 1);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# the backend closes connections itself after a second

my $limit = 300;

is_reused(twice(sub { get('/') }, 0, $limit), 'at once');
is_reused(twice(sub { get('/') }, 150, $limit), 'before the limit');
is_fresh(twice(sub { get('/') }, $limit), 'at the limit');
is_fresh($stall->twice('GET', '/', $limit), 'at the limit, worker blocked');

my ($first, $last) = twice(sub { get('/') }, $limit + 50);

is_fresh($first, $last, 'after the limit');

# closed in time, by nginx

my $end = Backend::ended($t, $log, (served($last))[0]);

is($end->{end}, 'peer', 'closed by nginx');
cmp_ok($end->{age}, '>', $limit - 15, "closed not before $limit ms");
cmp_ok($end->{age}, '<', $limit + 100, "closed at $limit ms");

is(grep({ $_->{age} > $limit + 20 } Backend::reuses($t, $log)), 0, 'no connection was older at a request');

###############################################################################
