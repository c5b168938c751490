#!/usr/bin/perl

# Tests for upstream_idle_timeout module, a worker that is blocked: what is
# overdue is not used, and idle ages do not begin at the end of the block.

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

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(20);

conf($t, http => <<'HTTP', server => <<'SERVER');
# the backend has closed the connection

upstream closed {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 500ms margin=100ms;
}

# the backend is about to

upstream late {
    server 127.0.0.1:8082;
    keepalive 2;
    upstream_idle_timeout 900ms margin=400ms;
}

upstream early {
    server 127.0.0.1:8082;
    keepalive 2;
    upstream_idle_timeout 10s;
}

# for a response that arrives while the worker is blocked

upstream counted {
    server 127.0.0.1:8082;
    keepalive 2;
    upstream_idle_timeout 1s margin=200ms;
}

upstream over {
    server 127.0.0.1:8082;
    keepalive 2;
    upstream_idle_timeout 500ms margin=200ms;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://$arg_upstream;
}

location /stall {
    access_log %%TESTDIR%%/stall.fifo;
    return 204;
}
SERVER

my $stall = Stall->new($t);
my @log = map { $t->testdir() . "/backend$_.log" } 1, 2;

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log[0], timeout => 0.5);
$t->run_daemon(\&Backend::run, $t, port => port(8082), log => $log[1], count => 1000);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));
$t->waitforsocket('127.0.0.1:' . port(8082));

###############################################################################

# idle connections; requests come from clients that nginx knows already, and so are the first that it sees after the
# block: before what it could see of the backend, and before its timers

my %client = map { $_ => client($_) } qw/closed late early/;
my ($begun, $length) = blocked($stall, sub { request($client{$_}, 'POST', $_) for keys %client });

cmp_ok($length, '>=', 700, 'worker was blocked');

my %second = map { $_ => answer($client{$_}{socket}) } keys %client;

is_fresh($client{$_}{first}, $second{$_}, "POST after the block, $_") for qw/closed late/;
is_reused($client{early}{first}, $second{early}, 'POST after the block, early');

my $end = Backend::ended($t, $log[0], number($client{closed}{first}));

is($end->{end}, 'self', 'closed, by the backend');
is($end->{requests}, 1, 'closed, no request any more');

$end = Backend::ended($t, $log[1], number($client{late}{first}));

is($end->{end}, 'peer', 'late, closed by nginx');
is($end->{requests}, 1, 'late, no request any more');
cmp_ok($end->{age}, '<', 900, 'late, not by the backend');

# responses that arrive while the worker is blocked, the last one with its age at the limit before nginx has seen it

for (1 .. 5) {
	%client = (map({ $_ => client($_) } qw/counted over/), another => client('early'));

	request($client{$_}, 'GET', "$_&delay=0.2") for qw/counted over/;
	wait_for_reuse($t, $log[1], $_) for number($client{counted}{first}), number($client{over}{first});

	($begun, $length) = blocked($stall, sub {
		sleep_until($client{over}{sent} + 300);
		request($client{another}, 'POST', 'over');
	});

	last if $begun < $client{counted}{sent} + 200;
}

cmp_ok($begun, '<', $client{counted}{sent} + 200, 'responses came during the block');
cmp_ok($length, '>=', 700, 'worker was blocked, again');

%second = map { $_ => answer($client{$_}{socket}) } keys %client;

is_reused($client{$_}{first}, $second{$_}, "response during the block, $_") for qw/counted over/;
is_fresh($second{over}, $second{another}, 'POST after the block, over');

$end = Backend::ended($t, $log[1], number($second{over}));

is($end->{end}, 'peer', 'over, closed by nginx');
is($end->{requests}, 2, 'over, no request any more');
cmp_ok($end->{age}, '<', 700, 'over, at the end of the block');

$end = Backend::ended($t, $log[1], number($second{counted}));

is($end->{end}, 'peer', 'counted, closed by nginx');
cmp_ok($end->{age}, '>', 785, 'counted, not before 800 ms');
cmp_ok($end->{age}, '<', 900, 'counted, at 800 ms');

###############################################################################

# A client that nginx knows, after a request that leaves an idle connection.

sub client {
	my ($upstream) = @_;

	my $socket = ask('GET', "/?upstream=$upstream");

	return { socket => $socket, first => answer($socket) };
}

sub request {
	my ($client, $method, $upstream) = @_;

	$client->{sent} = now();
	ask($method, "/?upstream=$upstream", $client->{socket});
}

# Blocks the worker, and calls the code meanwhile. When it began, and how long it took.

sub blocked {
	my ($stall, $code) = @_;

	$stall->begin();

	my $begun = now();

	$code->();
	sleep_until($begun + 700);

	my $length = now() - $begun;

	$stall->release();

	return ($begun, $length);
}

sub wait_for_reuse {
	my ($t, $log, $number) = @_;

	for (1 .. 500) {
		return if grep { $_->{reuse} == $number } Backend::reuses($t, $log);
		select undef, undef, undef, 0.01;
	}
}

sub number {
	my ($response) = @_;

	return (served($response))[0];
}

###############################################################################
