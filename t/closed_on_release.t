#!/usr/bin/perl

# Tests for upstream_idle_timeout module, connections that nginx closes while
# it puts them into the cache.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Conf;
use IO::Socket::INET;
use Socket qw/ IPPROTO_TCP /;

use Client;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

use constant TCP_CORK => 3;

use constant REQUESTS => 20;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(2);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream u {
    server 127.0.0.1:8081;
    keepalive 1;
    upstream_idle_timeout 5s;
}
HTTP
location / {
    proxy_pass http://u;
    proxy_buffering off;
    proxy_buffer_size 1k;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
}

location /status {
    upstream_idle_status;
}
SERVER

$t->run_daemon(\&backend, port(8081));
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

my $before = figures();
my @responses = map { get('/') } 1 .. REQUESTS;

is(scalar grep({ / 200 OK.*b{900}$/s } @responses), REQUESTS, 'answered');

my ($peer, $n) = ('127.0.0.1:' . port(8081), REQUESTS);

is_changes($before, "u $peer: ages.peer_close +$n, closes.peer +$n, connects +$n", 'closed by the backend');

###############################################################################

# Sends a response and the end of the connection at once. The response is as large as nginx's buffer, and so nginx does
# not see that there is more to read.

sub backend {
	my ($port) = @_;

	my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 5, ReuseAddr => 1)
		or die "cannot listen: $!\n";

	while (my $client = $server->accept()) {
		my $request = '';

		while ($request !~ /\r\n\r\n/) {
			sysread $client, $request, 4096, length $request or last;
		}

		setsockopt $client, IPPROTO_TCP, TCP_CORK, 1 or die "cannot set TCP_CORK: $!\n";

		my $head = "HTTP/1.1 200 OK\r\nContent-Length: 900\r\nX: ";

		syswrite $client, $head . 'x' x (1024 - 900 - 4 - length $head) . "\r\n\r\n" . 'b' x 900;
		close $client;
	}
}

###############################################################################
