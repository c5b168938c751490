#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the age at which idle connections go,
# as the backend measures it.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Conf;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(18);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream short {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 300ms margin=100ms;
}

upstream medium {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 1500ms margin=200ms;
}

upstream long {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 2500ms margin=0;
}

upstream default_margin {
    server 127.0.0.1:8081;
    keepalive 2;
    upstream_idle_timeout 2s;
}

# nginx leaves a timer alone that is less than 300 ms off

upstream lazy {
    server 127.0.0.1:8081;
    keepalive 2;
    keepalive_timeout 1s;
    upstream_idle_timeout 1s margin=150ms;
}

upstream keepalive_timeout {
    server 127.0.0.1:8081;
    keepalive 2;
    keepalive_timeout 400ms;
    upstream_idle_timeout 2s margin=1s;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";

location / {
    proxy_pass http://$arg_upstream;
}

location /lazy {
    proxy_pass http://lazy;
    proxy_read_timeout 1s;
}
SERVER

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# upstream, the age at which its connection goes

my %limit = (
	short => 200,
	medium => 1300,
	long => 2500,
	default_margin => 1000,
	lazy => 850,
	keepalive_timeout => 400,
);

# all connections are idle at the same time

my %number = map { $_ => connection($_) } keys %limit;

for my $upstream (sort keys %limit) {
	my $limit = $limit{$upstream};
	my $end = Backend::ended($t, $log, $number{$upstream});

	is($end->{end}, 'peer', "$upstream, closed by nginx");
	cmp_ok($end->{age}, '>', $limit - 15, "$upstream, not before $limit ms");
	cmp_ok($end->{age}, '<', $limit + 100, "$upstream, at $limit ms");
}

###############################################################################

sub connection {
	my ($upstream) = @_;

	my $uri = $upstream eq 'lazy' ? '/lazy' : '/';

	return http_get("$uri?upstream=$upstream") =~ /connection (\d+)/ ? $1 : undef;
}

###############################################################################
