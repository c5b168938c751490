#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the status: formats, methods, names
# that need escapes, and the errors of its directive.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use JSON::PP ();

use Backend;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(70);

# names as they are configured, and as they are in the figures

my @names = (
	['plain', 'plain'],
	['"we\\"ird\\\\name"', "we\"ird\\name"],
	['"two words"', 'two words'],
	["\"bell\a\"", "bell\a"],
	['"line\\nbreak"', "line\nbreak"],
	["stra\xc3\x9fe", "stra\x{df}e"],
	["broken\xfe", 'broken\xfe'],
	['"broken\\\\xff"', 'broken\x5cxff'],
	["broken\xff", 'broken\xff'],
);

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->waitforsocket('127.0.0.1:' . port(8081));

configure($t, map { $_->[0] } @names);

$t->run();

###############################################################################

# the table of figures: names, types, labels

my %families = (
	connections => 'gauge peer',
	connects_total => 'counter peer',
	reuses_total => 'counter peer',
	closes_total => 'counter peer reason',
	reuse_failures_total => 'counter evidence kind peer',
	repeats_total => 'counter evidence peer',
	failed_requests_total => 'counter peer',
	age_seconds => 'histogram event peer',
	learned_timeout_seconds => 'gauge peer',
	learned_margin_seconds => 'gauge peer',
	timeout_seconds => 'gauge',
	margin_seconds => 'gauge',
);

my @reasons = qw/dead evicted keepalive late margin non_idempotent peer shutdown unasked watched/;
my @kinds = qw/eof goaway reset timeout/;
my @evidence = qw/closed received refused unknown unwritten/;
my @events = qw/failure peer_close reuse/;

# a request to each upstream, and more to the last until the worker that takes one has a connection

my $started = now();

get("/$_") for 0 .. $#names;

wait_for(sub { get("/$#names"); figures()->{'broken\xff'}{''}{reuses} });

# headers and methods

for (['/status', 'application/json'], ['/json', 'application/json'],
	['/prometheus', 'text/plain; version=0.0.4; charset=utf-8'])
{
	my ($uri, $type) = @$_;
	my $get = get($uri);
	my $head = http("HEAD $uri HTTP/1.0\r\nHost: localhost\r\n\r\n");

	like($get, qr/^HTTP\S+ 200 OK\r\n.*^Content-Type: \Q$type\E\r$/ms, "$uri, type");
	is(length(content($get)), header($get, 'Content-Length'), "$uri, length");
	is(headers($head), headers($get), "$uri, HEAD");
	is(content($head), '', "$uri, HEAD, no body");
	like(post($uri), qr/^HTTP\S+ 405 /, "$uri, POST");
	is(content(with_body($uri)), content($get), "$uri, GET with a body");
}

like(http("$_ /status HTTP/1.0\r\nHost: localhost\r\n\r\n"), qr/^HTTP\S+ 405 /, $_) for qw/PUT DELETE OPTIONS/;

my $other = '127.0.0.1:' . port(8082);

is(content(get('/', PeerAddr => $other)), content(get('/json')), 'in server');
is(content(get('/json')), content(get('/status')), 'json is the default');

# JSON

my $json = JSON::PP->new->utf8->decode(content(get('/json')));
my $upstream = $json->{upstreams}{plain};
my @figures = qw/ages closes connections connects failed_requests repeats reuse_evidence reuse_failures reuses/;

is(keys_of($json), 'upstreams', 'json');
is(keys_of($upstream), join(' ', sort @figures, qw/margin_ms peers timeout_ms/), 'json, upstream');
is(keys_of($upstream->{peers}), '127.0.0.1:' . port(8081), 'json, peers');
is("$upstream->{timeout_ms} $upstream->{margin_ms}", '60000 1500', 'json, timeout and margin');

for (['upstream', $upstream], ['peer', values %{$upstream->{peers}}]) {
	my ($name, $figures) = @$_;

	is(keys_of($figures->{closes}), "@reasons", "json, $name, reasons");
	is(keys_of($figures->{reuse_failures}), "@kinds", "json, $name, kinds");
	is(keys_of($figures->{reuse_evidence}), "@evidence", "json, $name, evidence");
	is(keys_of($figures->{repeats}), join(' ', grep { $_ ne 'received' } @evidence), "json, $name, repeats");
	is(keys_of($figures->{ages}), "@events", "json, $name, ages");
	is(keys_of($figures->{ages}{reuse}), 'buckets_ms count sum_ms', "json, $name, histogram");
}

is(keys_of(values %{$upstream->{peers}}), join(' ', sort @figures, 'learned'), 'json, peer');

# Prometheus

my $text = content(get('/prometheus'));
my @samples = samples($text);

is(join("\n", grep { defined } map { $_->{error} } @samples), '', 'prometheus');
is(join(', ', described($text)), join(', ', map { type($_, $families{$_}) } sort keys %families), 'prometheus, types');

# nothing is learned of a backend that closes nothing

for my $family (grep { !/^learned/ } sort keys %families) {
	my (undef, @labels) = split / /, $families{$family};
	my $suffix = $family =~ /age/ ? '_(?:bucket|sum|count)' : '';
	my %labels = map { keys_of($_->{labels}) => 1 }
		grep { $_->{name} =~ /^nginx_upstream_idle_$family$suffix$/ } @samples;

	delete $labels{join ' ', sort @labels, 'upstream', 'le'} if $suffix;
	is(join(', ', sort keys %labels), join(' ', sort @labels, 'upstream'), "prometheus, $family");
}

