#!/usr/bin/perl

# Tests for upstream_idle_timeout module, what is no failure of a reused
# connection, and which of the requests with such a failure nginx gave up.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Faulty;
use Client;
use Socket qw/ SOL_SOCKET SO_LINGER /;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy rewrite cache mirror ssi upstream_keepalive/)->plan(42);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream_idle_timeout 30s;

proxy_cache_path %%TESTDIR%%/cache keys_zone=cache:1m;

upstream u {
    server 127.0.0.1:8081;
    keepalive 4;
}

upstream two {
    server 127.0.0.1:8081;
    server 127.0.0.1:8082 backup;
    keepalive 4;
}

upstream both {
    server 127.0.0.1:8081;
    server 127.0.0.1:8082;
    keepalive 4;
}

upstream other {
    server 127.0.0.1:8082;
    keepalive 4;
}

upstream error {
    server 127.0.0.1:8082;
    keepalive 4;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://u;
}

location /two {
    proxy_pass http://two;
    proxy_next_upstream http_500;
}

location /both {
    proxy_pass http://both;
}

# what the client gets instead of an error

location /page {
    error_page 502 /page.html;
    proxy_pass http://u;
}

location = /page.html {
}

location /return {
    error_page 502 =200 @return;
    proxy_pass http://u;
}

location @return {
    return 200 "fallback\n";
}

location /other {
    error_page 502 = @other;
    proxy_pass http://u;
}

location @other {
    proxy_pass http://other;
}

location /error {
    error_page 502 = @error;
    proxy_pass http://u;
}

location @error {
    proxy_pass http://error;
}

# what nobody sees, or sees in part

location /post_action {
    post_action /action;
    return 200 "done\n";
}

location /action {
    rewrite ^ /?reused=reset break;
    proxy_pass http://u;
}

location /mirror {
    mirror /copy;
}

location = /copy {
    internal;
    proxy_next_upstream off;
    rewrite ^ /?reused=reset break;
    proxy_pass http://u;
}

location /ssi.html {
    ssi on;
}

location /once {
    proxy_pass http://u;
    proxy_next_upstream off;
}

location /cached {
    proxy_pass http://u;
    proxy_next_upstream off;
    proxy_cache cache;
    proxy_cache_key $uri;
    proxy_cache_valid 200 1s;
    proxy_cache_use_stale error;
}

