#!/usr/bin/perl

# Tests for upstream_idle_timeout module, fresh connections: counted when a
# request goes out on them, however long that takes to be answered, and not when
# none does.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy http_ssl upstream_keepalive/)->plan(11);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream_idle_timeout 30s;

upstream u {
    server 127.0.0.1:8081;
    keepalive 4;
}

upstream silent {
    server 127.0.0.1:8082;
    keepalive 4;
}

upstream down {
    server 127.0.0.1:8083;
    keepalive 4;
}

upstream two {
    server 127.0.0.1:8083;
    server 127.0.0.1:8081 backup;
    keepalive 4;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection $http_connection;
proxy_set_header Upgrade $http_upgrade;

location / {
    proxy_set_header Connection "";
    proxy_pass http://u;
}

location /upgrade {
    proxy_pass http://silent;
}

location /tls {
    proxy_pass https://silent;
}

location /down {
    proxy_pass http://down;
}

location /two {
    proxy_set_header Connection "";
    proxy_pass http://two;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();
my ($u, $silent) = map { '127.0.0.1:' . port($_) } 8081, 8082;

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/backend.log");
$t->run_daemon(\&upgrades, port(8082));
$t->run();

$t->waitforsocket($_) for $u, $silent;

###############################################################################

# a request that waits, and one whose response does not end

my $before = figures();
my $waiting = get('/?delay=2', start => 1);

is_changes($before, "u $u: connects +1", 'waiting');
like((answers($waiting))[0], qr/ 200 /, 'answered');
is_changes($before, "u $u: connections +1, connects +1", 'answered, counted once');

$before = figures();

my $socket = http("GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", start => 1);

like(first($socket), qr/ 101 /, 'upgraded');
is_changes($before, "silent $silent: connects +1", 'upgraded, counted');

# no connection, and no TLS

$before = figures();

like(get('/down'), qr/ 502 /, 'refused');
is_changes($before, '', 'refused, not counted');

like(get('/tls'), qr/ 502 /, 'no TLS');
is_changes($before, '', 'no TLS, not counted');

# another server in place of one that refuses

$before = figures();

like(get('/two'), qr/ 200 /, 'next server');
is_changes($before, "two $u: connections +1, connects +1", 'next server, counted');

###############################################################################

sub first {
	my ($socket) = @_;

	IO::Select->new($socket)->can_read(10) or return '';
	sysread $socket, my $response, 4096;

	return $response;
}

# A server that answers with an upgrade, and leaves it at that; to what is no request it answers all the same.

sub upgrades {
	my ($port) = @_;

	my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 16, ReuseAddr => 1)
		or die "cannot listen: $!\n";
	my @clients;

	while (my $client = $server->accept()) {
		push @clients, $client;

		IO::Select->new($client)->can_read(5) or next;
		sysread $client, my $request, 4096;
		syswrite $client, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
	}
}

###############################################################################
