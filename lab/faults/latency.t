#!/usr/bin/perl

# Faults: a link with latency, which is within the margin.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Backend;
use Client;
use Relay;
use Rest;
use Setup;
use Test::Nginx;

###############################################################################

# as many upstreams, each with a connection of its own, and so many POSTs to each

use constant { UPSTREAMS => 100, ROUNDS => 20, REPEATS => 5, OLDEST => 1200, LIMIT => 900 };

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(7);
my $d = $t->testdir();

configure($t, workers => 1, events => 'worker_connections 1024;', http => join '', map { <<"EOF" } 1 .. UPSTREAMS);
    upstream u$_ {
        server 127.0.0.1:8082;
        keepalive 1;
        keepalive_requests 1000000;
        upstream_idle_timeout 1s margin=100ms;
    }
EOF

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/backend.log", timeout => 1);
$t->run_daemon(\&Relay::run, port => port(8082), to => port(8081), log => "$d/relay.log", delay => 0.02);
$t->waitforsocket('127.0.0.1:' . port($_)) for 8081, 8082;
$t->run();

###############################################################################

my ($made, $repeats, @lost) = (0, 0);

# a round in which the relay was late proves nothing when a request failed

for my $round (1 .. ROUNDS) {
	my $late = Relay::late("$d/relay.log");
	my @failed = round();

	if (@failed && $late != Relay::late("$d/relay.log") && $repeats++ < REPEATS) {
		redo;
	}

	$made += UPSTREAMS;
	push @lost, @failed;
}

my $figures = total();

is("@lost", '', 'ages at which a POST failed');
cmp_ok($figures->{reuses}, '>', $made / 2, 'reuses');

SKIP: {
	skip 'the relay was late', 1 if $repeats;
	is($figures->{'ages.failure'}, scalar @lost, 'failed reuses');
}

at_rest($t, name => 'latency', requests => $made, lost => scalar @lost,
	text => "reuses $figures->{reuses}, closed in time $figures->{'closes.margin'}, rounds repeated $repeats");

###############################################################################

# The ages at which a POST failed.

sub round {
	sleep_until(now() + LIMIT) if total()->{connections};

	answers(map { get("/?upstream=u$_", start => 1) } 1 .. UPSTREAMS);

	my $idle = now();
	my %socket;

	for my $n (1 .. UPSTREAMS) {
		my $age = OLDEST * ($n - rand) / UPSTREAMS;

		sleep_until($idle + $age);
		$socket{sprintf '%.0f', $age} = post("/?upstream=u$n", start => 1);
	}

	my @ages = sort { $a <=> $b } keys %socket;
	my @responses = answers(@socket{@ages});

	return map { (served($responses[$_]))[0] ? () : $ages[$_] } 0 .. $#ages;
}

###############################################################################
