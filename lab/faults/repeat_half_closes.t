#!/usr/bin/perl

# Faults: backends that close idle connections one way, and do this or that with a request that comes then.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Adversary;
use Test::Nginx;

###############################################################################

# in milliseconds: a request that is sent within two latencies before it comes after the end

my $at = 150;
my @ages = (125, 152);

my $adversary = Adversary->new(attacks => 4, backends => [{ name => 'plain', port => 8081 }]);

# what is thrown away may have been acknowledged before

$adversary->attack(name => 'half-close, discard', backend => 'plain', ages => \@ages, then => "half&at=$at&what=discard",
	unread => 1);

# of these nginx can't know, but where the kernel has acknowledged the request before it resets the connection

$adversary->attack(name => 'half-close, process', backend => 'plain', ages => \@ages, then => "half&at=$at&what=process",
	processes => 1, breaks => 'closed');
$adversary->attack(name => 'half-close, process, reset', backend => 'plain', ages => \@ages,
	then => "half&at=$at&what=reset", processes => 1, breaks => 'refused');
$adversary->attack(name => 'half-close, process, reset later', backend => 'plain', ages => \@ages,
	then => "half&at=$at&what=reset&after=60", processes => 1, breaks => 'closed');

$adversary->rest('half-closes');

###############################################################################
