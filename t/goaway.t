#!/usr/bin/perl

# Tests for upstream_idle_timeout module, HTTP/2 backends that answer the second
# request on a connection with a GOAWAY, or with something else that is no
# response.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use Backend;
use Backend::Goaway;
use Client;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my @goaways = qw/goaway none debug frames pieces twice/;

my $t = Test::Nginx->new()->has(qw/http grpc proxy rewrite http_v2 upstream_keepalive/);

# nginx speaks HTTP/2 to other backends, too, since 1.29.4

my @protocols = ('grpc', $t->has_version('1.29.4') ? 'proxy' : ());
my $proxy = @protocols == 2 ? <<'EOF' : '';

        proxy_http_version 2;

        location /proxy {
            proxy_pass http://proxy;
        }

        location /both_proxy {
            proxy_pass http://both_proxy;
            proxy_next_upstream error invalid_header;
        }
EOF

$t->plan((4 * @goaways + 13) * @protocols)->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    upstream_idle_timeout 30s;

    # with one server alone, nginx takes no notice of failures

    upstream grpc {
        server 127.0.0.1:8081;
        server 127.0.0.1:8082 backup;
        keepalive 4;
    }

    upstream proxy {
        server 127.0.0.1:8081;
        server 127.0.0.1:8082 backup;
        keepalive 4;
    }

    upstream both_grpc {
        server 127.0.0.1:8081;
        server 127.0.0.1:8082;
        keepalive 4;
    }

    upstream both_proxy {
        server 127.0.0.1:8081;
        server 127.0.0.1:8082;
        keepalive 4;
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;
        $proxy

        location /grpc {
            grpc_pass grpc;
        }

        location /page_grpc {
            grpc_pass grpc;
            error_page 502 = /no;
        }

        location /page_proxy {
            proxy_pass http://proxy;
            error_page 502 = /no;
        }

        location /no {
            return 204;
        }

        location /both_grpc {
            grpc_pass both_grpc;
            grpc_next_upstream error invalid_header;
        }

        location /status {
            upstream_idle_status;
        }
    }
}

EOF

my $d = $t->testdir();
my ($peer, $other) = map { '127.0.0.1:' . port($_) } 8081, 8082;

$Backend::Goaway::file = "$d/second";

for my $port (8081, 8082) {
	$t->run_daemon(\&Backend::run, $t, port => port($port), protocol => 'Backend::Goaway', log => "$d/$port.log",
		count => $port == 8081 ? 0 : 1000);
	$t->waitforsocket('127.0.0.1:' . port($port));
}

$t->run();

###############################################################################

for my $protocol (@protocols) {
	my $failed = 'ages.failure +1, ages.reuse +1';

	# the request is not carried out, which is no failure of the server

	for my $goaway (@goaways) {
		my ($before, $response) = second($t, $protocol, $goaway);

		like($response, qr/ 502 /, "$protocol, $goaway");
		is_changes($before, "$protocol $peer: $failed, connections -1, failed_requests +1, reuse_evidence.unknown +1, "
			. 'reuse_failures.goaway +1, reuses +1', "$protocol, $goaway, counted");

		like(last_report($t), qr/failed: goaway, request unknown, .* not a failure of the server/,
			"$protocol, $goaway, log");

		is(servers(get("/$protocol")), '1', "$protocol, $goaway, after that");
	}

	# what the client gets does not matter: a page in place of the error is none

	my ($page, $answer) = second($t, $protocol, 'goaway', "/page_$protocol");

	like($answer, qr/ 204 /, "$protocol, page");
	is(figures()->{$protocol}{''}{failed_requests} - $page->{$protocol}{''}{failed_requests}, 1, "$protocol, page, counted");

	# where nginx may repeat it, the next try is on a fresh connection, although there is an idle one

	my $both = "both_$protocol";

	$t->write_file('second', 'ours');
	get("/$both") until 2 == grep { /^127/ && figures()->{$both}{$_}{connections} } keys %{figures()->{$both}};
	$t->write_file('second', 'goaway');

	my $before = figures();

	is((served(get("/$both")))[1], 1, "$protocol, again");

	my $after = figures()->{$both}{''};

	is($after->{'reuse_failures.goaway'}, 1, "$protocol, again, one failure");
	is($after->{'closes.dead'}, 1, "$protocol, again, the other connection is not tried");
	is($after->{failed_requests}, 0, "$protocol, again, not given up");

	# a GOAWAY that lets the request through

	for my $goaway (qw/ours graceful/) {
		my ($before, $response) = second($t, $protocol, $goaway);

		is((served($response))[1], 2, "$protocol, $goaway");
		is_changes($before, "$protocol $peer: ages.reuse +1, connections -1, reuses +1", "$protocol, $goaway, counted");
	}

	# frames that are no response, and then the end of the connection

	my $response;

	($before, $response) = second($t, $protocol, 'close');

	is(servers($response), '2', "$protocol, closed, repeated");
	is_changes($before, "$protocol $peer: $failed, connections -1, reuse_evidence.received +1, reuse_failures.eof +1, "
		. "reuses +1; $protocol $other: connections +1, connects +1", "$protocol, closed, counted");
	like(last_report($t), qr/failed: eof, request received, .* idle, limit 29000 ms, a failure of the server/,
		"$protocol, closed, log");
}

###############################################################################

# A request on a connection that is idle, to which that is done: the figures before it, and the response.

sub second {
	my ($t, $protocol, $what, $uri) = @_;

	$t->write_file('second', 'ours');
	get("/$protocol") until figures()->{$protocol}{$peer}{connections};
	$t->write_file('second', $what);

	my $before = figures();

	return ($before, get($uri // "/$protocol"));
}

sub last_report {
	my ($t) = @_;

	return (grep { /reused connection/ } split /\n/, $t->read_file('error.log'))[-1] // '';
}

###############################################################################
