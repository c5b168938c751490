#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the timeout that is learned from the
# closes of a backend that tells none.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::FastCGI;
use Backend::Timed;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# what the backend does

use constant TIMEOUT => 600;

# upstreams: the directive, and how many connections are kept

my %upstreams = (
	auto => ['auto', 16],
	auto_margin => ['auto margin=200ms', 16],
	auto_report => ['auto learn=report', 16],
	one => ['auto', 1],
	full => ['auto', 2],
	lower => ['5s learn=on', 16],
	time => ['5s', 16],
	time_off => ['5s learn=off', 16],
	margin => ['500ms margin=auto', 16],
	fastcgi => ['auto', 16],
);

my @names = sort keys %upstreams;
my $t = Test::Nginx->new()->has(qw/http proxy fastcgi rewrite upstream_keepalive/)->plan(66);

my $upstreams = join '', map { upstream($_) } @names;

conf($t, http => <<"HTTP", server => <<'SERVER');
$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
add_header X-Limit $upstream_idle_limit;

location / {
    proxy_pass http://$arg_upstream;
}

location /fastcgi {
    fastcgi_pass fastcgi;
    fastcgi_keep_conn on;
    fastcgi_param REQUEST_URI $request_uri;
}

location /pid {
    return 200 $pid;
}

location /status {
    upstream_idle_status;
}

location /prometheus {
    upstream_idle_status prometheus;
}
SERVER

my $d = $t->testdir();
my $file = "$d/timeout";
my %port = map { $_ => port(8081) } @names;
$port{fastcgi} = port(8082);

Backend::Timed::say_timeout($file, TIMEOUT);

$t->run_daemon(\&Backend::Timed::run, $t, port => port(8081), log => "$d/http.log", file => $file);
$t->run_daemon(\&Backend::Timed::run, $t, port => port(8082), log => "$d/fastcgi.log", file => $file,
	protocol => 'Backend::FastCGI');
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081, 8082;

###############################################################################

# three connections at a time, which are closed one way or the other

my @learning = grep { $_ ne 'time_off' && $_ ne 'margin' } @names;
my $bursts = 0;

is(join(' ', grep { defined learned($_) } @names), '', 'nothing is known');

until (@learning == grep { defined learned($_) } @learning) {
	last if ++$bursts > 20;
	burst(@names);
}

