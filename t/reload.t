#!/usr/bin/perl

# Tests for upstream_idle_timeout module, reload and quit with idle
# connections.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use POSIX ();

use Backend;
use Client;
use Conf;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(24);
my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->waitforsocket('127.0.0.1:' . port(8081));

configure($t, 'upstream_idle_timeout 30s');
$t->run();

###############################################################################

# idle connections, and one that is not

my $active = get('/?delay=0.6', start => 1);
my @idle = map { (served($_))[0] } parallel(4);
my ($old) = worker(get('/'));

configure($t, 'upstream_idle_timeout 600ms margin=300ms');
my $new = reload($t, $old);

my @ends = Backend::ended($t, $log, @idle);

is(grep({ $_->{end} eq 'peer' } @ends), 4, 'reload, closed by nginx');
is(grep({ $_->{age} < 2000 } @ends), 4, 'reload, closed soon');

my ($response) = answers($active);
my $answered = now();
my $end = Backend::ended($t, $log, (served($response))[0]);

like($response, qr/^HTTP\S+ 200 .* request 1\n$/s, 'request during the reload');
is(worker($response), $old, 'request during the reload, old worker');
is($end->{end}, 'peer', 'request during the reload, closed by nginx');
cmp_ok($end->{age}, '<', 100, 'request during the reload, closed at once');

ok(gone($old), 'old worker exits');
cmp_ok(now() - $answered, '<', 2000, 'old worker exits soon');

# the new configuration

my $limit = 300;

is_reused(twice(sub { get('/') }, 150, $limit), 'reload');

my ($first, $last) = twice(sub { get('/') }, $limit);

is_fresh($first, $last, 'reload');
is(worker($last), $new, 'reload, new worker');

$end = Backend::ended($t, $log, (served($last))[0]);

is($end->{end}, 'peer', 'new limit, closed by nginx');
cmp_ok($end->{age}, '>', $limit - 15, 'new limit, not before its time');
cmp_ok($end->{age}, '<', $limit + 100, 'new limit, in time');

# reloads while there is something to do

my @load = map { load($t, $_) } qw/GET POST/;
my @workers = ($old, $new);

for my $timeout (1 .. 4) {
	configure($t, "upstream_idle_timeout ${timeout}s margin=900ms");
	push @workers, reload($t, @workers);
}

$t->write_file('load.end', '');

for my $load (@load) {
	my ($method, $count, @failed) = split ' ', <$load>;

	cmp_ok($count, '>', 10, "$method under load");
	is("@failed", '', "$method under load, none failed");
}

is(grep({ !gone($_) } @workers[0 .. $#workers - 1]), 0, 'old workers exit');

# quit

$active = get('/?delay=0.3', start => 1);
@idle = map { (served($_))[0] } parallel(4);

my $started = now();

$t->stop();

cmp_ok(now() - $started, '<', 2000, 'quit soon');

($response) = answers($active);
@ends = Backend::ended($t, $log, @idle);

cmp_ok((served($response))[1], '>', 0, 'request during quit');
is(grep({ $_->{end} eq 'peer' } @ends), 4, 'quit, closed by nginx');
is(grep({ $_->{age} < 2000 } @ends), 4, 'quit, closed soon');
ok(gone($workers[-1]), 'worker exits');

###############################################################################

sub configure {
	my ($t, $directive) = @_;

	conf($t, http => <<"HTTP", server => <<"SERVER");
upstream u {
    server 127.0.0.1:8081;
    keepalive 8;
    $directive;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
add_header X-Worker \$pid;

location / {
    proxy_pass http://u;
}
SERVER
}

# Reloads, and returns the new worker. For a moment, an old one may answer, too.

sub reload {
	my ($t, @old) = @_;

	$t->reload();

	for (1 .. 500) {
		my $worker = worker(get('/'));
		return $worker if $worker && !grep { $_ == $worker } @old;
		select undef, undef, undef, 0.01;
	}
}

sub worker {
	my ($response) = @_;

	return ($response // '') =~ /^X-Worker: (\d+)/m ? $1 : 0;
}

sub gone {
	my ($pid) = @_;

	for (1 .. 500) {
		return 1 unless kill 0, $pid;
		select undef, undef, undef, 0.01;
	}

	return 0;
}

sub parallel {
	my ($n) = @_;

	return answers(map { get('/?delay=0.03', start => 1) } 1 .. $n);
}

# Makes requests in a process of its own until there is a file "load.end". Then a line can be read: the method, the number
# of requests, and which of them failed.

sub load {
	my ($t, $method) = @_;

	my $pid = open(my $output, '-|') // die "cannot fork: $!\n";

	return $output if $pid;

	my ($count, @failed) = (0);

	until (-e $t->testdir() . '/load.end') {
		my $response = $method eq 'GET' ? get('/') : post('/');

		$count++;
		push @failed, $count unless (served($response))[0];
	}

	syswrite STDOUT, "$method $count @failed\n";
	POSIX::_exit(0);
}

###############################################################################