location /cached/update {
    proxy_pass http://u;
    proxy_next_upstream off;
    proxy_cache cache;
    proxy_cache_key $uri;
    proxy_cache_valid 200 1s;
    proxy_cache_use_stale updating;
    proxy_cache_background_update on;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();
my ($u, $other) = map { '127.0.0.1:' . port($_) } 8081, 8082;

for my $port (8081, 8082) {
	$t->run_daemon(\&Backend::Faulty::run, $t, port => port($port), log => "$d/$port.log");
	$t->waitforsocket('127.0.0.1:' . port($port));
}

$t->write_file('page.html', "page\n");
$t->write_file('ssi.html', '<!--#include virtual="/once?reused=reset" -->end' . "\n");
$t->run();

###############################################################################

# no failures: there was a response, or a part of it

my $reused = 'ages.reuse +1, connections -1, reuses +1';

my ($before, $response) = idle_then(sub { get('/two?reused=status500') }, '/two');

like($response, qr/200 OK.*request 1$/s, 'error of the application');
is_changes($before, "two $u: $reused; two $other: connections +1, connects +1", 'error of the application, counted');

($before, $response) = idle_then(sub { post('/?reused=half') });

like($response, qr/ 502 /, 'failed after the first byte');
is_changes($before, "u $u: ages.failure +1, ages.reuse +1, connections -1, reuse_evidence.received +1, "
	. 'reuse_failures.eof +1, reuses +1', 'failed after the first byte, counted');

# a fresh connection, as there is no other now

$before = figures();
$response = post('/?fresh=reset');

like($response, qr/ 502 /, 'failed on a fresh connection');
is_changes($before, "u $u: connects +1", 'failed on a fresh connection, counted');

# the client goes away

my ($number) = served(get('/'));

$before = figures();
close ask('GET', '/?reused=silent');

is(Backend::ended($t, "$d/8081.log", $number)->{end}, 'peer', 'client closed the connection');
is_changes($before, "u $u: $reused", 'client closed the connection, counted');

# a failure, and what comes of it

my $failed = 'ages.failure +1, ages.reuse +1';
my $reset = 'reuse_evidence.unknown +1, reuse_failures.reset +1, reuses +1';
my $given_up = "$failed, connections -1, failed_requests +1, $reset";

($before, $response) = idle_then(sub { post('/?reused=reset') });

like($response, qr/ 502 /, 'error');
is_changes($before, "u $u: $given_up", 'error, counted');

($before, $response) = idle_then(sub { get('/?reused=reset') });

like($response, qr/ 200 .*request 1$/s, 'repeated');
is_changes($before, "u $u: $failed, connects +1, $reset", 'repeated, counted');

($before, $response) = idle_then(sub { get('/?reused=reset&fresh=status500') });

like($response, qr/ 500 /, 'repeated, error of the application');
is_changes($before, "u $u: $failed, connects +1, $reset", 'repeated, error of the application, counted');

($before, $response) = idle_then(sub { get('/?reused=reset&fresh=close') });

like($response, qr/ 502 /, 'repeated, failed on a fresh connection');
is_changes($before, "u $u: $failed, connections -1, connects +1, $reset", 'repeated, failed on a fresh connection, counted');

($before, $response) = idle_then(sub { post('/page?reused=reset') });

like($response, qr/ 502 .*page$/s, 'error page');
is_changes($before, "u $u: $given_up", 'error page, counted');

($before, $response) = idle_then(sub { post('/return?reused=reset') });

like($response, qr/ 200 .*fallback$/s, 'fallback');
is_changes($before, "u $u: $given_up", 'fallback, counted');

# cached connections to all peers are stale: after the first, the request takes a fresh one

get('/both');

($before, $response) = idle_then(sub { get('/both?reused=reset') }, '/both');

like($response, qr/200 OK.*request 1$/s, 'stale connections to all peers');
is_changes($before, "both $u: $failed, connections -1, $reset; both $other: closes.dead +1, connects +1",
	'stale connections to all peers, counted');

# another upstream in its place

($before, $response) = idle_then(sub { post('/other?reused=reset') });

like($response, qr/ 200 .*request 1$/s, 'other upstream');
is_changes($before, "other $other: connections +1, connects +1; u $u: $given_up",
	'other upstream, counted');

($before, $response) = idle_then(sub { post('/error?reused=reset&fresh=status500') });

like($response, qr/ 500 /, 'other upstream, error of the application');
is_changes($before, "error $other: connections +1, connects +1; u $u: $given_up",
	'other upstream, error of the application, counted');

# one that the server had received

($before, $response) = idle_then(sub { post('/?reused=close') });

like($response, qr/ 502 /, 'received');
is_changes($before, "u $u: $failed, connections -1, reuse_evidence.received +1, reuse_failures.eof +1, reuses +1",
	'received, counted');

# after the response, in a part of it, and in place of it

($before, $response) = idle_then(sub { post('/post_action') });

like($response, qr/ 200 .*done$/s, 'post_action');
is_changes($before, "u $u: $given_up", 'post_action, counted');

($before, $response) = idle_then(sub { get('/ssi.html') });

like($response, qr/ 200 .*502 Bad Gateway.*end$/s, 'subrequest');
is_changes($before, "u $u: $given_up", 'subrequest, counted');

($before, $response) = idle_then(sub { get('/once?reused=reset') });

like($response, qr/ 502 /, 'not repeated');
is_changes($before, "u $u: $given_up", 'not repeated, counted');

# a mirror beside an ordinary error

($before, $response) = idle_then(sub { get('/mirror') });

like($response, qr/ 404 /, 'mirror');
is_changes($before, "u $u: $failed, connections -1, $reset", 'mirror, counted');

# the cache has a response that is out of date when two seconds have passed, as nginx counts whole ones

get($_) for '/cached/', '/cached/update';
sleep_until(now() + 2100);

($before, $response) = idle_then(sub { get('/cached/?reused=reset') });

like($response, qr/ 200 .*request \d+$/s, 'stale');
is_changes($before, "u $u: $failed, connections -1, $reset", 'stale, counted');

($before, $response) = idle_then(sub { get('/cached/update?reused=reset') });

like($response, qr/ 200 .*request \d+$/s, 'update in the background');
is_changes($before, "u $u: $failed, connections -1, $reset", 'update in the background, counted');

# the client is gone when the failure comes

($number) = served(get('/'));
$before = figures();

my $client = ask('POST', '/?reused=silent');

wait_for(sub { figures()->{u}{$u}{reuses} > $before->{u}{$u}{reuses} });
setsockopt $client, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
close $client;

is(Backend::ended($t, "$d/8081.log", $number)->{end}, 'peer', 'client gone while waiting');
is_changes($before, "u $u: $reused", 'client gone while waiting, counted');

###############################################################################

# Makes the request when there is an idle connection, and returns the figures before it, and the response.

sub idle_then {
	my ($request, $uri) = @_;

	get($uri // '/');

	my $before = figures();

	return ($before, $request->());
}

###############################################################################
