#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the variables, in access logs.

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

my $t = Test::Nginx->new()->has(qw/http proxy rewrite ssi upstream_keepalive/)->plan(25);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream_idle_timeout 30s;

upstream u {
    server 127.0.0.1:8081;
    keepalive 4;
}

upstream two {
    server 127.0.0.1:8081;
    server 127.0.0.1:8082 backup;
    keepalive 4;
}

upstream three {
    server 127.0.0.1:8083;
    keepalive 4;
}

upstream off {
    server 127.0.0.1:8082;
    keepalive 4;
    upstream_idle_timeout off;
}

upstream none {
    server 127.0.0.1:8081 down;
    keepalive 4;
}

# nobody listens there

upstream down {
    server 127.0.0.1:8084;
    keepalive 4;
}

log_format variables "$status ($upstream_addr) ($upstream_reused) ($upstream_reuse_outcome) ($upstream_idle_time)";
log_format evidence "$upstream_reuse_evidence";

access_log %%TESTDIR%%/variables.log variables;
access_log %%TESTDIR%%/evidence.log evidence;
log_subrequest on;
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://u;
}

location /three {
    proxy_pass http://three;
}

location /two {
    proxy_pass http://two;
    proxy_next_upstream http_500;
}

location /off {
    proxy_pass http://off;
}

location /down {
    proxy_pass http://down;
}

location /none {
    proxy_pass http://none;
}

location /read_timeout {
    proxy_pass http://u;
    proxy_read_timeout 200ms;
}

location /page {
    error_page 502 /page.html;
    proxy_pass http://u;
}

location = /page.html {
}

location /named {
    error_page 502 = @named;
    proxy_pass http://u;
}

location @named {
    proxy_pass http://three;
}

location /named_off {
    error_page 502 = @off;
    proxy_pass http://u;
}

location @off {
    proxy_pass http://off;
}

location = /ssi.html {
    ssi on;
}

location = /sent {
    return 200 "$upstream_reused|$upstream_idle_time|$upstream_reuse_outcome";
}

location /header {
    add_header X-Reused "$upstream_reused $upstream_reuse_outcome";
    proxy_pass http://u;
}
SERVER

my $d = $t->testdir();
my %port = (u => 8081, backup => 8082, three => 8083, down => 8084);
my %addr = map { $_ => '127.0.0.1:' . port($port{$_}) } keys %port;

for my $port (8081, 8082, 8083) {
	$t->run_daemon(\&Backend::Faulty::run, $t, port => port($port), log => "$d/$port.log");
	$t->waitforsocket('127.0.0.1:' . port($port));
}

$t->write_file('page.html', "page\n");
$t->write_file('ssi.html', '<!--#include virtual="/?delay=0.1" --> <!--#include virtual="/down" -->' . "\n");
$t->run();

###############################################################################

# one try

is(logged($t, sub { get('/') }), "200 ($addr{u}) (0) (-) (-)", 'fresh');
is(logged($t, sub { get('/') }), "200 ($addr{u}) (1) (ok) (T)", 'reused');
is(logged($t, sub { get('/down') }), "502 ($addr{down}) (0) (-) (-)", 'no connection');
is(logged($t, sub { post('/?reused=reset') }), "502 ($addr{u}) (1) (reset) (T)", 'reset');

like(get('/header'), qr/^X-Reused: 0 -\r$/m, 'fresh, header');
like(get('/header'), qr/^X-Reused: 1 ok\r$/m, 'reused, header');

is(logged($t, sub { post('/?reused=close') }), "502 ($addr{u}) (1) (eof) (T)", 'eof');

get('/');

is(logged($t, sub { post('/read_timeout?reused=silent') }), "504 ($addr{u}) (1) (timeout) (T)", 'timeout');

# the age

get('/');

my $idle = now();

sleep_until($idle + 150);

my $asked = now();

get('/');

my ($age) = last_line($t) =~ /\((\d+\.\d{3})\)$/;

cmp_ok($age * 1000, '>=', int($asked - $idle), 'idle time');
cmp_ok($age * 1000, '<=', now() - $idle + 20, 'idle time, not more');

# several tries, at one server or at two

is(logged($t, sub { get('/?reused=reset') }), "200 ($addr{u}, $addr{u}) (1, 0) (reset, -) (T, -)", 'two tries');

get('/two');

is(logged($t, sub { get('/two?reused=status500') }), "200 ($addr{u}, $addr{backup}) (1, 0) (ok, -) (T, -)",
	'two servers');

# an internal redirect

is(logged($t, sub { post('/page?reused=reset') }), "502 ($addr{u}) (1) (reset) (T)", 'error page');

# another upstream, and several tries at each; one that the module does not look after

get($_) for '/', '/three';

is(logged($t, sub { post('/named?reused=reset') }),
	"502 ($addr{u} : $addr{three}) (1 : 1) (reset : reset) (T : T)", 'other upstream');

get($_) for '/', '/three';

is(logged($t, sub { get('/named?reused=reset&fresh=close') }),
	"502 ($addr{u}, $addr{u} : $addr{three}, $addr{three}) (1, 0 : 1, 0) (reset, - : reset, -) (T, - : T, -)",
	'other upstream, two tries at each');

is(logged($t, sub { get('/?accel=/three') }),
	"200 ($addr{u} : $addr{three}) (0 : 0) (- : -) (- : -)", 'X-Accel-Redirect');

get('/');

is(logged($t, sub { post('/named_off?reused=close') }),
	"200 ($addr{u} : $addr{backup}) (1 : -) (eof : -) (T : -)", 'other upstream, off');

is(logged($t, sub { get('/off') }), "200 ($addr{backup}) (-) (-) (-)", 'off');

# no peer, and no upstream

is(logged($t, sub { get('/none') }), '502 (none) (-) (-) (-)', 'no live peer');
is(logged($t, sub { get('/page.html') }), '200 (-) (-) (-) (-)', 'no upstream');
is(Status::content(get('/sent')), '||', 'no upstream, empty');

# each subrequest has its own; they are under way at the same time

get('/');

is(logged($t, sub { get('/ssi.html') }), join('; ', "200 ($addr{u}) (1) (ok) (T)", "502 ($addr{down}) (0) (-) (-)",
	'200 (-) (-) (-) (-)'), 'subrequests');

# a client that leaves before there is a response, on a cached connection and on a fresh one

for my $try (1, 0) {
	get('/') if $try;

	my $age = $try ? 'T' : '-';

	is(logged($t, sub { close ask('GET', '/?delay=5') }), "499 ($addr{u}) ($try) (-) ($age)", "client left, $try");
}

# what is known of the request, on the connections above

my %evidence;

$evidence{$_}++ for split /\n/, $t->read_file('evidence.log');

is(join(', ', map { "$_: $evidence{$_}" } grep { /[a-z]/ } sort keys %evidence),
	'received: 2, received : -: 1, unknown: 2, unknown : unknown: 1, unknown, -: 1, unknown, - : unknown, -: 1', 'evidence');

###############################################################################

# What is logged of a request, with "T" for times.

sub logged {
	my ($t, $request) = @_;

	my $before = () = lines($t);

	$request->();

	# nginx may have closed the connection to the client before

	wait_for(sub { lines($t) > $before });

	my @lines = lines($t);

	return join '; ', map { s/\d+\.\d{3}/T/gr } @lines[$before .. $#lines];
}

sub lines {
	my ($t) = @_;

	return split /\n/, $t->read_file('variables.log');
}

sub last_line {
	my ($t) = @_;

	return (lines($t))[-1];
}

###############################################################################
