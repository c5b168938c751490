#!/usr/bin/perl

# Tests for upstream_idle_timeout module, requests that do not take the cached
# connection: they go to the peer that was chosen, and no other is asked for.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Conf;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(12);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream u {
    server 127.0.0.1:8081;
    server 127.0.0.1:8082;
    server 127.0.0.1:8083;
    keepalive 3;
    upstream_idle_timeout 60s non_idempotent=0;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
add_header X-Addr $upstream_addr;

location / {
    proxy_pass http://u;
}
SERVER

my @ports = map { port($_) } 8081 .. 8083;

for (@ports) {
	$t->run_daemon(\&Backend::run, $t, port => $_, log => $t->testdir() . "/$_.log");
	$t->waitforsocket("127.0.0.1:$_");
}

$t->run();

###############################################################################

# a connection to each is kept: in turns, GETs use them and POSTs do not

my %first = map { peer($_) => $_ } map { get('/') } @ports;

is(join(' ', sort keys %first), join(' ', sort @ports), 'kept, all peers');
is(join(' ', map { peer(get('/')) } @ports), join(' ', @ports), 'reused, in turns');

for (1 .. 2) {
	my @responses = map { post('/') } @ports;

	is(join(' ', map { peer($_) } @responses), join(' ', @ports), "not reused, in turns, $_");

	for (@responses) {
		my $peer = peer($_);

		is_fresh($first{$peer}, $_, "not reused, port $peer");
		$first{$peer} = $_;
	}
}

is(join(' ', map { peer(get('/')) } @ports), join(' ', @ports), 'reused again, in turns');
is($t->read_file('error.log') =~ /no live upstreams/, '', 'always a peer');

###############################################################################

# The ports of the peers that were tried.

sub peer {
	my ($response) = @_;

	return join ', ', $response =~ /^X-Addr: (.*?)\r$/m ? $1 =~ /:(\d+)/g : 'none';
}

###############################################################################
