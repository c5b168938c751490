#!/usr/bin/perl

# Faults: a reload every second under load.

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

use constant { CLIENTS => 4, RELOADS => 20 };

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(10);
my %where = (port => port(8081));

$t->run_daemon(\&Backend::Faulty::run, $t, %where, log => $t->testdir() . '/backend.log');
$t->waitforsocket("127.0.0.1:$where{port}");

configured(30);
$t->run();

###############################################################################

my $load = Load->new($t, clients => CLIENTS, choose => sub { (rand(2) < 1 ? 'GET' : 'POST', '/?upstream=u') });
my (@pids, @down);
my $last = {};

for my $n (1 .. RELOADS) {
	my $next = now() + 1000;

	push @pids, workers($t);
	configured(10 + $n);
	$t->reload();

	until (now() > $next) {
		push @down, went_down($last, $last = total());
		select undef, undef, undef, 0.1;
	}
}

my ($made, @lost) = $load->stop();

cmp_ok($made, '>', 1000, 'requests');
is(scalar @lost, 0, 'lost') or diag(explain(\@lost));
is("@down", '', 'no figure went down');
ok(wait_for(sub { my %now = map { $_ => 1 } workers($t); keys %now == 2 && !grep { $now{$_} } @pids }), 'old workers end');

my ($idle, $open);

wait_for(sub { ($idle, $open) = (total()->{connections}, Backend::Faulty::order(\%where, 'count')); $idle == $open });
is($idle, $open, 'idle connections');

my $figures = total();
is($figures->{connects} + $figures->{reuses}, $made, 'requests counted');

# workers that end keep no connections

at_rest($t, name => 'reloads', requests => $made, lost => scalar @lost, unknown => CLIENTS * RELOADS,
	text => 'reloads ' . RELOADS);

###############################################################################

sub configured {
	my ($timeout) = @_;

	configure($t, http => "upstream u { server 127.0.0.1:8081; keepalive 8; keepalive_requests 1000000; upstream_idle_timeout ${timeout}s; }");
}

sub went_down {
	my ($before, $now) = @_;

	return grep { $_ ne 'connections' && $now->{$_} < ($before->{$_} // 0) } sort keys %$now;
}

###############################################################################
