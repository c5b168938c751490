#!/usr/bin/perl

# Tests for upstream_idle_timeout module, a client that is slower than the
# backend: idle ages begin with the arrival of the last byte.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use IO::Socket::INET;
use Socket qw/ SOL_SOCKET SO_RCVBUF inet_aton pack_sockaddr_in /;

use Backend;
use Client;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(22)
	->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream u {
        server 127.0.0.1:8081;
        keepalive 8;
        upstream_idle_timeout 1s margin=200ms;
    }

    upstream over {
        server 127.0.0.1:8081;
        keepalive 8;
        upstream_idle_timeout 400ms margin=200ms;
    }

    server {
        listen       127.0.0.1:8080;
        listen       127.0.0.1:8082 sndbuf=4k;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffer_size 4k;
        proxy_buffers 16 4k;

        location / {
            proxy_pass http://$arg_upstream;
            proxy_buffering off;
        }

        location /proxy_limit_rate {
            proxy_pass http://$arg_upstream;
            proxy_limit_rate 96k;
        }

        # nginx reads all of it at once

        location /buffered {
            proxy_pass http://$arg_upstream;
            limit_rate 96k;
        }
    }
}

EOF

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# as much as waits in nginx's socket, so that the backend has sent it all at once

my $size = 48 * 1024;
my $limit = 800;

# all at the same time

my @cases = map { my $upstream = $_; map { [$upstream, $_] } qw/late proxy_limit_rate/ } qw/u over/;

push @cases, ['u', 'buffered'];

my (%response, $took);

for (1 .. 5) {
	my $started = now();
	my %socket = map { ("@$_" => start(@$_)) } @cases;

	# the late ones begin to read

	sleep_until($started + 450);

	@response{keys %socket} = answers(values %socket);

	$took = now() - $started;

	last if $took < $limit;
}

cmp_ok($took, '>', 450, 'clients were slow');
cmp_ok($took, '<', $limit, 'clients were not too slow');

for my $case (@cases) {
	my ($upstream, $how) = @$case;
	my $response = $response{"@$case"};
	my $name = "$how, $upstream";

	is(length($response // '') - 4 - index($response // '', "\r\n\r\n"), $size, "$name, response");

	my $end = Backend::ended($t, $log, (served($response))[0]);

	is($end->{end}, 'peer', "$name, closed by nginx");

	if ($upstream eq 'over') {
		cmp_ok($end->{age}, '>', 400, "$name, when it is released");
		cmp_ok($end->{age}, '<', $limit - 15, "$name, not later");

	} else {
		cmp_ok($end->{age}, '>', $limit - 15, "$name, not before $limit ms");
		cmp_ok($end->{age}, '<', $limit + 100, "$name, at $limit ms");
	}
}

###############################################################################

sub start {
	my ($upstream, $how) = @_;

	my $uri = "/$how?upstream=$upstream&size=$size";

	return $how eq 'late' ? get($uri, socket => small_client(), start => 1) : get($uri, start => 1);
}

# A client with room for little that it has not read.

sub small_client {
	my $socket = IO::Socket::INET->new(Proto => 'tcp') or die "no socket: $!\n";

	setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 2048 or die "cannot shrink socket: $!\n";
	connect $socket, pack_sockaddr_in(port(8082), inet_aton('127.0.0.1')) or die "cannot connect: $!\n";

	return $socket;
}

###############################################################################
