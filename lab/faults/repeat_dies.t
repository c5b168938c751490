#!/usr/bin/perl

# Faults: backends that die before, while and after they read a request.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Adversary;
use Test::Nginx;

###############################################################################

# in milliseconds: how old the connection is, and how long after the request has come it happens; and the sizes of bodies

my @ages = (5, 30);
my @after = (0, 20, 120);
my @sizes = (100, 1400, 3000, 20000);

my @reads = qw/none part come all/;
my @hows = qw/close exit kill reset/;

my $adversary = Adversary->new(attacks => @reads * @sizes, backends => [{ name => 'plain', port => 8081 }]);

for my $read (@reads) {
	for my $size (@sizes) {
		$adversary->attack(name => "dies, read $read, $size bytes", backend => 'plain', ages => \@ages, body => $size,
			unread => $read eq 'none', then => sub { "die&read=$read&how=$hows[rand @hows]&after=$after[rand @after]" });
	}
}

$adversary->rest('dies');

###############################################################################
