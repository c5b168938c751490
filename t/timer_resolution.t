#!/usr/bin/perl

# Tests for upstream_idle_timeout module, a worker whose clock stands still for
# most of the time.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(6)
	->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

daemon off;

timer_resolution 200ms;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream u {
        server 127.0.0.1:8081;
        keepalive 4;
        upstream_idle_timeout 700ms margin=200ms;
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";

        location / {
            proxy_pass http://u;
        }

        location /status {
            upstream_idle_status;
        }
    }
}

EOF

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# nginx may think that it is still before the request began

my $before = figures();
my @last = map { get('/?keep_alive=max%3d0') } 1 .. 6;

is(scalar grep({ (served($_))[1] == 1 } @last), 6, 'no more requests, fresh');
is_changes($before, 'u 127.0.0.1:' . port(8081) . ': connects +6', 'no more requests, not kept');

# a timer is late, and a request is not sent even so

my ($number) = served(get('/'));
my $age = Backend::ended($t, $log, $number)->{age};

cmp_ok($age, '>', 485, 'not before 500 ms');
cmp_ok($age, '<', 900, 'at the next tick after 500 ms');

my ($first, $second) = twice(sub { get('/') }, 300, 490);
is_reused($first, $second, 'young');

my ($late, $fresh) = twice(sub { get('/') }, 510);
is_fresh($late, $fresh, 'late');

###############################################################################
