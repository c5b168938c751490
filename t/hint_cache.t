#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the timeout that a backend tells in a
# response for which nginx sends one from its cache.

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

# what becomes of the response in the cache, what that told, and what came in place of it: the age at which the connection
# goes is for that alone

my @cases = (
	['REVALIDATED', '', 'status=304&keep_alive=timeout%3d700ms', 500],
	['STALE', '', 'status=500&keep_alive=timeout%3d700ms', 500],
	['REVALIDATED', 'keep_alive=timeout%3d700ms', 'status=304', 1100],
	['STALE', 'keep_alive=timeout%3d700ms', 'status=500', 1100],
);

my $t = Test::Nginx->new()->has(qw/http proxy cache upstream_keepalive/)->plan(3 * @cases);

conf($t, http => <<'HTTP', server => <<'SERVER');
proxy_cache_path %%TESTDIR%%/cache keys_zone=cache:1m;

upstream u {
    server 127.0.0.1:8081;
    keepalive 8;
    upstream_idle_timeout 1300ms margin=200ms;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

add_header X-Cache $upstream_cache_status;

location / {
    proxy_pass http://u;
    proxy_cache cache;
    proxy_cache_key $arg_key;
    proxy_cache_valid 200 1s;
    proxy_cache_revalidate on;
    proxy_cache_use_stale http_500;
}
SERVER

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

my @held = map { get("/?key=$_&etag=1&$cases[$_][1]") } 0 .. $#cases;

# what they brought is out of date when two seconds have passed, as nginx counts whole ones; then one connection after the other

my $numbers = 0;

sub end_of_next {
	my ($t) = @_;

	return Backend::ended($t, $log, ++$numbers);
}

$numbers = (sort { $a <=> $b } map { (served($_))[0] } @held)[-1];
Backend::ended($t, $log, 1 .. $numbers);
sleep_until(now() + 2100);

for my $number (0 .. $#cases) {
	my ($cache, undef, $came, $limit) = @{$cases[$number]};
	my $name = "$cache, at $limit ms";

	like(get("/?key=$number&$came"), qr/^HTTP\S+ 200 .*^X-Cache: $cache\r$/ms, $name);

	my $age = end_of_next($t)->{age};

	cmp_ok($age, '>', $limit - 15, "$name, not before");
	cmp_ok($age, '<', $limit + 100, "$name, not later");
}

###############################################################################
