#!/usr/bin/perl

# Tests for upstream_idle_timeout module, sums of the figures after many
# requests, with faults, to two workers: at rest they agree with each other,
# with the access log and with the backends.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use List::Util qw/ sum0 /;
use POSIX ();

use Backend::Faulty;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $requests = $ENV{TEST_SUMS_REQUESTS} || 3000;
my $clients = 4;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(67);

conf($t, main => 'worker_processes 2;', http => <<'HTTP', server => <<'SERVER');
# connections go in time

upstream margin {
    server 127.0.0.1:8081 max_fails=0;
    server 127.0.0.1:8082 max_fails=0;
    keepalive 6;
    keepalive_requests 100000;
    upstream_idle_timeout 500ms margin=200ms;
}

# they stay, or make room for others

upstream stay {
    server 127.0.0.1:8083 max_fails=0;
    server 127.0.0.1:8084 max_fails=0;
    keepalive 2;
    keepalive_requests 100000;
    upstream_idle_timeout 60s;
}

# the backend closes them

upstream stale {
    server 127.0.0.1:8085 max_fails=0;
    keepalive 6;
    keepalive_requests 100000;
    upstream_idle_timeout 60s;
}

log_format tries "$status|$upstream_addr|$upstream_status|$upstream_reused|$upstream_reuse_outcome|$upstream_reuse_evidence|$request_uri";
HTTP
access_log %%TESTDIR%%/tries.log tries;

proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_read_timeout 150ms;

location / {
    proxy_pass http://$arg_upstream;
}

location /status {
    access_log off;
    upstream_idle_status;
}

location /metrics {
    access_log off;
    upstream_idle_status prometheus;
}
SERVER

my $d = $t->testdir();

for my $port (map { port($_) } 8081 .. 8085) {
	$t->run_daemon(\&Backend::Faulty::run, $t, port => $port, log => "$d/$port.log",
		$port == port(8085) ? (timeout => 0.1) : ());
	$t->waitforsocket("127.0.0.1:$port");
}

$t->run();

###############################################################################

my @load = map { load($_, $requests / $clients) } 1 .. $clients;

is(join(' ', map { scalar <$_> } @load), join(' ', ("done\n") x $clients), 'all requests made');

# at rest: connections that are to be closed are, and the log is written

my %ports = (margin => [8081, 8082], stay => [8083, 8084], stale => [8085]);

ok(wait_for(sub { my $f = figures(); !$f->{margin}{''}{connections} && !$f->{stale}{''}{connections} }), 'at rest');
ok(wait_for(sub { lines($t) >= $requests }), 'access log');

my $figures = figures();
my @tries = map { tries($_) } lines($t);

is(scalar lines($t), $requests, 'requests');

for my $upstream (sort keys %ports) {
	my $sum = $figures->{$upstream}{''};
	my @mine = grep { $_->{upstream} eq $upstream } @tries;

	# when the client was gone, there may not have been a connection yet

	my $gone = count(sub { $_->{gone} && !$_->{reused} }, @mine);

	cmp_ok($sum->{connects} + $sum->{reuses}, '<=', scalar @mine, "$upstream, tries");
	cmp_ok($sum->{connects} + $sum->{reuses}, '>=', @mine - $gone, "$upstream, tries, not less");
	is($sum->{reuses}, count(sub { $_->{reused} }, @mine), "$upstream, reused");

	# when the client was gone, its response may not have been read to the end

	my $cached = $sum->{reuses} + closes($sum) + $sum->{connections};
	my @stayed = grep { !$_->{gone} } @mine;

	cmp_ok($cached, '<=', kept(@mine), "$upstream, what came to the cache and left");
	cmp_ok($cached, '>=', kept(@stayed), "$upstream, what came to the cache and left, not less");

	for my $kind (qw/reset eof timeout/) {
		is($sum->{"reuse_failures.$kind"}, count(sub { $_->{outcome} eq $kind }, @mine), "$upstream, $kind");
	}

	for my $evidence (qw/unwritten refused closed unknown received/) {
		is($sum->{"reuse_evidence.$evidence"}, count(sub { $_->{evidence} eq $evidence }, @mine), "$upstream, $evidence");
	}

	is($sum->{failed_requests}, count(sub { $_->{last} && !$_->{gone} && $_->{evidence} !~ /-|received/ }, @mine),
		"$upstream, failed requests");

	is($sum->{'ages.reuse'}, $sum->{reuses}, "$upstream, ages at reuse");
	is($sum->{'ages.failure'}, sum_of($sum, 'reuse_failures'), "$upstream, ages at failure");
	is($sum->{'ages.peer_close'}, $sum->{'closes.peer'}, "$upstream, ages at the peer's close");
}

# each peer is counted alike, as its backend sees it

