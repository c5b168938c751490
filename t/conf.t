#!/usr/bin/perl

# Tests for upstream_idle_timeout module, configuration and its errors.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/);

my @good = (
	'upstream_idle_timeout 5s;',
	'upstream_idle_timeout 1500ms margin=200ms;',
	'upstream_idle_timeout 5s margin=0;',
	'upstream_idle_timeout 1m margin=59s;',
	'upstream_idle_timeout 1ms;',
	'upstream_idle_timeout off;',
	'',
);

my $in = 'in "upstream_idle_timeout" directive';

my @bad = (

	# the arguments, what nginx says about them

	['', "invalid number of arguments $in"],
	['foo', "invalid value \"foo\" $in"],
	['-5s', "invalid value \"-5s\" $in"],
	['5parsecs', "invalid value \"5parsecs\" $in"],
	['0', "invalid value \"0\" $in"],
	['""', "invalid value \"\" $in"],
	['99999999999999999999s', "invalid value \"99999999999999999999s\" $in"],
	['margin=1s', "invalid value \"margin=1s\" $in"],
	['5s margin', "invalid parameter \"margin\" $in"],
	['5s margin=', "invalid parameter \"margin=\" $in"],
	['5s margin=foo', "invalid parameter \"margin=foo\" $in"],
	['5s margin=-1s', "invalid parameter \"margin=-1s\" $in"],
	['5s foo=1s', "invalid parameter \"foo=1s\" $in"],
	['5s 6s', "invalid parameter \"6s\" $in"],
	['off margin=1s', "invalid parameter \"margin=1s\" $in"],
	['5s margin=1s margin=2s', "duplicate parameter \"margin=2s\" $in"],
	['5s margin=5s', "\"margin=5s\" must be less than the timeout \"5s\" $in"],
	['500ms margin=1m', "\"margin=1m\" must be less than the timeout \"500ms\" $in"],
	['5s; upstream_idle_timeout 5s', '"upstream_idle_timeout" directive is duplicate'],
	['off; upstream_idle_timeout off', '"upstream_idle_timeout" directive is duplicate'],
);

$t->plan(2 * @good + 4 * @bad + 13);

# in both contexts

for my $context (qw/http upstream/) {
	for (@good) {
		succeeds(check($t, $context => $_), "$context: $_");
	}

	for (@bad) {
		my ($arguments, $message) = @$_;

		fails(check($t, $context => "upstream_idle_timeout $arguments;"),
			$message, "$context: $arguments");
	}
}

fails(check($t, server => 'upstream_idle_timeout 5s;'),
	'"upstream_idle_timeout" directive is not allowed here', 'server');

# an upstream that keeps no connections; from 1.29.7 on it has to say so

my @none = (keepalive => $t->has_version('1.29.7') ? 'keepalive 0;' : '');

fails(check($t, upstream => 'upstream_idle_timeout 5s;', @none),
	'"upstream_idle_timeout" directive requires "keepalive" in upstream "u"', 'no keepalive');
succeeds(check($t, upstream => 'upstream_idle_timeout off;', @none), 'no keepalive, off');
succeeds(check($t, http => 'upstream_idle_timeout 5s;', @none), 'no keepalive, inherited');

# nginx closes connections earlier than it need to

my @early = (keepalive => 'keepalive 2; keepalive_timeout 3s;');
my @right = (keepalive => 'keepalive 2; keepalive_timeout 4s;');

warns(check($t, upstream => 'upstream_idle_timeout 5s;', @early), 'keepalive_timeout shorter');
warns(check($t, http => 'upstream_idle_timeout 5s;', @early), 'keepalive_timeout shorter, inherited');
succeeds(check($t, upstream => 'upstream_idle_timeout 5s;', @right), 'keepalive_timeout right');
succeeds(check($t, upstream => 'upstream_idle_timeout 5s margin=2s;', @early), 'margin larger');
succeeds(check($t, http => 'upstream_idle_timeout 5s;', upstream => 'upstream_idle_timeout off;',
	@early), 'keepalive_timeout shorter, off');

# nginx did not run: its log tells what is above only

$t->write_file('error.log', '');

###############################################################################

# What nginx says about a configuration, and the place of the directive in it.

sub check {
	my ($t, @conf) = @_;
	my %conf = (http => '', upstream => '', server => '', keepalive => 'keepalive 2;', @conf);

	$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    $conf{http}

    upstream u {
        $conf{upstream}
        server 127.0.0.1:8081;
        $conf{keepalive}
    }

    server {
        $conf{server}
        location / {
            proxy_pass http://u;
        }
    }
}

EOF

	my $out = $t->dump_config();
	my @lines = split /\n/, $t->read_file('nginx.conf');
	my ($line) = grep { $lines[$_ - 1] =~ /upstream_idle_timeout\b/ } 1 .. @lines;

	return ($out, $line);
}

sub fails {
	my ($out, $line, $message, $name) = @_;

	like($out, qr!\[emerg\] .*\Q$message\E in \S+/nginx.conf:$line\n!, $name);
	like($out, qr/test failed$/m, "$name, test");
}

sub succeeds {
	my ($out, $line, $name) = @_;

	like($out, qr/^(?!.*\[warn\]).*test is successful/s, $name);
}

sub warns {
	my ($out, $line, $name) = @_;

	my $message = '"keepalive_timeout" of 3000 ms in upstream "u" is shorter than '
		. "the 4000 ms of \"upstream_idle_timeout\" directive";

	like($out, qr!\[warn\] .*\Q$message\E in \S+/nginx.conf:$line\n!, $name);
	like($out, qr/test is successful$/m, "$name, test");
}

###############################################################################
