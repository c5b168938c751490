#!/usr/bin/perl

# Faults: far more peers than there is room for in the shared memory of an upstream, by reloads with other servers each time.
# Those that are gone give their places up, and what was counted of them goes to "other".

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

use constant { CLIENTS => 3, RELOADS => 12, SERVERS => 64 };

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive unix/)->plan(11);
my $d = $t->testdir();
my %where = (path => "$d/backend.sock");

# one backend by many names

$t->run_daemon(\&Backend::Faulty::run, $t, %where, log => '/dev/null');
wait_for(sub { -S $where{path} }) or die "no backend\n";
symlink $where{path}, "$d/$_.sock" or die "cannot link: $!\n" for 1 .. (RELOADS + 1) * SERVERS;

configured(0);
$t->run();

###############################################################################

my $load = Load->new($t, clients => CLIENTS, choose => sub { (rand(2) < 1 ? 'GET' : 'POST', '/?upstream=many') });
my ($last, @down) = ({});

for my $n (1 .. RELOADS) {
	my @pids = workers($t);

	configured($n);
	$t->reload();
	wait_for(sub { !grep { kill 0, $_ } @pids }, 10) or diag('reload takes long');
	look();

	# every server is asked

	get('/?upstream=many') for 1 .. 2 * SERVERS;
}

my $asked = RELOADS * 2 * SERVERS;
my ($made, @lost) = $load->stop();

look();
is(scalar @lost, 0, 'lost') or diag(explain(\@lost));
is("@down", '', 'no figure went down');

my ($idle, $open);

wait_for(sub { ($idle, $open) = (total()->{connections}, Backend::Faulty::order(\%where, 'count')); $idle == $open });
is($idle, $open, 'idle connections');

my $many = figures()->{many};
my ($sum, $other) = ($many->{''}, $many->{other} // {});
my $others = ($other->{connects} // 0) + ($other->{reuses} // 0);
my $warnings = () = $t->read_file('error.log') =~ /too many peers to count each/g;

is($sum->{connects} + $sum->{reuses}, $made + $asked, 'requests counted');
is(scalar keys %$many, 2 * SERVERS + 2, 'peers shown, their sum, and the others');
cmp_ok($others, '>', (RELOADS - 2) * SERVERS, 'requests to peers that are gone');
is($warnings, 0, 'no warning');

# workers that end keep no connections

at_rest($t, name => 'peers outgrown', requests => $made + $asked, lost => scalar @lost, unknown => CLIENTS * RELOADS,
	leaked => $idle - $open, text => sprintf 'reloads %d, peers %d, requests to "other" %d', RELOADS, RELOADS * SERVERS,
		$others);

###############################################################################

# An upstream with other servers each time.

sub configured {
	my ($n) = @_;

	my $servers = join ' ', map { "server unix:$d/" . ($n * SERVERS + $_) . '.sock max_fails=0;' } 1 .. SERVERS;

	configure($t, http => "upstream many { $servers keepalive 8; keepalive_requests 1000000; upstream_idle_timeout 30s; }");
}

sub look {
	my $now = total();

	push @down, grep { $_ ne 'connections' && $now->{$_} < ($last->{$_} // 0) } sort keys %$now;

	$last = $now;
}

###############################################################################
