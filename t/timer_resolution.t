#!/usr/bin/perl

# Tests for upstream_idle_timeout module, a worker whose clock stands still for
# most of the time.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use IO::Select;
use IO::Socket::INET;
use List::Util qw/ min /;
use POSIX ();

use Backend;
use Client;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive ssi/)->plan(9);

# as many connections as a process may have open here, with room for other files

my $crowd = min(1500, POSIX::sysconf(POSIX::_SC_OPEN_MAX) - 100);

$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;

timer_resolution 200ms;

events {
    worker_connections 2000;
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream u {
        server 127.0.0.1:8081;
        keepalive 4;
        upstream_idle_timeout 700ms margin=200ms;
    }

    upstream crowd {
        server 127.0.0.1:8082;
        keepalive $crowd;
        upstream_idle_timeout 3s margin=1s;
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";

        location / {
            proxy_pass http://u;
        }

        location /crowd {
            proxy_pass http://crowd;
        }

        location = /crowd.html {
            ssi on;
            postpone_output 0;
        }

        location /status {
            upstream_idle_status;
        }
    }
}

EOF

$t->write_file('crowd.html', '<!--#include virtual="/crowd" -->' x $crowd);

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run_daemon(\&crowd, port(8082), $crowd);
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081, 8082;

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

# when all go at once, they go one after the other, but not each at a tick of its own

my $page = get('/crowd.html');
my $idle = now();

is($page =~ s/crowd\n//g, $crowd, 'crowd');

my $figures;

wait_for(sub { $figures = figures()->{crowd}{''}; $figures->{connections} == 0 }, 20);
cmp_ok(now() - $idle, '<', 2700, "$crowd connections, all gone");
is($figures->{'closes.margin'}, $crowd, "$crowd connections, in time");

###############################################################################

# A backend that answers its requests when all have come.

sub crowd {
	my ($port, $n) = @_;

	my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => $n, ReuseAddr => 1)
		or die "cannot listen: $!\n";
	my $select = IO::Select->new($server);
	my @waiting;

	while (1) {
		for my $socket ($select->can_read()) {
			if ($socket == $server) {
				$select->add($server->accept());

			} elsif (sysread $socket, my $request, 65536) {
				push @waiting, $socket;

			} else {
				$select->remove($socket);
				close $socket;
			}
		}

		next if @waiting < $n;

		syswrite $_, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncrowd\n" for @waiting;
		@waiting = ();
	}
}

###############################################################################
