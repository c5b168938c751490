#!/usr/bin/perl

# Tests for upstream_idle_timeout module, a backend some way off that closes
# idle connections: no request meets the end of its connection.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Conf;
use Relay;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(5);

# idle ages, dense where nginx closes connections and where the backend does; each is of an upstream of its own

my @ages = (map({ 50 * $_ } 0 .. 16), map({ 880 + 4 * $_ } 0 .. 40), 1100, 1200);
my $upstreams = join '', map { block($_) } @ages;

conf($t, http => <<"HTTP", server => <<"SERVER");
$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://\$arg_upstream;
}
SERVER

my $d = $t->testdir();

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/backend.log", timeout => 1);
$t->run_daemon(\&Relay::run, port => port(8082), to => port(8081), log => "$d/relay.log", delay => 0.02);
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081, 8082;

###############################################################################

my $limit = 900;
my @results;

# where a request failed, the relay has to have been in time

for (1 .. 5) {
	my $late = Relay::late("$d/relay.log");

	@results = results(@ages);

	last unless failed(@results) && $late != Relay::late("$d/relay.log");

	# all have to be closed before the next try

	sleep_until(now() + $limit);
}

is(failed(@results), '', 'no request failed');

my @young = grep { $_->{below} < $limit } @results;
my @old = grep { $_->{from} >= $limit } @results;

is(ages(grep { !$_->{reused} } @young), '', 'reused before the limit');
is(ages(grep { $_->{reused} } @old), '', 'fresh from the limit on');
cmp_ok(@young, '>', 10, 'enough of them before the limit');
cmp_ok(@old, '>', 30, 'enough of them after the limit');

###############################################################################

# A connection to each upstream at the same time, and then a POST at each age.

sub results {
	my @ages = @_;

	my $started = now();
	my %first;

	@first{@ages} = answers(map { get("/?upstream=u$_", start => 1) } @ages);

	my $idle = now();
	my (%socket, %sent, %second);

	for my $age (@ages) {
		sleep_until($idle + $age);
		$sent{$age} = now();
		$socket{$age} = post("/?upstream=u$age", start => 1);
	}

	@second{@ages} = answers(@socket{@ages});

	return map { result($_, $first{$_}, $second{$_}, $sent{$_} - $idle, $sent{$_} - $started) } @ages;
}

# The idle age was within bounds that are known, if nginx was not late.

sub result {
	my ($age, $first, $second, $from, $below) = @_;

	my ($connection) = served($first);
	my ($served, $request) = served($second);

	return {
		age => $age,
		served => $served,
		reused => $served == $connection && $request == 2,
		from => $from,
		below => $below + 60,
	};
}

sub failed {
	my @results = @_;

	return ages(grep { !$_->{served} } @results);
}

sub ages {
	my @results = @_;

	return join ' ', map { $_->{age} } @results;
}

sub block {
	my ($age) = @_;

	return <<"EOF";

    upstream u$age {
        server 127.0.0.1:8082;
        keepalive 1;
        upstream_idle_timeout 1s margin=100ms;
    }
EOF
}

###############################################################################
