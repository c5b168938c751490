#!/usr/bin/perl

# Faults: backends that end connections, and a worker that is blocked meanwhile, and sees what has happened all at once.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Adversary;
use Test::Nginx;

###############################################################################

my @after = (0, 20, 120);
my @hows = qw/close exit kill reset/;

my %idle = (backend => 'plain', ages => [110, 155], blocked => 50);
my %dies = (backend => 'plain', ages => [5, 30], blocked => 50);

# what it throws away, or what nginx sends after a FIN that it has not seen, may be acknowledged

my @attacks = (
	(map { ["idle, $_", %idle, then => "idle&how=$_&at=150"] } @hows),
	['half-close, discard', %idle, then => 'half&at=150&what=discard', unread => 1],
	['half-close, process', %idle, then => 'half&at=150&what=process', processes => 1,
		breaks => 'closed'],
	['half-close, process, reset', %idle, then => 'half&at=150&what=reset', processes => 1,
		breaks => 'refused'],
	['stalled', %idle, then => 'stall&how=close&at=150', unread => 1],
	(map { my $size = $_; ["dies, $size bytes", %dies, body => $size,
		then => sub { "die&read=all&how=$hows[rand @hows]&after=$after[rand @after]" }] } 100, 3000, 20000),
);

my $adversary = Adversary->new(attacks => scalar @attacks, backends => [{ name => 'plain', port => 8081 }]);

for (@attacks) {
	my ($name, %attack) = @$_;

	$adversary->attack(name => "blocked, $name", %attack);
}

$adversary->rest('blocked worker', unknown => 20);

###############################################################################
