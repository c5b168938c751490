#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the examples in nginx-conf/.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my @examples = glob "$FindBin::Bin/../nginx-conf/*.conf";

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(3 * @examples);

for my $port (8081, 8082) {
	$t->run_daemon(\&Backend::run, $t,
		port => port($port), log => $t->testdir() . "/backend-$port.log");
	$t->waitforsocket('127.0.0.1:' . port($port));
}

for my $example (@examples) {
	my ($name) = $example =~ m!([^/]+)$!;

	$t->write_file_expand('nginx.conf', for_test($example));
	$t->run();

	like(http_get('/'), qr/200 OK.*request \d+/s, "$name, answers");
	like(http_get('/'), qr/200 OK.*request \d+/s, "$name, answers again");

	$t->stop();

	unlike($t->read_file('error.log'), qr/\[(warn|error|crit)\]/, "$name, nothing to complain about");
}

###############################################################################

# An example with what the library needs: its own globals, and no daemon.

sub for_test {
	my ($file) = @_;

	open my $in, '<', $file or die "$file: $!\n";
	my $conf = do { local $/; <$in> };

	$conf =~ s/^load_module .*upstream_idle_timeout.*$/%%TEST_GLOBALS%%\ndaemon off;/m
		or die "$file does not load the module\n";
	$conf =~ s!access_log \K/\S+!%%TESTDIR%%/example.log!;
	$conf =~ s/^http \{$/http {\n%%TEST_GLOBALS_HTTP%%/m;

	return $conf;
}

###############################################################################
