#!/usr/bin/perl

# Tests for upstream_idle_timeout module, a status that is as long as the
# buffers that it is in, a byte shorter, or a byte longer.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use IO::Uncompress::Gunzip qw/ gunzip /;

use Client;
use Conf;
use Padding;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive gzip ssi/)->plan(21);

configure($t, 0);

mkdir $t->testdir() . '/ssi';

$t->write_file('ssi/include.html', 'before <!--#include virtual="/status" --> after');
$t->run();

###############################################################################

my $padding = padding(length(content(get('/status'))), 16384);

for my $more (-1, 0, 1) {
	my $name = "$more to the buffers";

	configure($t, $padding + $more);

	$t->stop();
	$t->run();

	my $body = wait_for(sub { my $body = content(get('/status')); length($body) % 16384 == $more % 16384 && $body });

	ok($body, "$name, length");
	like($body, qr/^\{"upstreams":\{.*\}\}\n\z/s, "$name, whole");
	is(content(get('/ssi/include.html')), "before $body after", "$name, ssi include");

	# two requests on a connection: the first response has to have an end

	my $socket = ask('GET', '/status');

	is(content(answer($socket)), $body, "$name, connection kept");
	is(content(answer(ask('GET', '/status', $socket))), $body, "$name, again");

	my ($json, $prometheus) = map { gunzip(\$_, \my $unpacked, Transparent => 0); $unpacked }
		map { content(http("GET $_ HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")) }
		qw!/status /prometheus!;

	is($json, $body, "$name, gzip");
	is($prometheus, content(get('/prometheus')), "$name, gzip, prometheus");
}

###############################################################################

sub configure {
	my ($t, $padding) = @_;

	my $upstreams = upstreams($padding);

	conf($t, http => <<"HTTP", server => <<"SERVER");
gzip on;
gzip_http_version 1.0;
gzip_types application/json text/plain;

$upstreams
HTTP
location = /status {
    upstream_idle_status;
}

location = /prometheus {
    upstream_idle_status prometheus;
}

location /ssi/ {
    ssi on;
}
SERVER
}

###############################################################################
