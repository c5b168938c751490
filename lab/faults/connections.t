#!/usr/bin/perl

# Faults: no worker_connections left.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Hog;
use Test::Nginx;

###############################################################################

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(8)->todo_alerts();

hog($t, name => 'no worker_connections', hogs => 60, events => 'worker_connections 64;',
	alerts => qr/worker_connections are not enough/);

###############################################################################
