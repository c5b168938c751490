#!/usr/bin/perl

# Tests for upstream_idle_timeout module, requests that fail on a reused
# connection before there was a response: each is counted once, under its kind.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Faulty;
use Certificate;
use Client;
use Conf;
use Stall;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy http_ssl unix upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(49);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream_idle_timeout 31s margin=2s probe=off repeat=off;

upstream plain {
    server 127.0.0.1:8081;
    keepalive 4;
}

upstream tls {
    server 127.0.0.1:8082;
    keepalive 4;
}

upstream unix {
    server unix:%%TESTDIR%%/unix.sock;
    keepalive 4;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_read_timeout 5s;

location /plain {
    proxy_pass http://plain;
}

location /tls {
    proxy_pass https://tls;
}

location /unix {
    proxy_pass http://unix;
}

location /silent/ {
    proxy_read_timeout 200ms;
    proxy_next_upstream error;

    location /silent/plain {
        proxy_pass http://plain;
    }

    location /silent/tls {
        proxy_pass https://tls;
    }

    location /silent/unix {
        proxy_pass http://unix;
    }
}

location /stall {
    access_log %%TESTDIR%%/stall.fifo;
    return 204;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();
my $stall = Stall->new($t);

my %where = (
	plain => { port => port(8081) },
	tls => { port => port(8082), tls => Certificate::create($t) },
	unix => { path => "$d/unix.sock" },
);

my %peer = map { $_ => $where{$_}{path} ? "unix:$where{$_}{path}" : "127.0.0.1:$where{$_}{port}" } keys %where;

$t->run_daemon(\&Backend::Faulty::run, $t, %{$where{$_}}, log => "$d/$_.log") for keys %where;

$where{$_}{path} ? $t->waitforfile($where{$_}{path}) : $t->waitforsocket($peer{$_}) for keys %where;

$t->run();

###############################################################################

# the last argument of each: what is known of the request, what the client gets, and what is counted besides the failure

my $failed = 'failed_requests +1';
my ($error, $lost) = ([502, 'connections -1', $failed], [502, 'connections -1']);
my $repeated = [200, 'connects +1'];

# while nginx waits for the response: what was acknowledged before a FIN was received, and a reset tells nothing

for my $to (qw/plain tls/) {
	failed($to, 'reset', 'unknown', "$to, reset", waiting("/$to?reused=reset"), $error);
}

failed('plain', 'eof', 'received', 'plain, closed', waiting('/plain?reused=close'), $lost);
failed('tls', 'eof', 'received', 'tls, closed without close_notify', waiting('/tls?reused=fin'), $lost);
failed('unix', 'eof', 'unknown', 'unix, closed', waiting('/unix?reused=close'), $error);

# when the connection is closed, and what nginx has sent is unread

failed($_, 'reset', 'unknown', "$_, closed unread", unread($_), $error) for qw/plain tls unix/;

# no response in time: the kernel of the backend, which TCP tells about, has taken the request

for my $to (qw/plain tls unix/) {
	my ($evidence, @more) = $to eq 'unix' ? ('unknown', $failed) : 'received';

	failed($to, 'timeout', $evidence, "$to, timeout", waiting("/silent/$to?reused=silent"), [504, 'connections -1', @more]);
}

# before nginx sends the request, and unseen: a reset is found in time to repeat the request

failed($_, 'reset', 'unwritten', "$_, reset before", queued($stall, $_, 'reset'), $repeated) for qw/plain tls/;
failed($_, 'eof', 'refused', "$_, closed before", queued($stall, $_, 'close'), $error) for qw/plain tls/;
failed('unix', 'eof', 'unwritten', 'unix, closed before', queued($stall, 'unix', 'close'), $error);
failed('tls', 'eof', 'refused', 'tls, closed before without close_notify', queued($stall, 'tls', 'fin'), $error);

# requests that may be repeated

failed($_, 'reset', 'unknown', "$_, GET, reset", waiting("/$_?reused=reset", 'GET'), $repeated) for qw/plain tls/;
failed('plain', 'eof', 'received', 'plain, GET, closed', waiting('/plain?reused=close', 'GET'), $repeated);
failed('unix', 'eof', 'unknown', 'unix, GET, closed', waiting('/unix?reused=close', 'GET'), $repeated);

# after a while

my $started = now();

get('/plain');

my $idle = now();

sleep_until($idle + 150);

my $asked = now();

post('/plain?reused=reset');

my $answered = now();

# a line of the log for each, with a difference of whole milliseconds: what it says, and in the order of what was tested

$t->stop();

my @lines = grep { /reused connection to/ } split /\n/, $t->read_file('error.log');

my $report = qr/reused connection to (\S+) of upstream "(?:plain|tls|unix)" failed: (\w+), request (\w+), sent (\d+) ms ago after (\d+) ms idle, limit 29000 ms, (not )?a failure of the server/;
my @reports = map { [/\[warn\] .*$report/] } @lines;
my ($peer, undef, undef, $waited, $age) = @{$reports[-1]};

is($peer, $peer{plain}, 'log, peer');
cmp_ok($age, '>=', int($asked - $idle), 'log, idle age');
cmp_ok($age + $waited, '<', $answered - $started + 1, 'log, idle age, not more');

is(scalar(grep { !@$_ } @reports), 0, 'log, all');
is(join(' ', map { $_->[1] } @reports), join(' ', 'reset reset eof eof eof', ('reset') x 3, ('timeout') x 3,
	'reset reset eof eof eof eof', 'reset reset eof eof', 'reset'), 'log, kinds');
is(join(' ', map { $_->[2] } @reports), join(' ', 'unknown unknown received received unknown', ('unknown') x 3,
	'received received unknown', 'unwritten unwritten refused refused unwritten refused',
	'unknown unknown received unknown', 'unknown'), 'log, evidence');

# the server had no reason to close so early, but for what had not been sent to it, or was refused

is(join(' ', map { defined $_->[5] ? 0 : 1 } @reports), join(' ', (1) x 11, (0) x 6, (1) x 5), 'log, failures of the server');

###############################################################################

# A request with an error, after one that leaves an idle connection: the figures between them, and the response.

sub waiting {
	my ($uri, $method) = @_;

	get($uri =~ s/\?.*//r);

	my $before = figures();

	return [$before, ($method // 'POST') eq 'GET' ? get($uri) : post($uri)];
}

# A POST request on a connection that the backend closes as soon as it has got it.

sub unread {
	my ($to) = @_;

	my ($number) = served(get("/$to"));
	my $before = figures();

	Backend::Faulty::order($where{$to}, 'deaf', $number);

	my $client = post("/$to", start => 1);

	Backend::Faulty::order($where{$to}, 'unread', $number);

	return [$before, answers($client)];
}

# A POST request on a connection that the backend closes while the worker is blocked.

sub queued {
	my ($stall, $to, $how) = @_;

	my $client = ask('GET', "/$to");
	my ($number) = served(answer($client));
	my $before = figures();

	$stall->begin();
	ask('POST', "/$to", $client);
	Backend::Faulty::order($where{$to}, $how, $number);
	$stall->release();

	return [$before, answer($client)];
}

sub failed {
	my ($to, $kind, $evidence, $name, $request, $result) = @_;

	my ($before, $response) = @$request;
	my ($status, @more) = @$result;

	my @changes = ('ages.failure +1', 'ages.reuse +1', "reuse_failures.$kind +1", "reuse_evidence.$evidence +1",
		'reuses +1', @more);

	like($response, qr/^HTTP\S+ $status /, "$name, response");
	is_changes($before, "$to $peer{$to}: " . join(', ', sort @changes), "$name, counted");
}

###############################################################################
