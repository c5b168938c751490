#!/usr/bin/perl

# Faults: two servers some way off that close idle connections just when the next request is on its way. That is no failure of
# theirs.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Backend;
use Client;
use Rest;
use Setup;
use Status;
use Test::Nginx;
use Wire;

###############################################################################

# in milliseconds; an age is from the end of the response on

use constant { TIMEOUT => 300, LATENCY => 20, ENOUGH => 10, AT_MOST => 400 };

my $wire = Wire->new(delay => LATENCY);
my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(12);
my $d = $t->testdir();

configure($t, workers => 1, http => upstream('off') . upstream('on'));

$wire->run_daemon($t, \&Backend::run, $t, address => $wire->server(), port => port($_), log => "$d/$_.log",
	timeout => TIMEOUT / 1000) for 8081, 8082;
$wire->waitforsocket($t, map { port($_) } 8081, 8082);
$t->run();

###############################################################################

# POSTs to both upstreams: each server gets every second one, as long after the one before as it keeps connections, give
# or take the latency. The one between, of the other server, takes two latencies, or four with a connection that is fresh.

my $requests = 0;
my %failed = (off => 0, on => 0);

while ($requests < AT_MOST && ($failed{off} < ENOUGH || errors($t, 'no live upstreams', 'on') < ENOUGH)) {
	for my $pause (map { TIMEOUT / 2 - 3 * LATENCY + 2 * $_ } 0 .. 19) {
		my @upstreams = keys %failed;
		my @responses = answers(map { post("/?upstream=$_", start => 1) } @upstreams);

		$failed{$upstreams[$_]}++ for grep { !(served($responses[$_]))[0] } 0, 1;
		$requests++;

		sleep_until(now() + $pause);
	}
}

my %figures = map { $_ => figures()->{$_}{''} } keys %failed;
my %stale = map { $_ => $figures{$_}{'reuse_failures.reset'} + $figures{$_}{'reuse_failures.eof'} } keys %failed;
my %refused = map { $_ => errors($t, 'no live upstreams', $_) } keys %failed;

# what has become of a request that met the end of its connection

my %ends = map { my $name = $_; $name => join ', ', map { "$_ $figures{$name}{\"reuse_evidence.$_\"}" }
	qw/unwritten refused closed unknown received/ } keys %failed;

note("fails=$_: failed $failed{$_} of $requests, stale $stale{$_}: $ends{$_}; no live upstreams $refused{$_}") for qw/off on/;

for my $name (qw/off on/) {
	is($figures{$name}{'reuse_evidence.received'}, 0, "fails=$name, none of the requests was received");
	is($failed{$name}, $stale{$name} + $refused{$name}, "fails=$name, a request failed on each");
}

cmp_ok($stale{off}, '>=', ENOUGH, 'stale connections');
is($figures{off}{failed_requests}, $stale{off}, 'all are counted');
is($refused{off}, 0, 'no live upstreams');
cmp_ok($refused{on}, '>=', ENOUGH, 'fails=on, no live upstreams');

at_rest($t, name => 'two servers far off', requests => 2 * $requests, lost => $failed{off},
	text => "stale $stale{off}: $ends{off}");

###############################################################################

sub upstream {
	my ($fails) = @_;

	my $servers = join ' ', map { 'server ' . $wire->server() . ":%%PORT_$_%%;" } 8081, 8082;

	return <<"EOF";
    upstream $fails {
        $servers
        keepalive 8;
        keepalive_requests 1000000;
        upstream_idle_timeout 60s hint=off probe=off repeat=off fails=$fails;
    }
EOF
}

###############################################################################
