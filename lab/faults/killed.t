#!/usr/bin/perl

# Faults: workers that are killed again and again under load.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Backend::Faulty;
use Client;
use Load;
use Rest;
use Setup;
use Status;
use Test::Nginx;
use Workers;

###############################################################################

use constant { CLIENTS => 4, KILLS => 30 };

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(9)->todo_alerts();
my %where = (port => port(8081));

configure($t, http => 'upstream u { server 127.0.0.1:8081; keepalive 8; keepalive_requests 1000000; upstream_idle_timeout 30s; }');

$t->run_daemon(\&Backend::Faulty::run, $t, %where, log => $t->testdir() . '/backend.log');
$t->waitforsocket("127.0.0.1:$where{port}");
$t->run();

###############################################################################

my $load = Load->new($t, clients => CLIENTS, choose => sub { (rand(2) < 1 ? 'GET' : 'POST', '/?upstream=u') });
my (@kills, @down);
my $last = {};

for my $n (1 .. KILLS) {
	select undef, undef, undef, 0.2 + rand(0.2);
	push @kills, kill_one($n);
	push @down, went_down($last, $last = total());
}

my ($made, @lost) = $load->stop();
my @unexplained = grep { my $lost = $_; !grep { in_flight($lost, $_) } @kills } @lost;

cmp_ok($made, '>', 1000, 'requests');
is(scalar @unexplained, 0, 'lost, but not in flight on a killed worker') or diag(explain(\@unexplained));
cmp_ok(scalar @lost, '<=', KILLS * CLIENTS, 'lost');
is("@down", '', 'no figure went down');

# all that the backend has is known, and all that was killed is not

my ($idle, $open);

wait_for(sub { ($idle, $open) = (total()->{connections}, Backend::Faulty::order(\%where, 'count')); $idle == $open });
is($idle, $open, 'idle connections');

# what a killed worker was about to do is not counted, or not in the log

at_rest($t, name => 'workers killed', requests => $made, lost => scalar @lost, unknown => 2 * KILLS,
	alerts => qr/exited on signal 9/, text => sprintf 'kills %d, not explained by them %d', KILLS, scalar @unexplained);

###############################################################################

# Kills a worker, waits for another in its place, and returns when it was.

sub kill_one {
	my ($n) = @_;

	my @workers = workers($t);
	my $killed = $workers[$n % @workers];
	my $when = now();

	kill KILL => $killed;
	wait_for(sub { my @now = workers($t); @now == 2 && !grep { $_ == $killed } @now });

	return $when;
}

# Whether a request ended with a connection that was cut, at the time of a kill.

sub in_flight {
	my ($lost, $killed) = @_;

	return $lost->{kind} =~ /none|cut/ && $lost->{from} <= $killed + 50 && $lost->{to} >= $killed - 5;
}

sub went_down {
	my ($before, $now) = @_;

	return grep { $_ ne 'connections' && $now->{$_} < ($before->{$_} // 0) } sort keys %$now;
}

###############################################################################
