#!/usr/bin/perl

# Tests for upstream_idle_timeout module, UNIX domain sockets.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Conf;
use Stall;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy unix upstream_keepalive/)->plan(11);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream u {
    server unix:%%TESTDIR%%/unix.sock;
    keepalive 2;
    upstream_idle_timeout 500ms margin=200ms;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://u;
}

location /stall {
    access_log %%TESTDIR%%/stall.fifo;
    return 204;
}
SERVER

my $stall = Stall->new($t);
my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, path => $t->testdir() . '/unix.sock',
	log => $log, timeout => 1);
$t->run();

$t->waitforfile($t->testdir() . '/unix.sock');

# the worker may be of another user

chmod 0711, $t->testdir();
chmod 0666, $t->testdir() . '/unix.sock';

###############################################################################

# the backend closes connections itself after a second

my $limit = 300;

is_reused(twice(sub { get('/') }, 0, $limit), 'at once');
is_reused(twice(sub { get('/') }, 150, $limit), 'before the limit');
is_fresh(twice(sub { get('/') }, $limit), 'at the limit');
is_fresh($stall->twice('GET', '/', $limit), 'at the limit, worker blocked');
is_reused(twice(sub { post('/') }, 150, $limit), 'POST before the limit');
is_fresh(twice(sub { post('/') }, $limit), 'POST at the limit');

my ($first, $last) = twice(sub { get('/') }, $limit + 50);

is_fresh($first, $last, 'after the limit');

# closed in time, by nginx

my $end = Backend::ended($t, $log, (served($last))[0]);

is($end->{end}, 'peer', 'closed by nginx');
cmp_ok($end->{age}, '>', $limit - 15, "closed not before $limit ms");
cmp_ok($end->{age}, '<', $limit + 100, "closed at $limit ms");

is(grep({ $_->{age} > $limit + 20 } Backend::reuses($t, $log)), 0, 'no connection was older at a request');

###############################################################################
