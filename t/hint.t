#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the timeout that a backend tells in
# the Keep-Alive header of its responses.

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
use Stall;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# name, upstream, headers, the age at which the connection goes, 0 when it is not kept; and Connection, which otherwise is
# keep-alive

my @cases = (
	['none', 'fixed', [], 1300],
	['lower', 'fixed', ['timeout=1'], 800],
	['lower, with max', 'fixed', ['timeout=1, max=100'], 800],
	['not raised', 'fixed', ['timeout=10'], 1300],
	['several headers', 'fixed', ['timeout=10', 'max=5', 'timeout=1'], 800],
	['lenient', 'fixed', ['MAX=7;TimeOut = "1"'], 800],
	['unit', 'fixed', ['timeout=700ms'], 500],
	['little left', 'fixed', ['timeout=300ms'], 100],
	['nothing left', 'fixed', ['timeout=200ms'], 0],
	['max=0', 'fixed', ['timeout=1, max=0'], 0],
	['max=0 alone', 'fixed', ['max=0'], 0],
	['junk', 'fixed', ['timeout=-1', 'timeout=x', 'timeout', '1', '', 'timeout=99999999999999999999'], 1300],
	['junk and a hint', 'fixed', ['%%%', 'timeout=1'], 800],
	['default margin', 'default_margin', ['timeout=1'], 500],
	['off', 'off', ['timeout=1, max=0'], 1300],
	['auto', 'auto', ['timeout=1'], 800],
	['auto, none', 'auto', [], 1200],
	['auto, nothing left', 'auto', ['timeout=200ms'], 0],
	['auto, longer than nginx', 'auto', ['timeout=5'], 1200],
	['auto, for ever', 'auto', ['timeout=10000000000000000'], 1200],
	['auto, default margin', 'auto_default_margin', ['timeout=1'], 500],
	['inherited', 'inherited', ['timeout=1'], 600],
	['not named', 'fixed', ['timeout=1, max=0'], 1300, ''],
	['not named, auto', 'auto', ['timeout=1'], 1200, ''],
	['something else named', 'fixed', ['timeout=1'], 1300, 'foo, x-keep-alive'],
	['named among others', 'fixed', ['timeout=1'], 800, 'foo,Keep-Alive'],
);

# these for all protocols

my $common = qr/none|lower|not raised|several headers|nothing left|max=0|off|auto|auto, none/;
my @common = grep { $_->[0] =~ /^$common$/ } @cases;
# FastCGI has no such header: what an application says is about its own connections

my @deaf = map { my @case = @$_; $case[3] = $case[1] eq 'auto' ? 1200 : 1300; \@case } @common;

my %cases = (plain => \@cases, tls => \@common, fastcgi => \@deaf);

my $t = Test::Nginx->new()->has(qw/http proxy fastcgi http_ssl upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(3 * (@cases + 2 * @common) + 7);

my $upstreams = join '', upstreams('plain', 8081), upstreams('tls', 8082), upstreams('fastcgi', 8083);

conf($t, http => <<"HTTP", server => <<"SERVER");
upstream_idle_timeout 1300ms margin=400ms;

$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location /plain {
    proxy_pass http://plain_\$arg_upstream;
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

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/plain.log");
$t->run_daemon(\&Backend::run, $t, port => port(8082), log => "$d/tls.log", tls => Certificate::create($t));
$t->run_daemon(\&Backend::run, $t, port => port(8083), log => "$d/fastcgi.log", protocol => 'Backend::FastCGI');
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8083;

###############################################################################

# all at the same time, and so each on a connection of its own

my @all = map { my $protocol = $_; map { [$protocol, @$_] } @{$cases{$protocol}} } sort keys %cases;
my @number = map { (served($_))[0] } answers(map { get(uri(@$_) . '&delay=0.2', start => 1) } @all);

for my $case (@all) {
	my ($protocol, $name, undef, undef, $limit) = @$case;
	my $end = Backend::ended($t, "$d/$protocol.log", shift @number);

	$name = "$protocol, $name";

	is($end->{end}, 'peer', "$name, closed by nginx");
	cmp_ok($end->{age}, '>', $limit - 15, "$name, not before $limit ms");
	cmp_ok($end->{age}, '<', $limit + 100, "$name, at $limit ms");
}

# why they were closed

my %closes = map { $_ => Status::status()->{upstreams}{"plain_$_"}{closes} } qw/fixed auto/;

is($closes{fixed}{margin}, grep({ $_->[1] eq 'fixed' && $_->[3] } @cases), 'closed for the margin');
is($closes{auto}{keepalive}, 4, 'auto, closed for keepalive_timeout');

# a hint holds for all of the connection's life

my $first = get(uri('plain', '', 'once', ['timeout=1']));
my $second = get(uri('plain', '', 'once', []));

is_reused($first, $second, 'hint once');
cmp_ok(Backend::ended($t, "$d/plain.log", (served($second))[0])->{age}, '<', 900, 'hint once, at 800 ms');

# what the timer was too late for

my @late = $stall->twice('POST', uri('plain', '', 'once', ['timeout=500ms']), 350);

is_fresh(@late, 'worker blocked');
is(Backend::ended($t, "$d/plain.log", (served($late[0]))[0])->{requests}, 1, 'worker blocked, no request any more');
is(Status::status()->{upstreams}{plain_once}{closes}{late}, 1, 'worker blocked, late');

###############################################################################

sub upstreams {
	my ($name, $port) = @_;

	my %directive = (
		fixed => 'upstream_idle_timeout 1500ms margin=200ms;',
		default_margin => 'upstream_idle_timeout 10s;',
		off => 'upstream_idle_timeout 1500ms margin=200ms hint=off;',
		auto => 'keepalive_timeout 1200ms; upstream_idle_timeout auto margin=200ms learn=off;',
		auto_default_margin => 'upstream_idle_timeout auto learn=off;',
		inherited => '',
		once => 'upstream_idle_timeout 10s margin=200ms;',
	);

	return map { <<"EOF" } sort keys %directive;

    upstream ${name}_$_ {
        server 127.0.0.1:$port;
        keepalive 20;
        $directive{$_}
    }
EOF
}

sub uri {
	my ($protocol, undef, $upstream, $headers, undef, $connection) = @_;

	my @arguments = ((map { [keep_alive => $_] } @$headers), defined $connection ? [connection => $connection] : ());

	return join '&', "/$protocol?upstream=$upstream",
		map { "$_->[0]=" . $_->[1] =~ s/([^\w.-])/sprintf '%%%02x', ord $1/ger } @arguments;
}

###############################################################################
