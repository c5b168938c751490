#!/usr/bin/perl

# Tests for upstream_idle_timeout module, failed reuses and max_fails: what a
# server did to a request is a failure of it, and that it had closed an idle
# connection is not, unless fails=on says so.

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

my @protocols = qw/plain tls fastcgi/;

my $t = Test::Nginx->new()->has(qw/http proxy fastcgi http_ssl upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(34 * @protocols);

# two servers, as nginx does not count the failures of a single one

my %servers = (plain => [8081, 8082], tls => [8083, 8084], fastcgi => [8085, 8086]);
my $upstreams = '';

for my $protocol (@protocols) {
	for my $fails (qw/off on/) {
		$upstreams .= block("${protocol}_${_}_$fails", "probe=off repeat=off fails=$fails", @{$servers{$protocol}})
			for qw/reset close closed queued/;
	}
}

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

my $d = $t->testdir();
my $stall = Stall->new($t);

my %options = (
	plain => {},
	tls => { tls => Certificate::create($t) },
	fastcgi => { fastcgi => 1, protocol => 'Backend::FastCGI' },
);

my %backend;

for my $protocol (@protocols) {
	$backend{$_} = { %{$options{$protocol}}, port => port($_) } for @{$servers{$protocol}};
}

# the numbers of connections tell the servers from each other

$t->run_daemon(\&Backend::Late::run, $t, %{$backend{$_}}, log => "$d/$_.log", count => $_ % 2 ? 0 : 1000)
	for sort keys %backend;
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081 .. 8086;

###############################################################################

for my $protocol (@protocols) {

	# both servers end a connection, one after the other, when they have got the request, long before they were expected to

	for my $how (qw/reset close/) {
		my $kind = $how eq 'reset' ? 'reset' : 'eof';

		for my $fails (qw/off on/) {
			my $upstream = "${protocol}_${how}_$fails";
			my $name = "$protocol, $kind, fails=$fails";

			is(servers(map { get("/$protocol?upstream=$upstream") } 1, 2), '1 2', "$name, GET");
			is(servers(map { post("/$protocol?upstream=$upstream&reused=$how") } 1, 2), '0 0', "$name, POST");
			is(failures($upstream), "reuse_failures.$kind 2", "$name, failures");

			goes_on($t, $protocol, $upstream, 0, $name);
		}
	}

	# the connections are closed already when the worker uses them

	for my $fails (qw/off on/) {
		my $upstream = "${protocol}_closed_$fails";
		my $name = "$protocol, queued close, fails=$fails";

		is(servers(queued($stall, $protocol, $upstream, 'close', 1, 2)), '0 0', "$name, POST");
		is(failures($upstream), 'reuse_failures.eof 2', "$name, failures");

		goes_on($t, $protocol, $upstream, $fails eq 'off', $name);
	}

	# the connection to one of them is reset already: the request goes to the next server

	for my $fails (qw/off on/) {
		my $upstream = "${protocol}_queued_$fails";
		my $name = "$protocol, queued reset, fails=$fails";
		my @responses = queued($stall, $protocol, $upstream, 'reset', 1);

		is(grep({ (served($_))[0] } @responses), 2, "$name, POST");
		is(failures($upstream), 'reuse_failures.reset 1', "$name, failures");
		is(servers(map { get("/$protocol?upstream=$upstream") } 1 .. 4), $fails eq 'off' ? '1 1 2 2' : '2 2 2 2',
			"$name, after that");
	}
}

###############################################################################

# The servers are taken for good ones, or for bad ones.

sub goes_on {
	my ($t, $protocol, $upstream, $good, $name) = @_;

	my @responses = map { get("/$protocol?upstream=$upstream") } 1 .. 4;

	is(servers(@responses), $good ? '1 1 2 2' : '0 0 0 0', "$name, after that");
	is(errors($t, 'no live upstreams', $upstream), $good ? 0 : 4, "$name, no live upstreams");
}

# POSTs to both servers that wait for a blocked worker, while these servers end their idle connections.

sub queued {
	my ($stall, $protocol, $upstream, $how, @servers) = @_;

	my $uri = "/$protocol?upstream=$upstream";
	my @clients = map { ask('GET', $uri) } 1, 2;
	my @idle = map { answer($_) } @clients;

	$stall->begin();
	ask('POST', $uri, $_) for @clients;

	for my $response (@idle) {
		my $server = servers($response);

		Backend::Late::order($backend{$servers{$protocol}[$server - 1]}, $how, (served($response))[0])
			if grep { $_ == $server } @servers;
	}

	$stall->release();

	return map { answer($_) } @clients;
}

sub failures {
	my ($upstream) = @_;

	my $figures = figures()->{$upstream}{''};

	return join ', ', map { "$_ $figures->{$_}" } grep { /^reuse_failures/ && $figures->{$_} } sort keys %$figures;
}

sub block {
	my ($name, $parameters, @ports) = @_;

	my $servers = join ' ', map { "server 127.0.0.1:$_;" } @ports;

	return <<"EOF";

    upstream $name {
        $servers
        keepalive 4;
        upstream_idle_timeout 60s $parameters;
    }
EOF
}

###############################################################################
