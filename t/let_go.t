#!/usr/bin/perl

# Tests for upstream_idle_timeout module, what a reload tells: the age at which
# idle connections go, by whichever timeout comes first.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(1)
	->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream margin {
        server 127.0.0.1:8081;
        keepalive 2;
        upstream_idle_timeout 5s;
    }

    upstream keepalive_timeout {
        server 127.0.0.1:8081;
        keepalive 2;
        upstream_idle_timeout 65s;
    }

    upstream auto {
        server 127.0.0.1:8081;
        keepalive 2;
        upstream_idle_timeout auto;
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;
    }
}

EOF

$t->run();

###############################################################################

$t->reload();

my $told = wait_for(sub { my %told = told($t); keys %told == 3 && join ', ', map { "$_ $told{$_}" } sort keys %told });

is($told, 'auto 60000, keepalive_timeout 60000, margin 4000', 'told');

###############################################################################

sub told {
	my ($t) = @_;

	return $t->read_file('error.log') =~ /\[info\] .*upstream "(\w+)": idle connections are let go after (\d+) ms$/mg;
}

###############################################################################
