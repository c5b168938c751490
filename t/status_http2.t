#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the status over HTTP/2: flow control,
# a client that does not read, and a body that fills its buffers.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use IO::Uncompress::Gunzip qw/ gunzip /;

use Client;
use HTTP2;
use Padding;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http http_v2 proxy upstream_keepalive gzip/)->plan(35);

configure($t, 0);

$t->write_file('big', 'x' x (4 * 1024 * 1024));
$t->run();

###############################################################################

# as long as it happens to be, and as long as the buffers that it is in

status_is(body(), 'any length');

my $padding = padding(length(body()), 16384);

configure($t, $padding);

$t->stop();
$t->run();

my $body = wait_for(sub { my $body = body(); length($body) % 16384 == 0 && $body });

ok($body, 'a body that fills its buffers') or diag(length(body()) . " bytes, $padding of padding");
status_is($body, 'full buffers');

# the client does not read: the header has to wait, and the body with it

my $client = HTTP2->new(HTTP2::MAX_WINDOW);
my $big = $client->request('GET', '/big');
my $waiting = $client->read($client->request('GET', '/status'));

is($waiting->{end}, 'END_STREAM', 'header waits, end');
is(HTTP2::length_of($waiting), length $body, 'header waits, length');
ok($waiting->{data} eq $body, 'header waits, body') or diag(length($waiting->{data}) . ' bytes');
is(length $client->read($big)->{data}, 4 * 1024 * 1024, 'header waits, what it waited for');

###############################################################################

sub body {
	return content(http("GET /status HTTP/1.0\r\nHost: localhost\r\n\r\n", PeerAddr => '127.0.0.1:' . port(8082)));
}

sub status_is {
	my ($body, $name) = @_;

	# all at once

	my $client = HTTP2->new(HTTP2::MAX_WINDOW);
	my $all = $client->read($client->request('GET', '/status'));

	is($all->{end}, 'END_STREAM', "$name, end");
	is(HTTP2::length_of($all), length $body, "$name, length");
	ok($all->{data} eq $body, "$name, body") or diag($all->{data});

	# on the same connection a header alone, and another request

	my $head = $client->read($client->request('HEAD', '/status'));

	is($head->{end}, 'END_STREAM', "$name, HEAD, end");
	is(HTTP2::length_of($head), length $body, "$name, HEAD, length");
	is($head->{data}, '', "$name, HEAD, no body");
	is($client->read($client->request('GET', '/status'))->{end}, 'END_STREAM', "$name, again");

	my $gzip = $client->read($client->request('GET', '/status', 'gzip'));

	gunzip(\$gzip->{data}, \my $unpacked, Transparent => 0);

	is($gzip->{end}, 'END_STREAM', "$name, gzip, end");
	ok(($unpacked // '') eq $body, "$name, gzip, body");

	# the window is closed until the header is there, and opens by twice as much each time

	for my $window (0, 1) {
		my $client = HTTP2->new($window);
		my $stream = $client->request('GET', '/status');
		my $seen = $client->read($stream, sub { length $_[0]{headers} && length $_[0]{data} == $window });

		ok(HTTP2::ok($seen), "$name, window of $window, header");

		for (my $n = 1; !$seen->{end} && $n < 2 ** 24; $n *= 2) {
			my $due = length($seen->{data}) + $n;

			$client->update($stream, $n);
			$client->read($stream, sub { length $_[0]{data} == $due });
		}

		is($seen->{end}, 'END_STREAM', "$name, window of $window, end");
		ok($seen->{data} eq $body, "$name, window of $window, body") or diag(length($seen->{data}) . ' bytes');
	}
}

sub configure {
	my ($t, $padding) = @_;

	my $upstreams = upstreams($padding);
	my ($listen, $http2) = $t->has_version('1.25.1') ? ('', 'http2 on;') : ('http2', '');

	$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    gzip_types application/json;

$upstreams
    server {
        listen       127.0.0.1:8080 $listen sndbuf=16k;
        listen       127.0.0.1:8082;
        server_name  localhost;

        $http2

        location = /status {
            upstream_idle_status;
            gzip on;
        }

        location = /big {
        }
    }
}

EOF
}

###############################################################################
