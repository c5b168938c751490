#!/usr/bin/perl

# Faults: a worker that is blocked while requests come in, and connections pass their limit or are closed by the backend.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Backend;
use Client;
use Load;
use Rest;
use Setup;
use Stall;
use Test::Nginx;

###############################################################################

# the backend measures ages with the kernel's clock, which ticks every few milliseconds

use constant { CLIENTS => 100, ROUNDS => 12, LIMIT => 750, TICK => 4, OLDEST => 1200, TIMEOUT => 1000,
	REPEATS => 5 };

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(17);

# the backend closes after a second, which only one of the two groups of upstreams knows

configure($t, workers => 1, events => 'worker_connections 1024;', http => upstreams(
	limit => 'upstream_idle_timeout 1s margin=250ms;',
	probe => 'upstream_idle_timeout 60s probe=0 hint=off; keepalive_timeout 60s;'),
	server => 'keepalive_requests 10000; location /stall { access_log %%TESTDIR%%/stall.fifo; return 204; }');

my $stall = Stall->new($t);
my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log, timeout => TIMEOUT / 1000);
$t->waitforsocket('127.0.0.1:' . port(8081));
$t->run();

###############################################################################

# POSTs that failed in rounds that were repeated

my $repeated = 0;

my ($made, $posts, @lost) = rounds('limit');

my @reuses = Backend::reuses($t, $log);
my @late = grep { $_->{age} >= LIMIT + TICK } @reuses;
my $figures = total();

is(scalar @lost, 0, 'limit, requests lost');
is(join(' ', map { $_->{age} } @late), '', 'limit, requests on connections at the limit');
cmp_ok(scalar @reuses, '>=', 1000, 'limit, reuses');
cmp_ok($figures->{'closes.late'}, '>', 100, 'limit, found late');

at_rest($t, name => 'blocked, limit', requests => $made, lost => scalar @lost,
	text => sprintf 'POSTs %d, reuses %d, oldest %.0f ms, late %d', $posts, scalar @reuses,
		(sort { $b <=> $a } map { $_->{age} } @reuses)[0], $figures->{'closes.late'});

# and now the kernel alone can tell

my ($made_too, $posts_too, @failed) = rounds('probe');
my $after = total();
my %more = map { $_ => $after->{$_} - $figures->{$_} } keys %$after;

cmp_ok($more{reuses}, '>=', 1000, 'probe, reuses');
cmp_ok(scalar @failed, '<', 2 * $more{reuses} / 1000, 'probe, requests lost');
cmp_ok($more{'closes.dead'}, '>', 100, 'probe, found dead');
is($more{failed_requests}, @failed + $repeated, 'probe, failed requests');
cmp_ok($more{'reuse_failures.reset'} + $more{'reuse_failures.eof'}, '>=', @failed + $repeated, 'probe, failed reuses');

at_rest($t, name => 'blocked, probe', requests => $made_too, lost => scalar @failed,
	text => "POSTs $posts_too, reuses $more{reuses}, dead $more{'closes.dead'}, lost to a late backend $repeated");

###############################################################################

sub upstreams {
	my %directives = @_;

	return join "\n", map { my $name = $_; map { <<"EOF" } 1 .. CLIENTS } sort keys %directives;
    upstream $name$_ {
        server 127.0.0.1:8081;
        keepalive 1;
        keepalive_requests 1000000;
        $directives{$name}
    }
EOF
}

# Requests, POSTs among them, and how those POSTs failed that did. A backend that is late itself proves nothing when a request
# failed.

sub rounds {
	my ($name) = @_;

	my @clients = map { { uri => "/?upstream=$name$_" } } 1 .. CLIENTS;
	my ($rounds, $repeats, @failed) = (0, 0);

	for my $number (1 .. ROUNDS) {
		my $late = late();
		my @lost = grep { defined } map { Load::failure($_) } round($number, @clients);

		$rounds++;

		if (@lost && $late != late() && $repeats++ < REPEATS) {
			$repeated += @lost;
			redo;
		}

		push @failed, @lost;
	}

	return (2 * CLIENTS * $rounds, CLIENTS * $rounds, @failed);
}

# How many connections the backend has closed after their time.

sub late {
	return scalar grep { $_->{end} eq 'self' && $_->{age} > TIMEOUT + 10 } Backend::logged($t, $log, 'connection');
}

# Every client has left a connection, the oldest first, and makes a POST that is handled when the worker comes to: at ages from
# the length of the block up to OLDEST.

sub round {
	my ($number, @clients) = @_;

	my $length = 100 + 600 * ($number % 4) / 3;
	my $started = now();

	for my $i (0 .. $#clients) {
		sleep_until($started + $i * (OLDEST - $length) / @clients);
		$clients[$i]{socket} = ask('GET', @{$clients[$i]}{qw/uri socket/});
		served(answer($clients[$i]{socket})) or die "no response to a GET\n";
	}

	$stall->begin();

	my $begun = now();

	ask('POST', @$_{qw/uri socket/}) for @clients;
	sleep_until($begun + $length);
	$stall->release();

	return map { answer($_->{socket}) } @clients;
}

###############################################################################
