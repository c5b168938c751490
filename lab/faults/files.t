#!/usr/bin/perl

# Faults: no file descriptors left.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Hog;
use Test::Nginx;

###############################################################################

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(8)->todo_alerts();

hog($t, name => 'no file descriptors', hogs => 60, main => 'worker_rlimit_nofile 64;', events => 'worker_connections 512;',
	alerts => qr/socket\(\) failed \(24: /);

###############################################################################
