#!/usr/bin/perl

# Tests for upstream_idle_timeout module, one of two servers is broken: it reads
# each second request and ends the connection in place of an answer.  That has
# nothing to do with idle connections, and counts as in stock nginx.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Faulty;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# how it ends the connection, after how many seconds of work; how many POSTs there are; how the failure is logged

my @cases = (
	{ how => 'close', work => 0, posts => 300, logged => 'eof, request received' },
	{ how => 'reset', work => 0, posts => 300, logged => 'reset, request unknown' },
	{ how => 'close', work => 0.3, posts => 40, logged => 'eof, request received' },
	{ how => 'reset', work => 0.3, posts => 40, logged => 'reset, request unknown' },
);

$_->{name} = "$_->{how}_" . $_->{work} * 1000 for @cases;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(6 * @cases);
my $upstreams = join '', map { block("stock_$_->{name}", ''), block($_->{name}, 'upstream_idle_timeout 5s;') } @cases;

conf($t, http => <<"HTTP", server => <<"SERVER");
$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://\$arg_upstream;
}

location /status {
    upstream_idle_status;
}
SERVER

my $d = $t->testdir();

# what only the broken one understands, they are both told

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => "$d/backend.log");
$t->run_daemon(\&Backend::Faulty::run, $t, port => port(8082), log => "$d/broken.log");
$t->run();

$t->waitforsocket('127.0.0.1:' . port($_)) for 8081, 8082;

###############################################################################

for my $case (@cases) {
	my ($name, $stock) = ($case->{name}, failed($case, "stock_$case->{name}"));
	my $failed = failed($case, $name);
	my @lines = grep { /reused connection .* failed.*\?upstream=$name\b/ } split /\n/, $t->read_file('error.log');
	my ($sent) = ($lines[0] // '') =~ /, sent (\d+) ms ago after \d+ ms idle, limit 4000 ms, a failure of the server/;

	cmp_ok($stock, '>=', 1, "$name, requests failed with stock nginx");
	cmp_ok($failed, '<=', $stock + 1, "$name, requests failed");
	is(figures()->{$name}{''}{failed_requests}, $case->{logged} =~ /received/ ? 0 : $failed, "$name, failed requests");
	is(scalar @lines, $failed, "$name, each is logged");
	is(scalar grep({ /\Q$case->{logged}\E/ } @lines), $failed, "$name, and what became of it");
	cmp_ok($sent // -1, '>=', $case->{work} * 1000, "$name, time since it was sent");
}

###############################################################################

# How many of the POSTs to an upstream have no answer of a backend.

sub failed {
	my ($case, $upstream) = @_;

	my $uri = "/?upstream=$upstream&reused=$case->{how}&work=$case->{work}";

	return scalar grep { !(served(post($uri)))[0] } 1 .. $case->{posts};
}

sub block {
	my ($name, $directive) = @_;

	return <<"EOF";

    upstream $name {
        server 127.0.0.1:8081;
        server 127.0.0.1:8082;
        keepalive 4;
        $directive
    }
EOF
}

###############################################################################
