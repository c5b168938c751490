#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the figures of each peer, and those
# of the peers that are too many.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Faulty;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy unix upstream_keepalive upstream_zone/)->plan(21);

my $d = $t->testdir();
my @ports = map { port($_) } 8081 .. 8083;
my @peers = map { "127.0.0.1:$_" } @ports;

for my $port (@ports) {
	$t->run_daemon(\&Backend::Faulty::run, $t, port => $port, log => "$d/$port.log");
	$t->waitforsocket("127.0.0.1:$port");
}

# one backend, which has many addresses

$t->run_daemon(\&Backend::Faulty::run, $t, path => "$d/unix.sock", log => "$d/unix.log");
$t->waitforfile("$d/unix.sock");

symlink 'unix.sock', "$d/$_.sock" or die "cannot make a link: $!\n" for 1 .. 100;

configure($t, 1 .. 8);

$t->run();

###############################################################################

# in turn, to a fresh connection and then to a cached one, without a zone and with one

for my $upstream (qw/several zone/) {
	my $before = figures();

	get("/?upstream=$upstream") for 1 .. 3;
	is_changes($before, each_peer($upstream, 'connections +1, connects +1'), "$upstream, fresh");

	$before = figures();

	my @served = map { [served(get("/?upstream=$upstream"))] } 1 .. 6;

	is_changes($before, each_peer($upstream, 'ages.reuse +2, reuses +2'), "$upstream, reused");

	# a failure of the second peer

	$before = figures();

	get("/?upstream=$upstream");
	post("/?upstream=$upstream&reused=close");
	get("/?upstream=$upstream");

	my $reused = 'ages.reuse +1, reuses +1';

	is_changes($before, "$upstream $peers[0]: $reused; $upstream $peers[2]: $reused; $upstream $peers[1]: "
		. 'ages.failure +1, ages.reuse +1, connections -1, reuse_evidence.received +1, reuse_failures.eof +1, reuses +1',
		"$upstream, failed");

	# a connection that the third closes

	$before = figures();

	Backend::Faulty::order({ port => $ports[2] }, 'close', $served[2][0]);
	is_changes($before, "$upstream $peers[2]: ages.peer_close +1, closes.peer +1, connections -1", "$upstream, closed");
}

# the peers of an upstream change at each reload: there is room for 16, and those that are gone give theirs up

for my $first (1, 9, 17) {
	my @servers = $first .. $first + 7;

	reload($t, @servers) if $first > 1;

	my $before = figures();

	get('/?upstream=many') for @servers;

	my $expected = join '; ', map { "many $_: connections +1, connects +1" } map { "unix:$d/$_.sock" } @servers;

	is_changes($before, $expected, "peers from $first on");
}

is(counted('connects', ''), 24, 'all peers, sum');
is(counted('connects', 'other'), 8, 'peers that are gone');
is(peers(), 17, 'peers shown');

# connections to those that have taken their places

my $before = figures();

get('/?upstream=many') for 1 .. 8;
is_changes($before, join('; ', map { "many unix:$d/$_.sock: ages.reuse +1, reuses +1" } 17 .. 24), 'new peers, reused');

$before = figures();

post('/?upstream=many&reused=close') for 1 .. 8;
is_changes($before, join('; ', map { "many unix:$d/$_.sock: ages.failure +1, ages.reuse +1, connections -1, "
	. 'failed_requests +1, reuse_evidence.unknown +1, reuse_failures.eof +1, reuses +1' } 17 .. 24), 'new peers, failed');

# peers that come again begin anew, and there is room for more in a larger upstream

reload($t, 1 .. 8);
$before = figures();
get('/?upstream=many');
is_changes($before, "many unix:$d/1.sock: connections +1, connects +1", 'known peer again');

reload($t, 1 .. 20);

is(counted('connects', ''), 25, 'more servers, sum');
is(counted('connects', 'other'), 16, 'more servers, peers that are gone');

$before = figures();

get('/?upstream=many') for 1 .. 20;

is_changes($before, join('; ', map { "many unix:$d/$_.sock: connections +1, connects +1" } 1 .. 20),
	'more servers, each');

unlike($t->read_file('error.log'), qr/too many peers/, 'no warning');

###############################################################################

sub configure {
	my ($t, @numbers) = @_;

	my $servers = join ' ', map { "server 127.0.0.1:$_ max_fails=0;" } 8081 .. 8083;
	my $many = join ' ', map { "server unix:%%TESTDIR%%/$_.sock max_fails=0;" } @numbers;

	conf($t, http => <<"HTTP", server => <<"SERVER");
upstream_idle_timeout 30s;

upstream several {
    $servers
    keepalive 8;
}

upstream zone {
    $servers
    zone zone 256k;
    keepalive 8;
}

upstream many {
    $many
    keepalive 32;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://\$arg_upstream;
}

location /status {
    add_header X-Worker \$pid;
    upstream_idle_status;
}
SERVER
}

# Reloads, and waits until the old worker is gone, and has left its connections.

sub reload {
	my ($t, @numbers) = @_;

	my $old = worker();

	configure($t, @numbers);
	$t->reload();

	wait_for(sub { worker() != $old && !kill(0, $old) && !counted('connections', '') }) or diag('reload takes long');
}

sub worker {
	return get('/status') =~ /^X-Worker: (\d+)/m ? $1 : 0;
}

sub each_peer {
	my ($upstream, $changes) = @_;

	return join '; ', map { "$upstream $_: $changes" } @peers;
}

# A figure of the upstream with the many peers.

sub counted {
	my ($name, $peer) = @_;

	return figures()->{many}{$peer}{$name};
}

sub peers {
	return scalar grep { $_ ne '' } keys %{figures()->{many}};
}

###############################################################################
