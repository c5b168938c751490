#!/usr/bin/perl

# Tests for upstream_idle_timeout module, which of the alerts in nginx-conf/
# fire, by the rule tests of Prometheus' own promtool. It is looked for in the
# folder of the environment variable PROMETHEUS_DIR, where tools/prometheus can
# put it.

###############################################################################

use warnings;
use strict;

use Test::More;

use File::Temp qw/ tempdir /;
use FindBin;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $tools = $ENV{PROMETHEUS_DIR};

plan(skip_all => 'PROMETHEUS_DIR not set') unless $tools;

plan(tests => 6);

my $rules = tempdir('nginx-test-XXXXXXXXXX', TMPDIR => 1, CLEANUP => 1) . '/alerts.yml';

###############################################################################

# What happens each minute, for two hours; age is the sum of the ages at which
# reuses failed. The limit is 4 seconds.

fires('quiet', {}, '');

fires('the backend breaks off', { failures => { 'eof received' => 1 }, age => 1 }, 'NginxBackendBreaksOff');

fires('failures at the limit', { failures => { 'reset unknown' => 1 }, age => 3.9 },
	'NginxIdleMarginTooSmall NginxStaleReuses');

fires('failures long before the limit',
	{ failures => { 'eof closed' => 1, 'goaway unknown' => 1 }, age => 2, failed => 1 },
	'NginxIdleTimeoutTooLong NginxStaleConnectionErrors NginxStaleReuses');

fires('timeouts', { failures => { 'timeout received' => 5, 'timeout unknown' => 5 }, age => 10 },
	'NginxReuseTimeouts');

fires('the backend closes first', { closes => { peer => 1, unasked => 1, margin => 8 } }, 'NginxBackendClosesFirst');

###############################################################################

# Compares the names of the alerts that fire after two hours.

sub fires {
	my ($name, $minute, $expected) = @_;

	my ($failures, $closes) = ($minute->{failures} // {}, $minute->{closes} // {});
	my $count = 0;
	$count += $_ for values %$failures;

	my @series = (
		series('timeout_seconds', '', '5+0x120'),
		series('margin_seconds', '', '1+0x120'),
		growing('reuses_total', '', 100),
		growing('failed_requests_total', '', $minute->{failed} // 0),
		growing('age_seconds_sum', 'event="failure"', $minute->{age} // 0),
		growing('age_seconds_count', 'event="failure"', $count),
		map({ growing('closes_total', "reason=\"$_\"", $closes->{$_}) } sort keys %$closes),
		map({ growing('reuse_failures_total', labels(split), $failures->{$_}) } sort keys %$failures),
	);

	my $samples = join '', map { "\n          - labels: '{alertname=\"$_\", upstream=\"u\"}'\n            value: 1" }
		split ' ', $expected;

	open my $file, '>', $rules or die "cannot write $rules: $!\n";
	print $file <<"EOF";
rule_files:
  - $FindBin::Bin/../nginx-conf/prometheus-alerts.yml
tests:
  - interval: 1m
    input_series:
@{[join '', @series]}
    promql_expr_test:
      - expr: group by (alertname, upstream) (ALERTS{alertstate="firing"})
        eval_time: 2h
        exp_samples:$samples
EOF

	close $file;

	my $out = `$tools/promtool test rules $rules 2>&1`;

	is($?, 0, $name) or diag($out);
}

sub labels {
	my ($kind, $evidence) = @_;

	return "kind=\"$kind\",evidence=\"$evidence\"";
}

sub growing {
	my ($name, $labels, $step) = @_;

	return series($name, $labels, "0+${step}x120");
}

sub series {
	my ($name, $labels, $values) = @_;

	# the timeout and the margin are those of the upstream
	my $peer = $name =~ /^(?:timeout|margin)_/ ? '' : ',peer="127.0.0.1:8081"';

	return "      - series: 'nginx_upstream_idle_$name\{upstream=\"u\"$peer" . ($labels && ",$labels") . "}'\n"
		. "        values: '$values'\n";
}

###############################################################################
