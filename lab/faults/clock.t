#!/usr/bin/perl

# Faults: the wall clock jumps, to the future and to the past. Needs the library faketime, at the path in FAKETIME_LIBRARY.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::Local qw! timegm !;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Backend;
use Client;
use Load;
use Rest;
use Setup;
use Test::Nginx;

###############################################################################

use constant { LIMIT => 1000, AT_ONCE => 300 };

my $library = $ENV{FAKETIME_LIBRARY};

plan(skip_all => 'no library faketime') unless $library && -e $library;

my @jumps = qw/+3600 -3600 +86400 -86400 +1 -1 +31536000 +0/;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(4 * @jumps + 5);
my $d = $t->testdir();

# a worker has the environment that is named here

my %environment = (
	FAKETIME_TIMESTAMP_FILE => "$d/clock",
	FAKETIME_DONT_FAKE_MONOTONIC => 1,
	FAKETIME_NO_CACHE => 1,
	NO_FAKE_STAT => 1,
);

configure($t, workers => 1, main => join(' ', map { "env $_;" } sort keys %environment),
	http => join '', map { <<"EOF" } qw/young old timer load/);
    upstream $_ {
        server 127.0.0.1:8081;
        keepalive 8;
        keepalive_requests 1000000;
        upstream_idle_timeout 1200ms margin=200ms;
    }
EOF

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/backend.log");
$t->waitforsocket('127.0.0.1:' . port(8081));

jump('+0');

{
	local @ENV{'LD_PRELOAD', keys %environment} = ($library, values %environment);
	$t->run();
}

###############################################################################

my $load = Load->new($t, clients => 2, pause => 0.01, choose => sub { (rand(2) < 1 ? 'GET' : 'POST', '/?upstream=load') });

check($_) for @jumps;

my ($made, @lost) = $load->stop();

is(scalar @lost, 0, 'requests lost') or diag(explain(\@lost));

at_rest($t, name => 'wall clock jumps', requests => $made + 5 * @jumps, lost => scalar @lost, text => "jumps @jumps");

###############################################################################

# Connections that are idle when the clock jumps: one that is young is used, and one at its limit is not, and is closed by then.

sub check {
	my ($seconds) = @_;

	my $started = now();
	my ($young, $old, $timer) = map { get("/?upstream=$_") } qw/young old timer/;

	sleep_until($started + AT_ONCE);
	jump($seconds);

	my $reused = post('/?upstream=young');

	sleep_until(now() + LIMIT);

	my $fresh = post('/?upstream=old');
	my $end = Backend::ended($t, "$d/backend.log", (served($timer))[0]);

	cmp_ok(abs(shown($fresh) - time() - $seconds), '<', 5, "$seconds, the clock has jumped");
	is_reused($young, $reused, "$seconds, young");
	is_fresh($old, $fresh, "$seconds, old");
	cmp_ok(abs($end->{age} - LIMIT), '<', 100, "$seconds, closed in time");
}

sub jump {
	my ($seconds) = @_;

	open my $file, '>', "$d/clock.new" or die "cannot write: $!\n";
	print $file "$seconds\n";
	close $file;
	rename "$d/clock.new", "$d/clock" or die "cannot rename: $!\n";
}

# What the time is by nginx's Date header.

sub shown {
	my ($response) = @_;

	my ($day, $name, $year, $h, $m, $s) = $response =~ /^Date: \w+, (\d+) (\w+) (\d+) (\d+):(\d+):(\d+) GMT/m or return 0;
	my %month;

	@month{qw/Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec/} = 0 .. 11;



	return timegm($s, $m, $h, $day, $month{$name}, $year);
}

###############################################################################
