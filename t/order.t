#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the order of directives makes no
# difference.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Client;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)
	->has(qw/upstream_least_conn upstream_hash upstream_zone/);

my %directive = (
	idle => 'upstream_idle_timeout 500ms margin=200ms;',
	keepalive => 'keepalive 2;',
	server => 'server 127.0.0.1:8081;',
	least_conn => 'least_conn;',
	hash => 'hash $arg_key consistent;',
);

my @groups = (
	[qw/idle keepalive server/],
	[qw/idle keepalive server least_conn/],
	[qw/idle keepalive server hash/],
	[qw/idle keepalive server zone/],
);

# nginx wants "keepalive" after the balancer

my @upstreams = grep { !/keepalive.*(least_conn|hash)/ } map { permutations(@$_) } @groups;

my $upstreams = join '', map { block($_) } @upstreams;

$t->plan(3 * @groups + 3)->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream before_http_level {
        server 127.0.0.1:8081;
        keepalive 2;
    }

    $upstreams

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";

        location / {
            proxy_pass http://\$arg_upstream;
        }
    }

    upstream_idle_timeout 700ms margin=100ms;
}

EOC

my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => $log);
$t->run();

$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# all connections are idle at the same time

my %number = map { $_ => (served(get("/?upstream=$_&key=1")))[0] } @upstreams, 'before_http_level';
my %end;

@end{keys %number} = Backend::ended($t, $log, values %number);

for my $group (@groups) {
	my $words = join '_', sort @$group;
	my @group = grep { join('_', sort split /_(?!conn)/) eq $words } @upstreams;

	is(join(' ', grep { $end{$_}{end} ne 'peer' } @group), '', "$words, closed by nginx");
	is(join(' ', grep { $end{$_}{age} < 285 } @group), '', "$words, not before 300 ms");
	is(join(' ', grep { $end{$_}{age} > 400 } @group), '', "$words, at 300 ms");
}

my $end = $end{before_http_level};

is($end->{end}, 'peer', 'http level, closed by nginx');
cmp_ok($end->{age}, '>', 585, 'http level, not before 600 ms');
cmp_ok($end->{age}, '<', 700, 'http level, at 600 ms');

###############################################################################

# All orders of the words, each joined to a name.

sub permutations {
	my @words = @_;

	return @words if @words < 2;

	return map {
		my $i = $_;
		map { "$words[$i]_$_" } permutations(@words[grep { $_ != $i } 0 .. $#words]);
	} 0 .. $#words;
}

sub block {
	my ($name) = @_;

	my @lines = map { $directive{$_} // "zone $name 64k;" } split /_(?!conn)/, $name;

	return join "\n        ", "    upstream $name {", @lines, "}\n\n";
}

###############################################################################
