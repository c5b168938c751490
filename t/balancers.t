#!/usr/bin/perl

# Tests for upstream_idle_timeout module, balancers: whichever peer is chosen,
# its connection is used before the limit, and the peer is connected to after.

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

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive upstream_zone/)
	->has(qw/upstream_least_conn upstream_hash upstream_ip_hash upstream_random/);

my @two = map { "server 127.0.0.1:$_;" } 8081, 8082;

# nobody listens on 8083

my %lines = (
	by_name => [@two],
	round_robin => [@two],
	weights => ['server 127.0.0.1:8081 weight=2;', $two[1]],
	least_conn => ['least_conn;', @two],
	hash => ['hash $arg_key;', @two],
	hash_consistent => ['hash $arg_key consistent;', @two],
	ip_hash => ['ip_hash;', @two],
	random => ['random;', @two],
	random_two => ['random two least_conn;', @two],
	backup => ['server 127.0.0.1:8083 down;', 'server 127.0.0.1:8081 backup;'],
	down => ['server 127.0.0.1:8083 down;', @two],
	refused => ['server 127.0.0.1:8083 max_fails=0;', $two[0]],
);

my %upstream = map { ($_ => $lines{$_}, "${_}_zone" => ["zone ${_}_zone 64k;", @{$lines{$_}}]) } keys %lines;
my $upstreams = join '', map { block($_, @{$upstream{$_}}) } sort keys %upstream;

$t->plan(5 * keys %upstream);

conf($t, http => <<"HTTP", server => <<"SERVER");
$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
add_header X-Addr \$upstream_addr;

location / {
    proxy_pass http://\$arg_upstream;
}

location /name {
    proxy_pass http://by_name;
}
SERVER

my @log = map { $t->testdir() . "/backend$_.log" } 1, 2;

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log[0], count => 1000);
$t->run_daemon(\&Backend::run, $t, port => port(8082), log => $log[1], count => 2000);
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081, 8082;

###############################################################################

my $limit = 600;

my @uris = ('/name', map { "/?upstream=$_" } grep { $_ ne 'by_name' } sort keys %upstream);
my ($before, $after, $over);

# an idle age below the limit, for all of them, and then one beyond it

for (1 .. 10) {
	my $started = now();

	$before = round(@uris);
	sleep_until($started + 250);
	$after = round(@uris);

	my $took = now() - $started;

	sleep_until(now() + $limit);

	last if $took < $limit;
}

$over = round(@uris);

for my $uri (@uris) {
	my ($name) = $uri =~ /(\w+)$/;

	my @all = map { @{$_->{$uri}} } $before, $after, $over;

	is(join(' ', grep { $_->{addr} ne $_->{backend} } @all), '', "$name, the right peer");

	# the first use of a peer is on a fresh connection, and all after it on the same one

	is(surprises($uri, $before, $after), '', "$name, reused before the limit");
	is(surprises($uri, $over), '', "$name, after the limit");
	is(common($uri, $after, $over), 0, "$name, fresh after the limit");

	my $peers = keys %{{ map { $_->{addr} => 1 } @all }};

	is($peers, $name =~ /hash|backup|refused/ ? 1 : 2, "$name, peers") if $name !~ /^random/;
	cmp_ok($peers, '<=', 2, "$name, peers") if $name =~ /^random/;
}

###############################################################################

sub block {
	my ($name, @lines) = @_;

	return join "\n        ", "    upstream $name {", @lines, 'keepalive 8;',
		"upstream_idle_timeout 1s margin=400ms;\n    }\n\n";
}

# Four requests to each; what served them: the peer, by nginx and by the backend, the connection, and its request.

sub round {
	my @uris = @_;

	my %round;

	for my $uri (@uris) {
		for (1 .. 4) {
			my $response = get($uri . ($uri =~ /\?/ ? '&key=1' : ''));
			my ($connection, $request) = served($response);
			my ($addr) = $response =~ /^X-Addr: .*?([^\s,]+)\r$/m;

			push @{$round{$uri}}, {
				addr => $addr,
				backend => '127.0.0.1:' . port($connection > 2000 ? 8082 : 8081),
				connection => $connection,
				request => $request
			};
		}
	}

	return \%round;
}

# Requests that were not on the one connection to their peer, in turn.

sub surprises {
	my ($uri, @rounds) = @_;

	my (%last, @surprises);

	for (map { @{$_->{$uri}} } @rounds) {
		my $last = $last{$_->{addr}} // { connection => $_->{connection}, request => 0 };
		my $expected = "$last->{connection} " . ($last->{request} + 1);
		my $got = "$_->{connection} $_->{request}";

		push @surprises, "$got for $expected" if $got ne $expected;
		$last{$_->{addr}} = $_;
	}

	return join ', ', @surprises;
}

# The number of connections that were used in both rounds.

sub common {
	my ($uri, @rounds) = @_;

	my ($first, $second) = map { { map { $_->{connection} => 1 } @{$_->{$uri}} } } @rounds;

	return scalar grep { $first->{$_} } keys %$second;
}

###############################################################################
