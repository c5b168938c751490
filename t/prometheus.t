#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the status as Prometheus' own tools
# see it. They are looked for in the folder of the environment variable
# PROMETHEUS_DIR, where tools/prometheus can put them.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use JSON::PP ();

use Backend::Faulty;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $tools = $ENV{PROMETHEUS_DIR};

plan(skip_all => 'PROMETHEUS_DIR not set') unless $tools;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(14);

conf($t, http => <<'HTTP', server => <<'SERVER');
upstream_idle_timeout 60s margin=1500ms;

upstream u {
    server 127.0.0.1:8081;
    server 127.0.0.1:8082;
    keepalive 4;
}

upstream "we\"ird\\name\n" {
    server 127.0.0.1:8081;
    keepalive 4;
}
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_set_header Host localhost;

location / {
    proxy_pass http://u;
}

location /weird {
    proxy_pass "http://we\"ird\\name\n";
}

location /status {
    upstream_idle_status;
}

location /metrics {
    upstream_idle_status prometheus;
}
SERVER

my $d = $t->testdir();
my $server = '127.0.0.1:' . port(8090);

for my $port (8081, 8082) {
	$t->run_daemon(\&Backend::Faulty::run, $t, port => port($port), log => "$d/$port.log");
	$t->waitforsocket('127.0.0.1:' . port($port));
}

$t->write_file_expand('prometheus.yml', <<"EOF");
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
rule_files:
  - $FindBin::Bin/../nginx-conf/prometheus-alerts.yml
scrape_configs:
  - job_name: nginx
    static_configs:
      - targets: ["127.0.0.1:8080"]
EOF

$t->run();

###############################################################################

# nothing has happened yet

my ($out, $status) = promtool($t, content(get('/metrics')), 'check', 'metrics');

is($out, '', 'check metrics, zero');
is($status, 0, 'check metrics, zero, status');

# something of each kind

get($_) for ('/') x 4, ('/weird') x 2;

my ($number) = served(get('/weird'));

post('/?reused=reset');
get('/?reused=close');
Backend::Faulty::order({ port => port(8081) }, 'close', $number);

ok(wait_for(sub { figures()->{"we\"ird\\name\n"}{''}{'closes.peer'} }), 'figures');

($out, $status) = promtool($t, content(get('/metrics')), 'check', 'metrics');

is($out, '', 'check metrics');
is($status, 0, 'check metrics, status');

# the alerts

($out, $status) = promtool($t, '', 'check', 'rules', "$FindBin::Bin/../nginx-conf/prometheus-alerts.yml");

like($out, qr/SUCCESS: \d+ rules found/, 'check rules');
is($status, 0, 'check rules, status');

# a server that scrapes us

($out, $status) = promtool($t, '', 'check', 'config', "$d/prometheus.yml");

is($status, 0, 'check config') or diag($out);

$t->run_daemon(\&prometheus, $d, $tools, $server);

my @samples = samples(content(get('/metrics')));
my $target = wait_for(sub {
	my ($target) = @{api($server, '/api/v1/targets')->{activeTargets} // []};

	return ($target->{health} // '') =~ /up|down/ ? $target : undef;
}, 30);

is($target->{health}, 'up', 'scrape');
is($target->{lastError}, '', 'scrape, no error');

my ($scraped) = @{api($server, '/api/v1/query?query=scrape_samples_scraped')->{result}};

is($scraped->{value}[1], scalar @samples, 'scrape, all samples');

my $result = api($server, '/api/v1/query?query=%7B__name__%3D~%22nginx_upstream_idle_.%2B%22%7D')->{result};

is(scalar(@$result), scalar(@samples), 'query');
is(difference([map { text(known($_)) } @$result], [map { text(%$_) } @samples]), '', 'query, labels and values');

my ($group) = @{api($server, '/api/v1/rules')->{groups}};

is($group->{name}, 'nginx_upstream_idle', 'alerts loaded');

###############################################################################

# What promtool says on both of its outputs, and its status.

sub promtool {
	my ($t, $input, @arguments) = @_;

	my $d = $t->testdir();

	$t->write_file('promtool.in', $input);
	system("$tools/promtool @arguments <$d/promtool.in >$d/promtool.out 2>&1");

	return ($t->read_file('promtool.out'), $?);
}

# The server, for run_daemon().

sub prometheus {
	my ($d, $tools, $server) = @_;

	open STDOUT, '>', "$d/prometheus.out" or die "cannot write: $!\n";
	open STDERR, '>&', \*STDOUT;

	exec "$tools/prometheus", "--config.file=$d/prometheus.yml", "--storage.tsdb.path=$d/data",
		"--web.listen-address=$server" or die "cannot run prometheus: $!\n";
}

sub api {
	my ($server, $uri) = @_;

	my $socket = IO::Socket::INET->new(PeerAddr => $server) or return {};
	my $body = content(get($uri, socket => $socket)) // return {};

	return eval { JSON::PP->new->utf8->decode($body)->{data} } // {};
}

# A sample in the API's terms, in those of samples().

sub known {
	my ($sample) = @_;

	my %labels = %{$sample->{metric}};
	my $name = delete $labels{__name__};

	delete @labels{qw/instance job/};

	return (name => $name, labels => \%labels, value => $sample->{value}[1]);
}

sub text {
	my (%sample) = @_;

	my $labels = $sample{labels};

	return join ' ', $sample{name}, map({ "$_=$labels->{$_}" } sort keys %$labels), $sample{value} + 0;
}

# What is in one of the lists only.

sub difference {
	my ($these, $those) = @_;

	my %count;

	$count{$_}++ for @$these;
	$count{$_}-- for @$those;

	my @different = grep { $count{$_} } sort keys %count;

	return join "\n", @different > 5 ? (@different[0 .. 4], 'and so on') : @different;
}

###############################################################################
