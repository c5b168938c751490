#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the reasons why idle connections are
# closed: each is counted once, and nothing else is.

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

my $t = Test::Nginx->new()->has(qw/http proxy http_ssl upstream_keepalive socket_ssl/)
	->has_daemon('openssl')->plan(20);

my %where = (
	http => { port => port(8081) },
	https => { port => port(8082), tls => Certificate::create($t) },
);

my $stall = Stall->new($t);

for my $scheme (qw/http https/) {
	$t->run_daemon(\&Backend::Faulty::run, $t, %{$where{$scheme}}, log => $t->testdir() . "/$scheme.log");
	$t->waitforsocket("127.0.0.1:$where{$scheme}{port}");
}

my $upstreams = join "\n", map { upstreams($_) } qw/http https/;

$t->write_file_expand('nginx.conf', <<"EOF")->run();

%%TEST_GLOBALS%%

daemon off;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    $upstreams

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";

        location /http {
            proxy_pass http://\$arg_upstream;
        }

        location /https {
            proxy_pass https://\$arg_upstream;
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

###############################################################################

for my $scheme (qw/http https/) {
	my $peer = "127.0.0.1:$where{$scheme}{port}";
	my $before = figures();

	get(uri($scheme, 'margin'));
	is_changes($before, "${scheme}_margin $peer: closes.margin +1, connects +1", "$scheme, margin");

	$before = figures();

	get(uri($scheme, 'keepalive'));
	is_changes($before, "${scheme}_keepalive $peer: closes.keepalive +1, connects +1", "$scheme, keepalive");

	# the request that finds the connection late leaves another one, which goes in time

	$before = figures();

	$stall->twice('GET', uri($scheme, 'late'), 500);
	is_changes($before, "${scheme}_late $peer: closes.late +1, closes.margin +1, connects +2", "$scheme, late");

	# the backend closes the connection, or says something

	for my $how (qw/close fin reset chatter/) {
		my $closed = $how eq 'chatter' ? 'closes.unasked +1' : 'ages.peer_close +1, closes.peer +1';

		$before = figures();

		my ($number) = served(get(uri($scheme, 'peer')));

		Backend::Faulty::order($where{$scheme}, $how, $number);
		is_changes($before, "${scheme}_peer $peer: $closed, connects +1", "$scheme, peer, $how");
	}

	# two connections at a time, and a cache with room for one

	$before = figures();

	answers(map { get(uri($scheme, 'evicted') . '&delay=0.1', start => 1) } 1, 2);
	is_changes($before, "${scheme}_evicted $peer: closes.evicted +1, connections +1, connects +2",
		"$scheme, evicted");
}

# the worker ends, and leaves its connections

my $before = figures();

$t->reload();
is_changes($before, join('; ', map {
	"${_}_evicted 127.0.0.1:$where{$_}{port}: closes.shutdown +1, connections -1"
} qw/http https/), 'shutdown');

# the log has a line for each

$t->stop();

my @lines = grep { /idle connection to/ } split /\n/, $t->read_file('error.log');
my $line = qr/\[info\] .*idle connection to 127\.0\.0\.1:\d+ of upstream "\w+" closed after \d+ ms: \w+(?: while |$)/;

is(join("\n", grep { !/$line/ } @lines), '', 'log');
is(reasons('http', @lines), 'evicted 1, keepalive 1, late 1, margin 2, peer 3, shutdown 1, unasked 1', 'log, http');
is(reasons('https', @lines), 'evicted 1, keepalive 1, late 1, margin 2, peer 3, shutdown 1, unasked 1', 'log, https');

###############################################################################

sub upstreams {
	my ($scheme) = @_;
	my $port = $scheme eq "http" ? 8081 : 8082;

	my %conf = (
		margin => 'keepalive 2; upstream_idle_timeout 300ms margin=200ms;',
		late => 'keepalive 2; upstream_idle_timeout 700ms margin=200ms;',
		peer => 'keepalive 2; upstream_idle_timeout 30s;',
		evicted => 'keepalive 1; upstream_idle_timeout 30s;',
		keepalive => 'keepalive 2; keepalive_timeout 100ms; upstream_idle_timeout 30s;',
	);

	return map { "upstream ${scheme}_$_ { server 127.0.0.1:$port; $conf{$_} }" } sort keys %conf;
}

sub uri {
	my ($scheme, $upstream) = @_;

	return "/$scheme?upstream=${scheme}_$upstream";
}

# How often each reason is in the lines about a scheme's upstreams.

sub reasons {
	my ($scheme, @lines) = @_;

	my %count;

	/upstream "${scheme}_\w+" closed after \d+ ms: (\w+)/ and $count{$1}++ for @lines;

	return join ', ', map { "$_ $count{$_}" } sort keys %count;
}

###############################################################################
