#!/usr/bin/perl

# Faults: a backend that closes its half of connections, and still reads.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Ends;
use Test::Nginx;

###############################################################################

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(9);

ends($t, name => 'backend half-closes', how => 'shutdown', faults => []);

###############################################################################
