#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the errors of the status directive.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/);

my @good = map { "upstream_idle_status$_;" } '', ' json', ' prometheus', ' "json"';

my @bad = (

	# the directive, what nginx says about it

	['upstream_idle_status foo;', 'invalid value "foo" in "upstream_idle_status" directive'],
	['upstream_idle_status JSON;', 'invalid value "JSON" in "upstream_idle_status" directive'],
	['upstream_idle_status "";', 'invalid value "" in "upstream_idle_status" directive'],
	['upstream_idle_status json json;', 'invalid number of arguments in "upstream_idle_status" directive'],
	['upstream_idle_status; upstream_idle_status;', '"upstream_idle_status" directive is duplicate'],
	['upstream_idle_status json; upstream_idle_status prometheus;', '"upstream_idle_status" directive is duplicate'],
);

my @elsewhere = qw/main http upstream/;

$t->plan(2 * @good + 4 * @bad + 2 * @elsewhere);

for my $context (qw/server location/) {
	like((check($t, $context => $_))[0], qr/test is successful$/m, "$context: $_") for @good;

	for (@bad) {
		my ($directive, $message) = @$_;

		fails(check($t, $context => $directive), $message, "$context: $directive");
	}
}

fails(check($t, $_ => 'upstream_idle_status;'), '"upstream_idle_status" directive is not allowed here', $_)
	for @elsewhere;

# nginx did not run: its log tells what is above only

$t->write_file('error.log', '');

###############################################################################

# What nginx says about a configuration, and the place of the directive in it.

sub check {
	my ($t, @conf) = @_;
	my %conf = (main => '', http => '', upstream => '', server => '', location => '', @conf);

	$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

$conf{main}

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    $conf{http}

    upstream u {
        $conf{upstream}
        server 127.0.0.1:8081;
    }

    server {
        $conf{server}

        location / {
            $conf{location}
        }
    }
}

EOF

	my $out = $t->dump_config();
	my @lines = split /\n/, $t->read_file('nginx.conf');
	my ($line) = grep { $lines[$_ - 1] =~ /upstream_idle_status/ } 1 .. @lines;

	return ($out, $line);
}

sub fails {
	my ($out, $line, $message, $name) = @_;

	like($out, qr!\[emerg\] .*\Q$message\E in \S+/nginx.conf:$line\n!, $name);
	like($out, qr/test failed$/m, "$name, test");
}

###############################################################################