is(values_of('closes_total', 'reason', @samples), "@reasons", 'prometheus, reasons');
is(values_of('reuse_failures_total', 'kind', @samples), "@kinds", 'prometheus, kinds');
is(values_of('reuse_failures_total', 'evidence', @samples), "@evidence", 'prometheus, evidence');
is(values_of('age_seconds_count', 'event', @samples), "@events", 'prometheus, events');

# names

my @expected = sort map { $_->[1] } @names;

is(visible(sort keys %{$json->{upstreams}}), visible(@expected), 'json, names');
is(visible(sort map { $_->{labels}{upstream} } grep { $_->{name} =~ /timeout/ } @samples), visible(@expected),
	'prometheus, names');
is(scalar(grep { $_->{name} =~ /connects/ && $_->{value} > 0 } @samples), scalar @names, 'prometheus, values');

# a histogram: one age, and when that was in time the bounds that are above it

my $ages = $json->{upstreams}{'broken\xff'}{ages}{reuse};
my @bounds = qw/100 500 1000 2000 4000 5000 10000 20000 30000 60000 75000 120000/;

is($ages->{count}, 1, 'histogram, count');
cmp_ok($ages->{sum_ms}, '<=', now() - $started, 'histogram, sum');
is(join(' ', sort { $a <=> $b } grep { $_ ne '+Inf' } keys %{$ages->{buckets_ms}}), "@bounds", 'histogram, bounds');
is(join(' ', map { $ages->{buckets_ms}{$_} } @bounds, '+Inf'),
	join(' ', map { $ages->{sum_ms} <= $_ ? 1 : 0 } @bounds, 'inf'), 'histogram, buckets');

my @buckets = grep { $_->{name} =~ /bucket/ && $_->{labels}{event} eq 'reuse'
	&& $_->{labels}{upstream} eq 'broken\xff' } @samples;

is(join(' ', map { $_->{labels}{le} } @buckets), join(' ', map({ $_ / 1000 } @bounds), '+Inf'),
	'histogram, prometheus, bounds');
is(join(' ', map { $_->{value} } @buckets), join(' ', map { $ages->{buckets_ms}{$_} } @bounds, '+Inf'),
	'histogram, prometheus, buckets');

# both workers

my %body;

wait_for(sub {
	my $response = get('/status');

	$body{header($response, 'X-Worker')}{content($response)} = 1;

	return keys %body == 2;
});

is(keys %body, 2, 'two workers answer');
is(keys %{{ map { %$_ } values %body }}, 1, 'two workers, one answer');

# no upstream to show

configure($t);

$t->reload();

is(wait_for(sub { my $all = content(get('/json')); $all =~ /plain/ ? '' : $all }), "{\"upstreams\":{}}\n",
	'json, no upstream');

is(wait_for(sub { $text = content(get('/prometheus')); !samples($text) }), 1, 'prometheus, no upstream');
is(join(', ', described($text)), join(', ', map { type($_, $families{$_}) } sort keys %families),
	'prometheus, no upstream, types');

###############################################################################

sub configure {
	my ($t, @names) = @_;

	my $upstreams = join '', map { <<"EOF" } @names;
    upstream $_ {
        server 127.0.0.1:8081;
        keepalive 2;
        upstream_idle_timeout 60s margin=1500ms;
    }
EOF

	my $locations = join '', map { <<"EOF" } 0 .. $#names;
        location = /$_ {
            proxy_pass @{[$names[$_] =~ s!^"?!$&http://!r]};
        }
EOF

	conf($t, main => 'worker_processes 2;', http => <<"HTTP", server => <<"SERVER");
$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_set_header Host localhost;

$locations
location /status {
    add_header X-Worker \$pid;
    upstream_idle_status;
}

location /json {
    upstream_idle_status json;
}

location /prometheus {
    upstream_idle_status prometheus;
}
    }

    server {
listen       127.0.0.1:8082;
server_name  localhost;

upstream_idle_status;
SERVER
}

sub header {
	my ($response, $name) = @_;

	return ($response // '') =~ /^$name: (.*)\r$/m ? $1 : '';
}

# The headers of a response, but for those that tell when it was made and by whom.

sub headers {
	my ($response) = @_;

	return join "\n", grep { !/^(?:Date|X-Worker):/ } split /\r\n/, ($response // '') =~ s/\r\n\r\n.*//sr;
}

sub with_body {
	my ($uri) = @_;

	return http("GET $uri HTTP/1.0\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody");
}

sub keys_of {
	my ($hash) = @_;

	return join ' ', sort keys %$hash;
}

# The families of metrics that have help and a type, with that, sorted.

sub described {
	my ($text) = @_;

	my %help = map { $_ => 1 } $text =~ /^# HELP (\w+) \S.*$/mg;
	my @types = $text =~ /^# TYPE (\w+ \w+)$/mg;

	return sort grep { $help{s/ .*//r} } @types;
}

sub type {
	my ($name, $about) = @_;

	return "nginx_upstream_idle_$name " . $about =~ s/ .*//r;
}

# The values of a label, in all samples of that name.

sub values_of {
	my ($name, $label, @samples) = @_;

	my %values = map { $_->{labels}{$label} => 1 } grep { $_->{name} eq "nginx_upstream_idle_$name" } @samples;

	return join ' ', sort keys %values;
}

sub visible {
	my @names = @_;

	return join ', ', map { s/([^ -~])/sprintf '\\x{%x}', ord $1/ger } @names;
}

###############################################################################