for my $name (@learning) {
	my $learned = learned($name) // {};

	cmp_ok(abs(($learned->{timeout_ms} // 0) - TIMEOUT), '<', TIMEOUT / 10, "$name, timeout");
	cmp_ok($learned->{closes} // 0, '>=', 3, "$name, closes");
}

my $auto = learned('auto');

is($auto->{margin_ms}, 10 + $auto->{rtt_ms} + max(@$auto{qw/rtt_ms spread_ms failures_ms/}), 'margin, by its parts');
cmp_ok($auto->{known_for_ms}, '<', 5000, 'known for');

is(learned('time_off'), undef, 'off, nothing is learned');

# what is learned counts: the backend closes nothing any more but what is watched

burst(@names);

my $before = figures();

burst(@names) for 1 .. 8;

my $after = figures();
my %closed = map { my $name = $_; $name => { map { $_ => change($name, $_) } qw/peer margin watched/ } } @names;

for my $name (qw/auto auto_margin lower/) {
	# on a busy machine nginx may come too late for one at times

	cmp_ok(5 * $closed{$name}{peer}, '<', $closed{$name}{margin}, "$name, not closed by the backend");
	cmp_ok($closed{$name}{margin}, '>', 8, "$name, closed in time");
	cmp_ok($closed{$name}{watched}, '>', 0, "$name, watched");
	cmp_ok($closed{$name}{watched}, '<', 5, "$name, not often");
}

for my $name (qw/auto_report time time_off/) {
	is(join(' ', map { $closed{$name}{$_} > 0 } qw/peer margin watched/), '1  ', "$name, as before");
}

for my $name (qw/one fastcgi/) {
	is(join(' ', map { $closed{$name}{$_} > 0 } qw/margin watched/), '1 ', "$name, not watched");
}

# of two in a cache for two, the older one is never watched: there is no room

my %watched = (auto => 0, full => 0);

for my $name ((qw/auto full/) x 6) {
	my @numbers = map { (served($_))[0] } answers(map { get(uri($name) . "&delay=$_", start => 1) } 0.05, 0.15);
	my ($older) = Backend::ended($t, "$d/http.log", @numbers);

	$watched{$name}++ if $older->{end} eq 'self';
}

cmp_ok($watched{auto}, '>', 0, 'older one, watched');
is($watched{full}, 0, 'older one, full, not watched');

# at which ages they go

near(limit('auto'), ($auto = learned('auto'))->{timeout_ms} - $auto->{margin_ms}, 'auto, limit');
near(limit('auto_margin'), learned('auto_margin')->{timeout_ms} - 200, 'margin that is set, limit');
near(limit('lower'), learned('lower')->{timeout_ms} / 2, 'timeout that is lowered, default margin, limit');
is(limit('time'), 4000, 'timeout that is set, limit');
cmp_ok(limit('margin'), '>', 470, 'margin that is learned, limit');

# the same for Prometheus

my %sample = map { ("$_->{name} $_->{labels}{upstream}", $_->{value}) } samples(content(get('/prometheus')));

is(ms($sample{"nginx_upstream_idle_learned_timeout_seconds $_"}), learned($_)->{timeout_ms}, "$_, metric")
	for qw/auto time/;
is($sample{'nginx_upstream_idle_learned_timeout_seconds time_off'}, undef, 'off, no metric');
ok(exists $sample{'nginx_upstream_idle_learned_margin_seconds auto'}, 'metric of the margin');

# a reload, and a worker that is killed

my %learned = map { $_ => learned($_) } @learning;

# the master says so of a worker that is killed

$t->todo_alerts();
$t->reload();
near(learned($_)->{timeout_ms}, $learned{$_}{timeout_ms}, "$_, after a reload") for @learning;

my $pid = content(get('/pid'));

kill 9, $pid;
wait_for(sub { my $new = content(get('/pid')); $new && $new != $pid });
near(learned($_)->{timeout_ms}, $learned{$_}{timeout_ms}, "$_, after a worker was killed") for @learning;
is(join(' ', grep { learned($_)->{closes} < $learned{$_}{closes} } @learning), '', 'closes that it was learned from');

$t->stop();

my @told = $t->read_file('error.log') =~ /\[notice\] .*learned that 127\.0\.0\.1:\d+ of upstream "(\w+)" closes idle connections after \d+ ms$/mg;

is(join(' ', sort @told), join(' ', @learning), 'told once');

###############################################################################

sub upstream {
	my ($name) = @_;
	my ($directive, $keepalive) = @{$upstreams{$name}};
	my $port = $name eq 'fastcgi' ? 8082 : 8081;

	return <<"EOF";
upstream $name {
    server 127.0.0.1:$port;
    keepalive $keepalive;
    upstream_idle_timeout $directive;
}

EOF
}

sub uri {
	my ($name) = @_;

	return ($name eq 'fastcgi' ? '/fastcgi' : '/') . "?upstream=$name";
}

# Requests at the same time, whose connections are gone in the end.

sub burst {
	answers(map { my $uri = uri($_); map { get("$uri&delay=0.05", start => 1) } 1 .. 3 } @_);
	wait_for(sub { !grep { $_->{connections} } values %{status()->{upstreams}} });
}

sub learned {
	my ($name) = @_;

	return status()->{upstreams}{$name}{peers}{"127.0.0.1:$port{$name}"}{learned};
}

sub change {
	my ($name, $reason) = @_;

	return $after->{$name}{''}{"closes.$reason"} - $before->{$name}{''}{"closes.$reason"};
}

# The limit of a connection that is used again, in milliseconds.

sub limit {
	my ($name) = @_;

	for (1 .. 10) {
		get(uri($name));
		return ms($1) if get(uri($name)) =~ /X-Limit: ([\d.]+)/;
	}

	return 'none';
}

# What is learned may change by some milliseconds with each close.

sub near {
	my ($got, $expected, $name) = @_;

	cmp_ok(abs($got - $expected), '<', 12, $name) or diag("$got, not $expected");
}

sub ms {
	return sprintf '%.0f', ($_[0] // -1) * 1000;
}

sub max {
	return (sort { $a <=> $b } @_)[-1];
}

###############################################################################