for my $port (map { port($_) } 8081 .. 8084) {
	my $peer = "127.0.0.1:$port";
	my ($upstream) = grep { $figures->{$_}{$peer} } keys %$figures;
	my $counted = $figures->{$upstream}{$peer};

	my $open = Backend::Faulty::order({ port => $port }, 'count');
	my @ended = grep { $_->{requests} } Backend::logged($t, "$d/$port.log", 'connection');

	is($open, $counted->{connections}, "$upstream, idle connections are open");
	is(@ended + $open, $counted->{connects}, "$upstream, connects");
}

# there was something of everything

cmp_ok($figures->{margin}{''}{'closes.margin'}, '>', 0, 'closes, margin');
cmp_ok($figures->{stay}{''}{'closes.evicted'}, '>', 0, 'closes, evicted');
cmp_ok($figures->{stale}{''}{'closes.peer'}, '>', 0, 'closes, peer');

is(difference($figures, prometheus()), '', 'both formats');

###############################################################################

# Makes requests in a process of its own, at random, but always the same for a number.

sub load {
	my ($number, $count) = @_;

	my $pid = open(my $output, '-|') // die "cannot fork: $!\n";

	return $output if $pid;

	srand $number;
	request() for 1 .. $count;

	syswrite STDOUT, "done\n";
	POSIX::_exit(0);
}

sub request {
	my $upstream = (qw/margin stay stale/)[rand 3];

	my ($fault) = rand(10) < 6 ? '' : one_of(qw/delay=0.01 delay=0.02 last=1 reused=reset reused=close reused=half
		reused=status500 reused=fin fresh=reset fresh=close fresh=half/);

	$fault = 'reused=silent' if rand(200) < 1;

	my $uri = "/?upstream=$upstream&$fault";
	my $client = rand(2) < 1 ? get($uri, start => 1) : post($uri, start => 1);

	# some clients are not patient, and some take their time

	answers($client) unless $upstream eq 'stale' && rand(20) < 1;
	select undef, undef, undef, rand(0.3) if rand(100) < 1;
}

sub one_of {
	my @list = @_;

	return $list[rand @list];
}

sub lines {
	my ($t) = @_;

	return split /\n/, $t->read_file('tries.log');
}

# The tries that a line of the log tells of.

sub tries {
	my ($line) = @_;

	my ($status, $addr, $upstream_status, $reused, $outcome, $evidence, $uri) = split /\|/, $line;
	my ($upstream) = $uri =~ /upstream=(\w+)/;
	my @rest = map { [split /, /] } $upstream_status, $reused, $outcome, $evidence;
	my @tries;

	push @tries, { upstream => $upstream, uri => $uri, status => shift @{$rest[0]}, reused => shift @{$rest[1]},
		outcome => shift @{$rest[2]}, evidence => shift @{$rest[3]}, peer => $_ } for split /, /, $addr;

	# in place of an address, there is the name of the upstream when all peers have been tried

	@tries = grep { $_->{peer} ne $upstream } @tries;

	$tries[-1]{last} = 1 if $status >= 400;
	$tries[-1]{gone} = 1 if $status == 499;

	return @tries;
}

sub count {
	my ($condition, @tries) = @_;

	return scalar grep { $condition->() } @tries;
}

# The tries that leave an idle connection: those with a response, which does not say that it is the last.

sub kept {
	my @tries = @_;

	return count(sub { $_->{status} =~ /200|500/ && $_->{uri} !~ /last/ }, @tries);
}

sub closes {
	my ($figures) = @_;

	return sum_of($figures, 'closes');
}

sub sum_of {
	my ($figures, $group) = @_;

	return sum0(map { $figures->{$_} } grep { /^$group\./ } keys %$figures);
}

# The figures as in figures(), from Prometheus' format.

sub prometheus {
	my %figures;

	for my $sample (samples(content(get('/metrics')))) {
		my ($name) = $sample->{name} =~ /^nginx_upstream_idle_(.*?)(?:_total|_seconds_count)?$/;
		my $labels = $sample->{labels};

		next if $name =~ /seconds/;

		my @keys = join '.', $name =~ s/^age$/ages/r, grep { defined } @$labels{qw/reason kind event/};

		@keys = "repeats.$labels->{evidence}" if $name eq 'repeats';
		push @keys, "reuse_evidence.$labels->{evidence}" if $name eq 'reuse_failures';

		for my $peer ('', $labels->{peer}) {
			$figures{$labels->{upstream}}{$peer}{$_} += $sample->{value} for @keys;
		}
	}

	return \%figures;
}

sub difference {
	my ($these, $those) = map { { flat('', $_) } } @_;

	my %all = (%$these, %$those);
	my @different = grep { ($these->{$_} // 'none') ne ($those->{$_} // 'none') } sort keys %all;

	return join ', ', map { "$_: " . ($these->{$_} // 'none') . ' ' . ($those->{$_} // 'none') } @different;
}

sub flat {
	my ($name, $value) = @_;

	return ref $value ? map { flat("$name $_", $value->{$_}) } keys %$value : ($name => $value);
}

###############################################################################
