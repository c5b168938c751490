#!/usr/bin/perl

# Faults: a shared memory zone that is outgrown, by reloads with other upstreams each time. What a configuration names fits into
# its zone, so none runs out of memory: another zone takes its place, and what was counted is copied.

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

# for each reload, so many requests may be counted by old workers

use constant { CLIENTS => 3, RELOADS => 12, UPSTREAMS => 100, OLD => 60 };

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(11);
my %where = (port => port(8081));

$t->run_daemon(\&Backend::Faulty::run, $t, %where, log => '/dev/null');
$t->waitforsocket("127.0.0.1:$where{port}");

configured(0);
$t->run();

###############################################################################

my $load = Load->new($t, clients => CLIENTS, choose => sub { (rand(2) < 1 ? 'GET' : 'POST', '/?upstream=one') });
my ($last, @down) = ({});

for my $n (1 .. RELOADS) {
	my @pids = workers($t);

	configured($n);
	$t->reload();
	wait_for(sub { !grep { kill 0, $_ } @pids }, 10) or diag('reload takes long');
	look();
}

my ($made, @lost) = $load->stop();

look();
is(scalar @lost, 0, 'lost') or diag(explain(\@lost));
is("@down", '', 'no figure went down');
unlike($t->read_file('error.log'), qr/no memory|too many worker/, 'memory for all upstreams');

my ($idle, $open);

wait_for(sub { ($idle, $open) = (total()->{connections}, Backend::Faulty::order(\%where, 'count')); $idle == $open });
is($idle, $open, 'idle connections');

my $figures = figures();
my $one = total('one');
my $missing = $made - $one->{connects} - $one->{reuses};

is(scalar keys %$figures, UPSTREAMS, 'upstreams shown');
cmp_ok($one->{connects} + $one->{reuses}, '>', 500, 'requests');
cmp_ok($missing, '>=', 0, 'no request counted twice');

# until they end, old workers go on counting in the zone that was replaced

at_rest($t, name => 'zone outgrown', requests => $made, lost => scalar @lost, unknown => RELOADS * OLD,
	text => sprintf 'upstreams %d in %d reloads, not counted %d', RELOADS * UPSTREAMS, RELOADS, $missing);

###############################################################################

# An upstream that stays, and many that were not there before.

sub configured {
	my ($n) = @_;

	my $others = join "\n", map { "upstream u${n}_$_ { server 127.0.0.1:8081; keepalive 2; keepalive_requests 1000000; }" } 1 .. UPSTREAMS - 1;

	configure($t, http => <<"EOF");
    upstream_idle_timeout 30s;
    upstream one { server 127.0.0.1:8081; keepalive 8; keepalive_requests 1000000; }
    $others
EOF
}

sub look {
	my $now = total('one');

	push @down, grep { $_ ne 'connections' && $now->{$_} < ($last->{$_} // 0) } sort keys %$now;

	$last = $now;
}

###############################################################################
