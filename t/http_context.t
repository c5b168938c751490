#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the directive in http{} and what
# upstreams make of it.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Conf;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/);

# from 1.29.7 on an upstream keeps connections unless it is told not to

my $none = $t->has_version('1.29.7') ? 'keepalive 0;' : '';

$t->plan(22);

conf($t, http => <<"HTTP", server => <<"SERVER");
upstream_idle_timeout 1s margin=700ms;

upstream inherited {
    server 127.0.0.1:8081;
    keepalive 2;
}

# the margin of http{} does not matter here

upstream shorter {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 400ms;
}

upstream longer {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 1200ms;
}

upstream without_margin {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 500ms margin=0;
}

upstream off {
    server 127.0.0.1:8081;
    keepalive 2;
    keepalive_timeout 1s;
    upstream_idle_timeout off;
}

upstream none {
    server 127.0.0.1:8081;
    $none
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://\$arg_upstream;
}
SERVER

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# upstream, the age at which its connection goes

my %limit = (
	inherited => 300,
	shorter => 200,
	longer => 600,
	without_margin => 500,
	off => 1000,
);

for my $upstream (qw/inherited off/) {
	is_reused(twice(sub { get("/?upstream=$upstream") }, 150, $limit{$upstream}), $upstream);
}

is_reused(twice(sub { get('/?upstream=off') }, 500, $limit{off}), 'off, later');

my ($first, $second) = twice(sub { get('/?upstream=none') }, 0);

is_fresh($first, $second, 'none');
is(Backend::ended($t, $log, (served($second))[0])->{end}, 'peer', 'none, closed by nginx');
cmp_ok(Backend::ended($t, $log, (served($second))[0])->{age}, '<', 100, 'none, closed at once');

# all connections are idle at the same time

my %number = map { $_ => (served(get("/?upstream=$_")))[0] } keys %limit;

for my $upstream (sort keys %limit) {
	my $limit = $limit{$upstream};
	my $end = Backend::ended($t, $log, $number{$upstream});

	is($end->{end}, 'peer', "$upstream, closed by nginx");
	cmp_ok($end->{age}, '>', $limit - 15, "$upstream, not before $limit ms");
	cmp_ok($end->{age}, '<', $limit + 100, "$upstream, at $limit ms");
}

is(grep({ $_->{end} eq 'self' } Backend::ended($t, $log, values %number)), 0, 'none closed by the backend');

###############################################################################
