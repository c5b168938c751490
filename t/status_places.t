#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the status in all the places where a
# content handler can stand: subrequests, internal redirects, conditions.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive rewrite access ssi mirror charset/)->plan(36);

# more than fits one buffer of the status

my $upstreams = join '', map { <<"EOF" } 1 .. 40;
    upstream u$_ {
        server 127.0.0.1:8081;
        keepalive 2;
        upstream_idle_timeout 60s;
    }
EOF

my $addition = $t->has_module('addition') ? <<'EOF' : '';
        location /before/ {
            add_before_body /status;
        }

        location /after/ {
            add_after_body /status;
        }

        location /around/ {
            add_before_body /prometheus;
            add_after_body /status;
        }
EOF

my $auth_request = $t->has_module('auth_request') ? <<'EOF' : '';
        location /auth/ {
            auth_request /status;
        }
EOF

conf($t, http => <<"HTTP", server => <<"SERVER");
default_type text/html;
subrequest_output_buffer_size 1m;

$upstreams
HTTP
location = /status {
    upstream_idle_status;

    if (\$arg_if) {
        add_header X-If yes;
    }
}

location = /prometheus {
    upstream_idle_status prometheus;
}

location = /charset {
    upstream_idle_status prometheus;
    charset koi8-r;
    charset_types text/plain;
}

location = /limited {
    upstream_idle_status;

    limit_except GET {
        deny all;
    }
}

location /ssi/ {
    ssi on;
}

location /mirror/ {
    mirror /status;
}

location /post_action/ {
    post_action /status;
}

location /try_files/ {
    try_files /none /status;
}

location /rewrite/ {
    rewrite ^ /status;
}

location /error_page/ {
    error_page 404 /status;
}

location /error_page_200/ {
    error_page 404 405 =200 /status;
}

location /accel/ {
    proxy_pass http://127.0.0.1:8082/;
}
$addition
$auth_request
    }

    # sends nginx to the status, with a type that is not the status'

    server {
listen       127.0.0.1:8082;
server_name  localhost;

default_type "text/html; charset=koi8-r";
add_header X-Accel-Redirect \$uri;

return 200 "elsewhere\\n";
SERVER

my @folders = qw/mirror post_action error_page_200 before after around auth/;

mkdir $t->testdir() . "/$_" for 'ssi', @folders;

$t->write_file("$_/index.html", "index\n") for @folders;
$t->write_file('ssi/include.html', 'before <!--#include virtual="/status" --> after');
$t->write_file('ssi/twice.html', '<!--#include virtual="/status" -->, <!--#include virtual="/prometheus" -->');
$t->write_file('ssi/set.html', '<!--#include virtual="/status" set="s" -->[<!--#echo var="s" encoding="none" -->]');
$t->write_file('ssi/if.html', 'before <!--#include virtual="/status?if=1" --> after');
$t->write_file('ssi/nested.html', 'before <!--#include virtual="/ssi/include.html" -->');

$t->run();

###############################################################################

# nothing is counted meanwhile, so the status is the same everywhere

my ($json, $prometheus) = map { content(get($_)) } qw!/status /prometheus!;

cmp_ok(length($json), '>', 2 * 16384, 'several buffers');

# a part of another response

is(content(get('/ssi/include.html')), "before $json after", 'ssi include');
is(content(get('/ssi/twice.html')), "$json, $prometheus", 'ssi include, two of them');
is(content(get('/ssi/set.html')), "[$json]", 'ssi include set');
is(content(get('/ssi/if.html')), "before $json after", 'ssi include, if');
is(content(get('/ssi/nested.html')), "before before $json after", 'ssi include in an include');
is(content(head('/ssi/include.html')), '', 'ssi include, HEAD');
is(ask_to_the_end('/ssi/include.html'), "before $json after", 'ssi include, connection kept');

SKIP: {
	skip 'no addition available', 6 unless $addition;

	is(content(get('/before/index.html')), "${json}index\n", 'add_before_body');
	is(content(get('/after/index.html')), "index\n$json", 'add_after_body');
	is(content(get('/around/index.html')), "${prometheus}index\n$json", 'add_before_body and add_after_body');
	like(get('/before/index.html'), qr/^HTTP\S+ 200 OK\r\n/, 'add_before_body, header first');
	is(content(head('/before/index.html')), '', 'add_before_body, HEAD');
	is(ask_to_the_end('/around/index.html'), "${prometheus}index\n$json", 'addition, connection kept');
}

# one that nobody sees

is(content(get('/mirror/index.html')), "index\n", 'mirror');
is(content(get('/post_action/index.html')), "index\n", 'post_action');

SKIP: {
	skip 'no auth_request available', 2 unless $auth_request;

	like(get('/auth/index.html'), qr/\AHTTP\S+ 200 OK\r\n/, 'auth_request, header first');
	is(content(get('/auth/index.html')), "index\n", 'auth_request');
}

# by way of another location

is(content(get("/$_/x")), $json, $_) for qw/try_files rewrite/;

my $error = get('/error_page/none');

like($error, qr/^HTTP\S+ 404 /, 'error_page, status code');
is(content($error), $json, 'error_page');
is(header($error, 'Content-Length'), length($json), 'error_page, length');
like(get('/error_page_200/none'), qr/^HTTP\S+ 200 /, 'error_page, another status code');
is(content(post('/error_page_200/index.html')), $json, 'error_page, POST');

my ($to_json, $to_prometheus) = map { get("/accel$_") } qw!/status /prometheus!;
my $type = 'text/plain; version=0.0.4; charset=utf-8';

is(content($to_json), $json, 'X-Accel-Redirect');
is(header($to_json, 'Content-Type'), 'application/json', 'X-Accel-Redirect, type');
is(content($to_prometheus), $prometheus, 'X-Accel-Redirect, prometheus');
is(header($to_prometheus, 'Content-Type'), $type, 'X-Accel-Redirect, prometheus, type');
is(header(get('/charset'), 'Content-Type'), $type, 'charset');

# conditions

my $if = get('/status?if=1');

is(header($if, 'X-If'), 'yes', 'if');
is(content($if), $json, 'if, content');
is(content(get('/limited')), $json, 'limit_except');
like(post('/limited'), qr/^HTTP\S+ 403 /, 'limit_except, denied');

# there is nothing to be had in part, and no date to compare

for ('Range: bytes=0-9', 'If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT') {
	like(http("GET /status HTTP/1.0\r\nHost: localhost\r\n$_\r\n\r\n"), qr/^HTTP\S+ 200 .*\Q$json\E\z/s, $_);
}

###############################################################################

sub head {
	my ($uri) = @_;

	return http("HEAD $uri HTTP/1.0\r\nHost: localhost\r\n\r\n");
}

sub header {
	my ($response, $name) = @_;

	return ($response // '') =~ /^$name: (.*)\r$/m ? $1 : '';
}

# The content that comes in chunks on a connection that is kept, and whether it has an end.

sub ask_to_the_end {
	my ($uri) = @_;

	my $chunks = content(answer(ask('GET', $uri))) // '';
	my $content = '';

	while ($chunks =~ s/^([0-9a-f]+)\r\n//i && hex $1) {
		$content .= substr $chunks, 0, hex $1, '';
		$chunks =~ s/^\r\n//;
	}

	return $content . ($chunks eq "\r\n" ? '' : '(no end)');
}

###############################################################################
