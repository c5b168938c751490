#!/usr/bin/perl

# Faults: backends that end idle connections just when a request is on its way to them.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Adversary;
use Test::Nginx;

###############################################################################

# a request that is sent within two latencies before it, or just after it, meets the end of its connection

use constant { TIMEOUT => 150, AGES => [125, 152] };

my @hows = qw/close exit kill reset/;
my @sizes = (1400, 3000, 20000);

my $adversary = Adversary->new(attacks => @hows + @sizes + 1, backends => [{ name => 'plain', port => 8081 }]);

for my $how (@hows) {
	$adversary->attack(name => "idle, $how", backend => 'plain', then => "idle&how=$how&at=" . TIMEOUT, ages => AGES);
}

for my $size (@sizes) {
	$adversary->attack(name => "idle, close, $size bytes", backend => 'plain', then => 'idle&how=close&at=' . TIMEOUT,
		ages => AGES, body => $size);
}

# it looks at its timers first: what has come meanwhile is never read

$adversary->attack(name => 'stalled', backend => 'plain', then => 'stall&how=close&at=' . TIMEOUT, ages => [60, 152],
	unread => 1);

# on a busy machine a response is seen together with the end of its connection at times

$adversary->rest('closers', unknown => 10);

###############################################################################
