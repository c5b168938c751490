#!/usr/bin/perl

# Tests for upstream_idle_timeout module, a backend whose idle timeout becomes
# another one, or that closes its connections for other reasons.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Timed;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(21);

conf($t, main => 'worker_processes 4;', http => <<'HTTP', server => <<'SERVER');
upstream u {
    server 127.0.0.1:8081;
    keepalive 16;
    keepalive_timeout 5s;
    upstream_idle_timeout auto;
}

upstream at_once {
    server 127.0.0.1:8082;
    keepalive 16;
    upstream_idle_timeout auto;
}

upstream restarts {
    server 127.0.0.1:8083;
    keepalive 16;
    upstream_idle_timeout auto;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://$arg_upstream;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();
my %port = (u => 8081, at_once => 8082, restarts => 8083);

for my $port (8081 .. 8083) {
	Backend::Timed::say_timeout("$d/$port", 600);
	$t->run_daemon(\&Backend::Timed::run, $t, port => port($port), log => "$d/$port.log", file => "$d/$port");
}

$t->run();
$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8083;

###############################################################################

# one connection at a time, each a while after the last one

is(until_timeout('u', 600, 20, \&one), 1, 'learned');

my $before = closes('u');

one('u') for 1 .. 6;
is(closes('u', 'peer'), $before->{peer}, 'learned, not closed by the backend');

# a shorter one

Backend::Timed::say_timeout("$d/8081", 300);
is(until_timeout('u', 300, 20, \&one), 1, 'shorter, learned');
cmp_ok(all_closed('u') - all_closed(undef, $before), '<=', 6 + 5, 'shorter, after few closes');

# a longer one, which watched connections show: some of them were handed to requests

$before = closes('u');
Backend::Timed::say_timeout("$d/8081", 900);

my $started = now();
my $requests = 0;

is(until_timeout('u', 900, 300, sub { get(uri('u')); sleep_until(now() + 330); $requests++ }), 1, 'longer, learned');
cmp_ok(now() - $started, '<', 60000, 'longer, within a minute');
cmp_ok(closes('u', 'watched') - $before->{watched}, '>=', 8, 'longer, watched');
is(closes('u', 'peer'), $before->{peer}, 'longer, not closed by the backend');
is(failures('u'), 0, 'no failure');

# one that is not handed to a request ends in nginx's time, which is a timeout of its own

$before = closes('u');
Backend::Timed::say_timeout("$d/8081", 30000);
ok(wait_for(sub {
	get(uri('u')) unless connections('u');
	return closes('u', 'keepalive') > $before->{keepalive};
}, 20), 'watched until keepalive_timeout');

# a worker that ends does not leave one behind

for (1 .. 6) {
	get(uri('u'));
	sleep_until(now() + 1200);
	last if connections('u');
}

is(connections('u'), 1, 'watched, past its limit');

$before = closes('u');
$t->reload();
ok(wait_for(sub { !connections('u') && closes('u', 'shutdown') > $before->{shutdown} }), 'closed with its worker');

# a backend that closes at once gets no reuse, and all requests their response

Backend::Timed::say_timeout("$d/8082", 20);
is(until_timeout('at_once', 0, 20, \&one), 1, 'at once, learned');

my ($reuses, $connections) = @{figures()->{at_once}{''}}{qw/reuses connects/};

for (1 .. 20) {
	my @answers = answers(map { get(uri('at_once'), start => 1) } 1, 2);
	$requests = grep { (served($_))[0] } @answers;
	last if $requests != 2;
}

is($requests, 2, 'at once, answered');
is(figures()->{at_once}{''}{reuses}, $reuses, 'at once, not reused');
is(figures()->{at_once}{''}{connects}, $connections + 40, 'at once, fresh');
cmp_ok(closes('at_once', 'peer') + closes('at_once', 'dead'), '<=', 6, 'at once, not kept');

# restarts, which close connections of all ages

Backend::Timed::say_timeout("$d/8083", 3000);
is(until_timeout('restarts', 3000, 20, \&three), 1, 'restarts, learned');

$before = closes('restarts');

for my $round (1 .. 24) {
	answers(map { get(uri('restarts') . '&delay=0.02', start => 1) } 1 .. 3);

	if ($round % 3 == 0) {
		sleep_until(now() + 100 + 10 * $round);
		Backend::Timed::say_timeout("$d/8083", 'restart 3000');
	}

	sleep_until(now() + 500);
}

cmp_ok(closes('restarts', 'peer') - $before->{peer}, '>=', 8, 'restarts, closed');
cmp_ok(abs(learned('restarts')->{timeout_ms} - 3000), '<', 300, 'restarts, the same timeout');
is(failures('restarts'), 0, 'restarts, no failure');

###############################################################################

# Makes requests until that is learned within a tenth, so many times at the most.

sub until_timeout {
	my ($name, $msec, $times, $request) = @_;

	for (1 .. $times) {
		$request->($name);

		my $learned = learned($name) or next;
		return 1 if abs($learned->{timeout_ms} - $msec) <= $msec / 10;
	}

	return 'not after all these: ' . (learned($name) // {})->{timeout_ms};
}

sub one {
	my ($name) = @_;

	my $started = now();

	get(uri($name));
	wait_for(sub { !figures()->{$name}{''}{connections} });
	sleep_until($started + 800);
}

sub three {
	my ($name) = @_;

	answers(map { get(uri($name) . '&delay=0.02', start => 1) } 1 .. 3);
	wait_for(sub { !figures()->{$name}{''}{connections} });
}

sub uri {
	my ($name) = @_;

	return "/?upstream=$name";
}

sub learned {
	my ($name) = @_;

	return status()->{upstreams}{$name}{peers}{'127.0.0.1:' . port($port{$name})}{learned};
}

sub closes {
	my ($name, $reason) = @_;

	my $closes = status()->{upstreams}{$name}{closes};

	return $reason ? $closes->{$reason} : $closes;
}

# How many were closed by the backend, or for the margin.

sub all_closed {
	my ($name, $closes) = @_;

	$closes //= closes($name);

	return $closes->{peer} + $closes->{margin} + $closes->{watched} + $closes->{late} + $closes->{dead};
}

sub connections {
	my ($name) = @_;

	return figures()->{$name}{''}{connections};
}

sub failures {
	my ($name) = @_;

	my $failures = status()->{upstreams}{$name}{reuse_failures};
	my $sum = 0;

	$sum += $_ for values %$failures;

	return $sum;
}

###############################################################################
