#!/usr/bin/perl

# Tests for upstream_idle_timeout module, younger connections or fresh ones for
# requests that nginx does not repeat.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Backend::FastCGI;
use Certificate;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my @protocols = qw/plain tls fastcgi/;

my $t = Test::Nginx->new()->has(qw/http proxy fastcgi http_ssl upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(19 * @protocols + 7);

my $upstreams = join '', upstreams('plain', 8081), upstreams('tls', 8082), upstreams('fastcgi', 8083);

conf($t, http => <<"HTTP", server => <<"SERVER");
upstream_idle_timeout 60s non_idempotent=0;

$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location /plain {
    proxy_pass http://plain_\$arg_upstream;
}

location /plain/unbuffered {
    proxy_pass http://plain_\$arg_upstream;
    proxy_request_buffering off;
}

location /plain/off {
    proxy_pass http://plain_\$arg_upstream;
    proxy_next_upstream off;
}

location /plain/timeout {
    proxy_pass http://plain_\$arg_upstream;
    proxy_next_upstream timeout http_500;
}

location /fastcgi/off {
    fastcgi_pass fastcgi_\$arg_upstream;
    fastcgi_keep_conn on;
    fastcgi_next_upstream off;
    fastcgi_param REQUEST_METHOD \$request_method;
    fastcgi_param REQUEST_URI \$request_uri;
}

location /tls {
    proxy_pass https://tls_\$arg_upstream;
}

location /fastcgi {
    fastcgi_pass fastcgi_\$arg_upstream;
    fastcgi_keep_conn on;
    fastcgi_param REQUEST_METHOD \$request_method;
    fastcgi_param REQUEST_URI \$request_uri;
    fastcgi_param CONTENT_LENGTH \$content_length;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/plain.log");
$t->run_daemon(\&Backend::run, $t, port => port(8082), log => "$d/tls.log", tls => Certificate::create($t));
$t->run_daemon(\&Backend::run, $t, port => port(8083), log => "$d/fastcgi.log", protocol => 'Backend::FastCGI');
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8083;

###############################################################################

my $limit = 300;

for my $protocol (@protocols) {
	my $uri = "/$protocol?upstream";

	# always a fresh connection, while other requests go on with what is there

	for my $method (qw/POST LOCK PATCH/) {
		is_fresh(request('GET', "$uri=zero"), request($method, "$uri=zero"), "$protocol, 0, $method");
	}

	for my $method (qw/GET PUT DELETE OPTIONS/) {
		is_reused(request('POST', "$uri=zero"), request($method, "$uri=zero"), "$protocol, 0, $method");
	}

	is_fresh(request('POST', "$uri=zero"), request('POST', "$uri=zero"), "$protocol, 0, POST after POST");

	# each of the requests above for which there was a connection

	is(closed("${protocol}_zero"), 3 + 4 + 2, "$protocol, 0, closed");
	is(figures()->{"${protocol}_zero"}{''}{connections}, 1, "$protocol, 0, the rest");

	# from an age on

	my $post = sub { request('POST', "$uri=time") };

	is_reused(twice($post, 0, $limit), "$protocol, time, POST before it");
	is_fresh(twice($post, $limit), "$protocol, time, POST");
	is_fresh(twice(sub { request('PATCH', "$uri=time") }, $limit), "$protocol, time, PATCH");
	is_reused(twice(sub { get("$uri=time") }, $limit), "$protocol, time, GET");
	cmp_ok(closed("${protocol}_time"), '>=', 2, "$protocol, time, closed");

	# where nothing is said of it, be it that http{} does

	for my $upstream (qw/off default/) {
		is_reused(twice(sub { request('POST', "$uri=$upstream") }, 50), "$protocol, $upstream, POST");
	}

	is(closed("${protocol}_off") + closed("${protocol}_default"), 0, "$protocol, off, not closed");

	is_fresh(get("$uri=inherited"), request('POST', "$uri=inherited"), "$protocol, inherited");
}

# what nginx can't repeat, whatever its method: a body that is gone when it was sent, and where it is told not to

is_fresh(get('/plain?upstream=zero'), put('/plain/unbuffered?upstream=zero'), 'unbuffered body');
is_reused(get('/plain?upstream=zero'), get('/plain/unbuffered?upstream=zero'), 'no body');
is_reused(get('/plain?upstream=zero'), put('/plain?upstream=zero'), 'buffered body');

for my $where (qw/plain fastcgi/) {
	is_fresh(get("/$where?upstream=zero"), get("/$where/off?upstream=zero"), "$where, next_upstream off");
}

is_fresh(get('/plain?upstream=zero'), get('/plain/timeout?upstream=zero'), 'next_upstream without error');
is_reused(get('/plain?upstream=default'), put('/plain/unbuffered?upstream=default'), 'unbuffered body, default');

###############################################################################

sub request {
	my ($method, $uri) = @_;

	return $method eq 'POST' ? post($uri) : http("$method $uri HTTP/1.0\r\nHost: localhost\r\n\r\n");
}

sub put {
	my ($uri) = @_;

	# more than comes with the header

	return http("PUT $uri HTTP/1.0\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" . 'x' x 200000);
}

# How many connections were closed for a request that would have used them.

sub closed {
	my ($upstream) = @_;

	return figures()->{$upstream}{''}{'closes.non_idempotent'};
}

sub upstreams {
	my ($name, $port) = @_;

	my %directive = (
		zero => 'upstream_idle_timeout 60s non_idempotent=0;',
		time => 'upstream_idle_timeout 60s non_idempotent=300ms;',
		off => 'upstream_idle_timeout 60s non_idempotent=off;',
		default => 'upstream_idle_timeout 60s;',
		inherited => '',
	);

	return map { <<"EOF" } sort keys %directive;

    upstream ${name}_$_ {
        server 127.0.0.1:$port;
        keepalive 1;
        $directive{$_}
    }
EOF
}

###############################################################################
