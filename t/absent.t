#!/usr/bin/perl

# Tests for upstream_idle_timeout module, without the directive, and where it
# does not reach: connections are kept and reused as without the module.

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

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(18);

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# without the directive

configure($t, '');
$t->run();

is_reused(twice(sub { get('/u') }, 0, 800), 'absent, at once');

my ($first, $second) = twice(sub { post('/u') }, 500, 800);

is_reused($first, $second, 'absent, later');
closed($t, $log, $second, 800, 'absent, closed by keepalive_timeout');

implicit($t, $log, 'absent');

unlike($t->read_file('error.log'), qr/idle/, 'absent, nothing logged');

$t->stop();

# with the directive in http{}, which only upstreams take

configure($t, 'upstream_idle_timeout 600ms margin=300ms;');
$t->run();

($first, $second) = twice(sub { get('/u') }, 150, 300);

is_reused($first, $second, 'http');
closed($t, $log, $second, 300, 'http, closed by the module');

implicit($t, $log, 'http');

###############################################################################

sub configure {
	my ($t, $directive) = @_;

	conf($t, http => <<"HTTP", server => <<"SERVER");
$directive

upstream u {
    server 127.0.0.1:8081;
    keepalive 2;
    keepalive_timeout 800ms;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location /u {
    proxy_pass http://u;
}

location /implicit {
    proxy_pass http://127.0.0.1:8081;
}

location /variable {
    proxy_pass http://127.0.0.1:\$arg_port;
}
SERVER
}

# An upstream without a block has no cache.

sub implicit {
	my ($t, $log, $name) = @_;

	for my $uri ('/implicit', '/variable?port=' . port(8081)) {
		my ($first, $second) = twice(sub { get($uri) }, 0);
		my ($where) = $uri =~ /(\w+)/;

		is_fresh($first, $second, "$name, $where");
		cmp_ok(Backend::ended($t, $log, (served($first))[0])->{age}, '<', 100, "$name, $where, closed at once");
	}
}

sub closed {
	my ($t, $log, $response, $limit, $name) = @_;

	my $end = Backend::ended($t, $log, (served($response))[0]);

	is($end->{end}, 'peer', $name);
	cmp_ok($end->{age}, '>', $limit - 15, "$name, not before $limit ms");
	cmp_ok($end->{age}, '<', $limit + 100, "$name, at $limit ms");
}

###############################################################################
