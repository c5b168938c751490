#!/usr/bin/perl

# Tests for upstream_idle_timeout module, TLS to the backend.

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

my $t = Test::Nginx->new()->has(qw/http proxy http_ssl upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(22);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream TLSv1_2 {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 500ms margin=200ms;
}

upstream TLSv1_3 {
    server 127.0.0.1:8082;
    keepalive 2;
    upstream_idle_timeout 500ms margin=200ms;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_ssl_session_reuse on;
proxy_ssl_protocols TLSv1.2 TLSv1.3;

location / {
    proxy_pass https://$arg_upstream;
}

location /stall {
    access_log %%TESTDIR%%/stall.fifo;
    return 204;
}
SERVER

my $d = $t->testdir();

system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost/ -days 1 "
	. "-keyout $d/localhost.key -out $d/localhost.crt >>$d/openssl.out 2>&1") == 0
	or die "cannot create a certificate: $!\n";

my %key = (SSL_key_file => "$d/localhost.key", SSL_cert_file => "$d/localhost.crt");
my $stall = Stall->new($t);

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/TLSv1_2.log", timeout => 1,
	tls => { %key, SSL_version => 'TLSv1_2' });
$t->run_daemon(\&Backend::run, $t, port => port(8082), log => "$d/TLSv1_3.log", timeout => 1,
	tls => { %key, SSL_version => 'TLSv1_3' });
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081, 8082;

###############################################################################

# the backends close connections themselves after a second

my $limit = 300;

for my $version (qw/TLSv1_2 TLSv1_3/) {
	my $uri = "/?upstream=$version";
	my $log = "$d/$version.log";

	is_reused(twice(sub { get($uri) }, 0, $limit), "$version, at once");
	is_reused(twice(sub { get($uri) }, 150, $limit), "$version, before the limit");
	is_reused(twice(sub { post($uri) }, 150, $limit), "$version, POST before the limit");
	is_fresh($stall->twice('POST', $uri, $limit), "$version, at the limit, worker blocked");

	my ($first, $last) = twice(sub { get($uri) }, $limit);

	is_fresh($first, $last, "$version, at the limit");
	like($last, qr/ resumed\n/, "$version, session of the connection before");

	my $end = Backend::ended($t, $log, (served($last))[0]);

	is($end->{end}, 'peer', "$version, closed by nginx");
	cmp_ok($end->{age}, '>', $limit - 15, "$version, closed not before $limit ms");
	cmp_ok($end->{age}, '<', $limit + 100, "$version, closed at $limit ms");

	my @reuses = Backend::reuses($t, $log);

	cmp_ok(@reuses, '>', 2, "$version, reused");
	is(grep({ $_->{age} > $limit + 20 } @reuses), 0, "$version, no connection was older at a request");
}

###############################################################################
