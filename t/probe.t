#!/usr/bin/perl

# Tests for upstream_idle_timeout module, cached connections that are dead, or
# not quiet, and that nginx has not had the time to see so.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Late;
use Certificate;
use Client;
use Conf;
use Stall;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# protocol, what has become of the idle connection, what a POST without the probe leads to: an answer, the kind of failure,
# and what is known of the request; a reset shows before the request is sent, so that nginx repeats it; after a close_notify
# the backend may have taken the request, and may have closed the connection when that is looked at

my @cases = (
	['plain', 'close', 502, 'eof', 'refused'],
	['plain', 'reset', 200, 'reset', 'unwritten'],
	['plain', 'late408', 408, ''],
	['tls', 'close', 502, 'eof', 'refused'],
	['tls', 'fin', 502, 'eof', 'refused'],
	['tls', 'reset', 200, 'reset', 'unwritten'],
	['tls', 'late408', 408, ''],
	['tls', 'notify', 502, 'eof', '(?:unknown|received)'],
	['fastcgi', 'close', 502, 'eof', 'refused'],
	['fastcgi', 'reset', 200, 'reset', 'unwritten'],
	['fastcgi', 'chatter', 502, ''],
	['unix', 'close', 502, 'eof', 'unwritten'],
	['unix', 'late408', 408, ''],
);

my $t = Test::Nginx->new()->has(qw/http proxy fastcgi http_ssl unix upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(5 * @cases + 4);

my $d = $t->testdir();

my %server = (
	plain => '127.0.0.1:8081',
	tls => '127.0.0.1:8082',
	fastcgi => '127.0.0.1:8083',
	unix => "unix:$d/unix.sock",
);

my %probe = (on => 'probe=0', off => 'probe=off repeat=off', young => 'probe=300ms', old => 'probe=300ms');
my @upstreams = map { my $case = $_; map { [@$case[0, 1], $_] } qw/on off/ } @cases;

push @upstreams, map { ['plain', 'late408', $_] } qw/young old/;

my $upstreams = join '', map { block(join('_', @$_), $server{$_->[0]}, $probe{$_->[2]}) } @upstreams;

conf($t, http => <<"HTTP", server => <<"SERVER");
$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://\$arg_upstream;
}

location /tls {
    proxy_pass https://\$arg_upstream;
}

location /fastcgi {
    fastcgi_pass \$arg_upstream;
    fastcgi_keep_conn on;
    fastcgi_param REQUEST_METHOD \$request_method;
    fastcgi_param REQUEST_URI \$request_uri;
    fastcgi_param CONTENT_LENGTH \$content_length;
}

location /stall {
    access_log %%TESTDIR%%/stall.fifo;
    return 204;
}

location /status {
    upstream_idle_status;
}
SERVER

my $stall = Stall->new($t);
my $tls = { %{Certificate::create($t)}, SSL_version => 'TLSv1_2' };

my %backend = (
	plain => { port => port(8081) },
	tls => { port => port(8082), tls => $tls },
	fastcgi => { port => port(8083), fastcgi => 1, protocol => 'Backend::FastCGI' },
	unix => { path => "$d/unix.sock" },
);

$t->run_daemon(\&Backend::Late::run, $t, %{$backend{$_}}, log => "$d/$_.log") for keys %backend;
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8083;
$t->waitforfile("$d/unix.sock");

# the worker may be of another user

chmod 0711, $d;
chmod 0666, "$d/unix.sock";

###############################################################################

for my $case (@cases) {
	my ($protocol, $event, $status, $failure, $evidence) = @$case;
	my $name = "$protocol, $event";
	my $upstream = "${protocol}_$event";

	my ($first, $second) = stalled($stall, $backend{$protocol}, $upstream . '_on', $event);

	is_fresh($first, $second, "$name, POST");
	is_reused($second, get("/$protocol?upstream=${upstream}_on"), "$name, GET");
	is(seen($upstream . '_on'), 'closes.dead 1, connects 2, reuses 1', "$name, figures");

	# as nginx does without the module

	(undef, $second) = stalled($stall, $backend{$protocol}, $upstream . '_off', $event);

	like($second, qr!^HTTP/1.1 $status !, "$name, POST without the probe");
	like(seen($upstream . '_off'), $failure ? qr/^connects \d, reuse_evidence.$evidence 1, reuse_failures.$failure 1, reuses 1$/
		: qr/^connects 1, reuses 1$/, "$name, figures without the probe");
}

# connections are looked at from an age on

my $begun = now();
my (undef, $second) = stalled($stall, $backend{plain}, 'plain_late408_young', 'late408');

SKIP: {
	skip 'too slow', 2 if now() - $begun >= 300;

	like($second, qr/ 408 /, 'probe=300ms, before that');
	is(seen('plain_late408_young'), 'connects 1, reuses 1', 'probe=300ms, before that, figures');
}

my ($first, $last) = stalled($stall, $backend{plain}, 'plain_late408_old', 'late408', 300);

is_fresh($first, $last, 'probe=300ms, at 300 ms');
is(seen('plain_late408_old'), 'closes.dead 1, connects 2', 'probe=300ms, figures');

###############################################################################

# A POST that leaves an idle connection, and another one before the worker could see what has become of that.

sub stalled {
	my ($stall, $backend, $upstream, $event, $msec) = @_;

	my $uri = '/' . ($upstream =~ /^([a-z]+)/)[0] . "?upstream=$upstream";
	my $socket = ask('POST', $uri);
	my $first = answer($socket);
	my $idle = now();

	$stall->begin();
	ask('POST', $uri, $socket);
	Backend::Late::order($backend, $event, (served($first))[0]);
	sleep_until($idle + ($msec // 0));
	$stall->release();

	return ($first, answer($socket));
}

# All that the status shows, except that a 408 is followed by an answer for which nobody waits any more.

sub seen {
	my ($upstream) = @_;

	my %figures = %{figures()->{$upstream}{''}};
	my @names = grep { $figures{$_} && !/^(?:ages|closes.(?:peer|unasked)|connections$|failed_)/ } sort keys %figures;

	return join ', ', map { "$_ $figures{$_}" } @names;
}

sub block {
	my ($name, $server, $probe) = @_;

	return <<"EOF";

    upstream $name {
        server $server;
        keepalive 2;
        upstream_idle_timeout 60s $probe;
    }
EOF
}

###############################################################################
