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
	'upstream_idle_timeout auto;',
	'upstream_idle_timeout auto margin=2s;',
	'upstream_idle_timeout auto hint=on;',
	'upstream_idle_timeout auto hint=off;',
	'upstream_idle_timeout auto learn=report;',
	'upstream_idle_timeout auto learn=off;',
	'upstream_idle_timeout auto margin=auto learn=on;',
	'upstream_idle_timeout 5s learn=on;',
	'upstream_idle_timeout 5s margin=auto;',
	'upstream_idle_timeout 5s learn=off;',
	'upstream_idle_timeout 5s hint=off;',
	'upstream_idle_timeout 5s probe=0;',
	'upstream_idle_timeout 5s probe=10s;',
	'upstream_idle_timeout 5s probe=off;',
	'upstream_idle_timeout 5s non_idempotent=0;',
	'upstream_idle_timeout 5s non_idempotent=100ms;',
	'upstream_idle_timeout 5s non_idempotent=off;',
	'upstream_idle_timeout 5s fails=on;',
	'upstream_idle_timeout auto fails=off non_idempotent=1s probe=1ms hint=on margin=0;',
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
	['auto; upstream_idle_timeout 5s', '"upstream_idle_timeout" directive is duplicate'],
	['AUTO', "invalid value \"AUTO\" $in"],
	['auto 5s', "invalid parameter \"5s\" $in"],
	['5s auto', "invalid parameter \"auto\" $in"],
	['5s off', "invalid parameter \"off\" $in"],
	['off fails=off', "invalid parameter \"fails=off\" $in"],
	['auto hint=off learn=off', "\"hint=off\" leaves \"auto\" no timeout $in"],
	['auto learn=report hint=off', "\"hint=off\" leaves \"auto\" no timeout $in"],
	['auto margin=auto learn=off', "\"margin=auto\" is not possible with \"learn=off\" $in"],
	['5s margin=auto learn=off', "\"margin=auto\" is not possible with \"learn=off\" $in"],
	['5s learn', "invalid parameter \"learn\" $in"],
	['5s learn=yes', "invalid parameter \"learn=yes\" $in"],
	['5s margin=AUTO', "invalid parameter \"margin=AUTO\" $in"],
	['5s learn=on learn=report', "duplicate parameter \"learn=report\" $in"],
	['5s margin=auto margin=1s', "duplicate parameter \"margin=1s\" $in"],
	['5s hint', "invalid parameter \"hint\" $in"],
	['5s hint=5s', "invalid parameter \"hint=5s\" $in"],
	['5s margin=off', "invalid parameter \"margin=off\" $in"],
	['5s probe', "invalid parameter \"probe\" $in"],
	['5s probe=on', "invalid parameter \"probe=on\" $in"],
	['5s probe=-1', "invalid parameter \"probe=-1\" $in"],
	['5s non_idempotent=', "invalid parameter \"non_idempotent=\" $in"],
	['5s non_idempotent=on', "invalid parameter \"non_idempotent=on\" $in"],
	['5s non-idempotent=0', "invalid parameter \"non-idempotent=0\" $in"],
	['5s fails=0', "invalid parameter \"fails=0\" $in"],
	['5s FAILS=on', "invalid parameter \"FAILS=on\" $in"],
	['5s hint=on hint=off', "duplicate parameter \"hint=off\" $in"],
	['5s probe=0 fails=on probe=0', "duplicate parameter \"probe=0\" $in"],
	['5s non_idempotent=0 non_idempotent=off', "duplicate parameter \"non_idempotent=off\" $in"],
	['auto fails=on fails=on', "duplicate parameter \"fails=on\" $in"],
);

$t->plan(2 * @good + 4 * @bad + 23);

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

# the default of nginx is nobody's wish

my @longer = check($t, upstream => 'upstream_idle_timeout 65s;', keepalive => 'keepalive 2; keepalive_timeout 61s;');

succeeds(check($t, upstream => 'upstream_idle_timeout 65s;'), 'keepalive_timeout default');
succeeds(check($t, http => 'upstream_idle_timeout 65s;'), 'keepalive_timeout default, inherited');
like($longer[0], qr/\[warn\] .*"keepalive_timeout" of 61000 ms .* shorter than the 64000 ms /, 'keepalive_timeout set');

# nothing of the directive in http{} is left where the upstream has its own

my @short = (keepalive => 'keepalive 2; keepalive_timeout 2s;');

succeeds(check($t, http => 'upstream_idle_timeout 5s hint=off;',
	upstream => 'upstream_idle_timeout auto;', @right), 'replaced, hint');
succeeds(check($t, http => 'upstream_idle_timeout 5s margin=4s;',
	upstream => 'upstream_idle_timeout 3s;', @short), 'replaced, margin');
warns(check($t, upstream => 'upstream_idle_timeout 5s;', http => 'upstream_idle_timeout 5s margin=3s;',
	@early), 'replaced, margin, keepalive_timeout shorter');

# what a backend says is not known yet, nor is it longer than what nginx itself allows

succeeds(check($t, upstream => 'upstream_idle_timeout auto;', @short), 'auto, any keepalive_timeout');
succeeds(check($t, http => 'upstream_idle_timeout auto;', @none), 'auto, no keepalive, inherited');
succeeds(check($t, upstream => 'upstream_idle_timeout off;', http => 'upstream_idle_timeout auto;',
	@none), 'auto, replaced by off');

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
	my $line = (grep { $lines[$_ - 1] =~ /upstream_idle_timeout\b/ } 1 .. @lines)[-1];

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
