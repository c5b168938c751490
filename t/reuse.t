#!/usr/bin/perl

# Tests for upstream_idle_timeout module, connections are reused before their
# time and not from then on, also where the keepalive module has a say.

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

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(25);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream u {
    server 127.0.0.1:8081;
    keepalive 4;
    upstream_idle_timeout 500ms margin=200ms;
}

upstream one {
    server 127.0.0.1:8081;
    keepalive 1;
    upstream_idle_timeout 500ms margin=200ms;
}

upstream three_requests {
    server 127.0.0.1:8081;
    keepalive 4;
    keepalive_requests 3;
    upstream_idle_timeout 500ms margin=200ms;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://$arg_upstream;
}
SERVER

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

my $limit = 300;

# at several ages

for my $age (0, 70, 140, 200) {
	is_reused(twice(sub { get('/?upstream=u') }, $age, $limit), "GET at $age ms");
	is_reused(twice(sub { post('/?upstream=u') }, $age, $limit), "POST at $age ms");
}

is_fresh(twice(sub { get('/?upstream=u') }, $limit), "GET at $limit ms");
is_fresh(twice(sub { post('/?upstream=u') }, $limit), "POST at $limit ms");

# every request starts the time anew

my @responses = in_row(5);

is(join(' ', map { (served($_))[1] } @responses), '1 2 3 4 5', 'reused again and again');
is(uniq(numbers(@responses)), 1, 'reused again and again, one connection');

# several connections in the cache

my ($first, $second) = twice(sub { [parallel('u', 4)] }, 50, $limit);

is(numbers(@$second), numbers(@$first), 'several connections, reused');
is(uniq(numbers(@$first)), 4, 'several connections');

($first, $second) = twice(sub { [parallel('u', 4)] }, $limit);

is(grep({ (served($_))[1] == 1 } @$second), 4, 'several connections, fresh');
is(uniq(numbers(@$first, @$second)), 8, 'several connections, all others');

# more connections than the cache has room for: the older one goes

my @two = map { (served($_))[0] } parallel('one', 2);
my ($kept) = served(get('/?upstream=one'));
my ($gone) = grep { $_ != $kept } @two;

is(grep({ $_ == $kept } @two), 1, 'cache full, reused');
cmp_ok(Backend::ended($t, $log, $gone)->{age}, '<', 100, 'cache full, closed at once');

my $end = Backend::ended($t, $log, $kept);

cmp_ok($end->{age}, '>', $limit - 15, 'cache full, the other one not before its time');
cmp_ok($end->{age}, '<', $limit + 100, 'cache full, the other one in time');

# as many requests as the keepalive module allows

@responses = map { get('/?upstream=three_requests') } 1 .. 5;

is(join(' ', map { (served($_))[1] } @responses), '1 2 3 1 2', 'keepalive_requests');
cmp_ok(Backend::ended($t, $log, (served($responses[0]))[0])->{age}, '<', 100,
	'keepalive_requests, closed at once');

# all that the backend has seen

my @reuses = Backend::reuses($t, $log);

is(grep({ $_->{age} > $limit + 20 } @reuses), 0, 'no connection was older at a request');
cmp_ok(@reuses, '>', 15, 'requests on idle connections');
is(grep({ $_->{requests} > 3 } Backend::ended($t, $log, map { (served($_))[0] } @responses)), 0,
	'keepalive_requests, all connections');

###############################################################################

# Requests one after the other, the last one much later than a connection may be idle; again when one was late.

sub in_row {
	my ($n) = @_;

	for (1 .. 10) {
		my (@responses, $late);

		sleep_until(now() + $limit);

		for (1 .. $n) {
			my $started = now();
			push @responses, get('/?upstream=u');
			sleep_until(now() + 90);
			$late = 1 if now() - $started > 200;
		}

		return @responses unless $late;
	}
}

# Requests at the same time, so each on a connection of its own.

sub parallel {
	my ($upstream, $n) = @_;

	return answers(map { get("/?upstream=$upstream&delay=0.03", start => 1) } 1 .. $n);
}

sub numbers {
	my @responses = @_;

	return join ' ', sort { $a <=> $b } map { (served($_))[0] } @responses;
}

sub uniq {
	my ($numbers) = @_;

	my %seen = map { $_ => 1 } split / /, $numbers;

	return scalar keys %seen;
}

###############################################################################
