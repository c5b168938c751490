#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the order in which the connections of
# a worker go: one timer is for all of them.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Faulty;
use Client;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

use constant CROWD => 300;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(16)
	->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

daemon off;

events {
    worker_connections 1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream u {
        server 127.0.0.1:8081;
        keepalive 10;
        upstream_idle_timeout 500ms margin=100ms;
    }

    upstream long {
        server 127.0.0.1:8081;
        keepalive 10;
        upstream_idle_timeout 10s margin=200ms;
    }

    upstream crowd {
        server 127.0.0.1:8081;
        keepalive 300;
        upstream_idle_timeout 2s margin=1s;
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";

        location / {
            proxy_pass http://$arg_upstream;
        }

        location /status {
            upstream_idle_status;
        }
    }
}

EOF

my $where = { port => port(8081) };
my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::Faulty::run, $t, %$where, log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# requests go on past the time at which the first of them would have had the connection closed

my $end = now() + 1000;
my ($last, @numbers);

while (now() < $end) {
	$last = get('/?upstream=u');
	push @numbers, (served($last))[0];
	select undef, undef, undef, 0.05;
}

is(scalar grep({ $_ != $numbers[0] } @numbers), 0, 'busy connection, the same');
is_let_go($t, $last, 400, 'busy connection');

# a request that takes until after that time

my $quick = get('/?upstream=u');
my $slow = get('/?upstream=u&delay=0.6');

is_reused($quick, $slow, 'slow request');
is_let_go($t, $slow, 400, 'slow request');

# a deadline that is nearer than the one before

my $first = get('/?upstream=long');
my $second = get('/?upstream=long&keep_alive=timeout%3d1');

is_reused($first, $second, 'nearer deadline');
is_let_go($t, $second, 800, 'nearer deadline');

# connections that are closed before their time leave the others in order

my @number = map { (served($_))[0] } answers(map { get('/?upstream=u&delay=0.1', start => 1) } 1 .. 5);

Backend::Faulty::order($where, 'close', $_) for @number[0, 4, 2];

my @others = Backend::ended($t, $log, @number[1, 3]);

is(join(' ', map { $_->{end} } @others), 'peer peer', 'some closed before, the others by nginx');
is(scalar grep({ $_->{age} < 385 || $_->{age} > 500 } @others), 0, 'some closed before, the others in time');

# a crowd goes, too

my @crowd = map { [served($_)] } answers(map { get('/?upstream=crowd&delay=0.5', start => 1) } 1 .. CROWD);

is(scalar grep({ $_->[1] == 1 } @crowd), CROWD, 'crowd');

my @ends = Backend::ended($t, $log, map { $_->[0] } @crowd);
my $figures = figures()->{crowd}{''};

is($figures->{'closes.margin'}, CROWD, 'crowd, closed for the margin');
is($figures->{connections}, 0, 'crowd, none is left');
is(scalar grep({ $_->{age} < 985 } @ends), 0, 'crowd, not before 1000 ms');
is(scalar grep({ $_->{age} > 1200 } @ends), 0, 'crowd, at 1000 ms');

###############################################################################

sub is_let_go {
	my ($t, $response, $limit, $name) = @_;

	my $end = Backend::ended($t, $log, (served($response))[0]);

	cmp_ok($end->{age}, '>', $limit - 15, "$name, not before $limit ms");
	cmp_ok($end->{age}, '<', $limit + 100, "$name, at $limit ms");
}

###############################################################################
