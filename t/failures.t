#!/usr/bin/perl

# Tests for upstream_idle_timeout module, requests that fail on a reused
# connection: the kinds, and the requests that are answered with an error.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend::Faulty;
use Certificate;
use Client;
use Stall;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy rewrite http_ssl unix upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(73)
	->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream_idle_timeout 31s margin=2s;

    upstream plain {
        server 127.0.0.1:8081;
        keepalive 4;
    }

    upstream tls {
        server 127.0.0.1:8082;
        keepalive 4;
    }

    upstream unix {
        server unix:%%TESTDIR%%/unix.sock;
        keepalive 4;
    }

    upstream two {
        server 127.0.0.1:8081;
        server 127.0.0.1:8083 backup;
        keepalive 4;
    }

    upstream fallback {
        server 127.0.0.1:8083;
        keepalive 4;
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 5s;

        location /plain {
            proxy_pass http://plain;
        }

        location /tls {
            proxy_pass https://tls;
        }

        location /unix {
            proxy_pass http://unix;
        }

        location /silent/ {
            proxy_read_timeout 200ms;
            proxy_next_upstream error;

            location /silent/plain {
                proxy_pass http://plain;
            }

            location /silent/tls {
                proxy_pass https://tls;
            }

            location /silent/unix {
                proxy_pass http://unix;
            }
        }

        location /status500 {
            proxy_pass http://two;
            proxy_next_upstream http_500;
        }

        # what the client gets instead

        location /page {
            error_page 502 /page.html;
            proxy_pass http://plain;
        }

        location /ok {
            error_page 502 =200 @return;
            proxy_pass http://plain;
        }

        location @return {
            return 200 "fallback\n";
        }

        location /named {
            error_page 502 = @named;
            proxy_pass http://plain;
        }

        location @named {
            proxy_pass http://fallback;
        }

        location /missing {
            error_page 502 = @missing;
            proxy_pass http://plain;
        }

        location @missing {
            proxy_method GET;
            proxy_pass http://fallback/?fresh=status500&reused=status500&;
        }

        location = /page.html {
        }

        location /stall {
            access_log %%TESTDIR%%/stall.fifo;
            return 204;
        }

        location /status {
            upstream_idle_status;
        }
    }
}

EOF

my $d = $t->testdir();
my $stall = Stall->new($t);

my %where = (
	plain => { port => port(8081) },
	tls => { port => port(8082), tls => Certificate::create($t) },
	unix => { path => "$d/unix.sock" },
	fallback => { port => port(8083) },
);

my %peer = map { $_ => $where{$_}{path} ? "unix:$where{$_}{path}" : "127.0.0.1:$where{$_}{port}" } keys %where;

$t->write_file('page.html', "page\n");
$t->run_daemon(\&Backend::Faulty::run, $t, %{$where{$_}}, log => "$d/$_.log") for keys %where;

$where{$_}{path} ? $t->waitforfile($where{$_}{path}) : $t->waitforsocket($peer{$_}) for keys %where;

$t->run();

###############################################################################
