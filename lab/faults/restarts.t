#!/usr/bin/perl

# Faults: a backend that is killed and started again under load, next to one that is not.

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
use Test::Nginx::Process qw/ fork_child end_process /;

###############################################################################

use constant { CLIENTS => 4, RESTARTS => 20 };

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(9);
my @port = (port(8081), port(8082));

configure($t, http => <<'EOF');
    upstream u {
        server 127.0.0.1:8081 max_fails=0;
        server 127.0.0.1:8082 max_fails=0;
        keepalive 8;
        keepalive_requests 1000000;
        upstream_idle_timeout 30s;
    }
EOF

$t->run_daemon(\&Backend::Faulty::run, $t, port => $port[0], log => '/dev/null');

my $backend = started();

$t->waitforsocket("127.0.0.1:$_") for @port;
$t->run();

END { local $?; end_process($backend, KILL => 5) if $backend }

###############################################################################

my $load = Load->new($t, clients => CLIENTS, choose => sub { (rand(2) < 1 ? 'GET' : 'POST', '/?upstream=u&delay=0.002') });
my @kills;

for (1 .. RESTARTS) {
	select undef, undef, undef, 0.2 + rand(0.3);
	push @kills, now();
	end_process($backend, KILL => 5);
	select undef, undef, undef, 0.1;
	$backend = started();
	$t->waitforsocket("127.0.0.1:$port[1]");
}

my ($made, @lost) = $load->stop();
my @gets = grep { $_->{method} eq 'GET' } @lost;
my @unexplained = grep { my $lost = $_; !grep { $lost->{from} <= $_ + 50 && $lost->{to} >= $_ - 5 } @kills } @lost;
my $figures = total();

cmp_ok($made, '>', 1000, 'requests');
is(scalar @gets, 0, 'GETs lost') or diag(explain(\@gets));
is(scalar @unexplained, 0, 'POSTs lost that were not at the backend when it was killed') or diag(explain(\@unexplained));
cmp_ok($figures->{failed_requests}, '<=', scalar @lost, 'failed requests are among the lost');

my ($idle, $open);

wait_for(sub {
	($idle, $open) = (total()->{connections}, 0);
	$open += Backend::Faulty::order({ port => $_ }, 'count') for @port;
	return $idle == $open;
});
is($idle, $open, 'idle connections');

# a response may come together with the end of its connection

at_rest($t, name => 'backend restarted', requests => $made, lost => scalar @lost, unknown => RESTARTS,
	text => sprintf 'restarts %d, GETs lost %d, POSTs lost not in flight %d, failed reuses %d', RESTARTS, scalar @gets,
		scalar @unexplained, $figures->{'reuse_failures.reset'} + $figures->{'reuse_failures.eof'});

###############################################################################

sub started {
	return fork_child(\&Backend::Faulty::run, $t, port => $port[1], log => '/dev/null');
}

###############################################################################
