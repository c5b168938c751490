package Shown;

# What the module shows, beside what the documentation says of it: metrics, labels, keys, parameters, variables, messages.

use warnings;
use strict;

use JSON::PP qw/decode_json/;
use Test::Nginx;

use Page;

use constant CONFIGURATION => 'nginx-conf/status-prometheus.conf';
use constant ALERTS => 'nginx-conf/prometheus-alerts.yml';

my @wrong;

sub wrong {
	my ($nginx, $module, $metrics, $directives) = @_;

	my ($text, $json) = status($nginx, $module);

	metrics($metrics, $text);
	keys_of_json($metrics, decode_json($json));
	parameters($directives);
	variables($directives);
	messages($metrics);

	return @wrong;
}

# Compares lists, both ways.

sub compare {
	my ($what, $documented, $shown) = @_;

	my %documented = map { $_ => 1 } @$documented;
	my %shown = map { $_ => 1 } @$shown;

	push @wrong, map { "$what: $_ is not documented" } grep { !$documented{$_} } sort keys %shown;
	push @wrong, map { "$what: $_ is documented, and there is no such thing" } grep { !$shown{$_} } sort keys %documented;
	push @wrong, "$what: nothing is found" unless %shown;
}

# The status, with the configuration that is an example of it.

sub status {
	my ($nginx, $module) = @_;

	$Test::Nginx::NGINX = $nginx;
	$ENV{TEST_NGINX_GLOBALS} = join ' ', "load_module $module;", $> == 0 ? 'user root;' : ();

	my $t = Test::Nginx->new();
	my $conf = Page::read_file(CONFIGURATION);

	$conf =~ s/^load_module .*$/%%TEST_GLOBALS%%\ndaemon off;/m;
	$conf =~ s!access_log \K/\S+!%%TESTDIR%%/example.log!;
	$conf =~ s/^http \{$/http {\n%%TEST_GLOBALS_HTTP%%/m;

	$t->write_file_expand('nginx.conf', $conf);
	$t->run();

	my ($metrics, $json) = map { body($_) } '/metrics', '/status';

	$t->stop();

	return ($metrics, $json);
}

sub body {
	my ($uri) = @_;

	my $response = http_get($uri, PeerAddr => '127.0.0.1:' . port(8085)) // '';
	my ($body) = $response =~ /^HTTP\S+ 200 .*?\r\n\r\n(.*)/s or die "$uri: $response\n";

	return $body;
}

sub metrics {
	my ($page, $text) = @_;

	my %type = $text =~ /^# TYPE (\S+) (\S+)$/mg;
	my %labels;

	# the name, the labels without values

	for my $line (grep { !/^#/ } split /\n/, $text) {
		my ($name, $labels) = $line =~ /^(\w+)\{(.*)\} / or die "metrics: $line\n";

		$name =~ s/_(?:bucket|sum|count)$// unless $type{$name};
		$labels{$name}{$_} = 1 for grep { $_ ne 'le' } $labels =~ /(\w+)="/g;
	}

	# one that has no value here shows no labels

	for my $row ($page->table('Metrics')) {
		my $name = bare($row->[0]);

		$labels{$name} = { map { $_ => 1 } $row->[3] =~ /`(\w+)`/g } if $type{$name} && !$labels{$name};
	}

	compare('metric', [map { join ' ', bare($_->[0]), @$_[1, 3] } $page->table('Metrics')],
		[map { my $name = $_; join ' ', $name, $type{$name}, join ', ', map { "`$_`" } in_order(keys %{$labels{$name}}) }
			keys %type]);

	compare($_, [map { bare($_->[0]) } $page->table($_)], [$text =~ /\b$_="(\w+)"/g]) for qw/reason kind evidence event/;

	push @wrong, map { ALERTS . ": no metric $_" } grep { my $name = $_; !grep { /^\Q$name\E$/ } keys %type }
		map { s/_(?:bucket|sum|count)$//r } Page::read_file(ALERTS) =~ /(nginx_upstream_idle_\w+)/g;
}

# upstream and peer come first, as in the status.

sub in_order {
	my $order = { upstream => 0, peer => 1, reason => 2, kind => 2, event => 2, evidence => 3 };

	return sort { $order->{$a} <=> $order->{$b} } @_;
}

sub bare {
	my ($cell) = @_;

	return $cell =~ /^`([^`]+)`$/ ? $1 : $cell;
}

sub keys_of_json {
	my ($page, $status) = @_;

	my ($upstream) = values %{$status->{upstreams}};
	my ($peer) = values %{$upstream->{peers}};

	compare('JSON', [map { bare($_->[0]) } grep { $_->[1] !~ /of a peer only/ } $page->table('JSON')], [keys %$upstream]);
	compare('JSON of a peer', [map { bare($_->[0]) } grep { $_->[1] !~ /of the upstream only/ } $page->table('JSON')],
		[keys %$peer]);
}

# The module's source, with the texts that are broken over lines put together.

sub source {
	my $text = join "\n", map { Page::read_file($_) =~ s/^#\[cfg\(test\)\].*//msr } split /\n/, `find src -name '*.rs'`;

	$text =~ s/\\\n\s*//g;

	return $text;
}

sub parameters {
	my ($page) = @_;

	my ($syntax) = map { $_->{text} } grep { $_->{text} =~ /^Syntax: +upstream_idle_timeout/ } $page->blocks();

	compare('parameter', [$syntax =~ /\[(\w+)=/g], [source() =~ /^\s*b"(\w+)"(?: if .*)? => policy\./mg]);
}

sub variables {
	my ($page) = @_;

	compare('variable', [map { $_->[1] =~ /^- `\$(\w+)`/ ? $1 : () } $page->lines()],
		[source() =~ /ngx_string!\("(upstream_\w+)"\), Some/g]);
}

# A message of the documentation has words in italics where that of the source has {}.

sub messages {
	my ($page) = @_;

	my @documented = map { same($_->[1] // $_->[0]) } $page->table('Log');
	my @shown = grep { / / && /\w{3}/ } map { same($_) } texts(source());

	push @wrong, map { "log: \"$_\" is not documented" } unmatched(\@shown, \@documented);
	push @wrong, map { "log: \"$_\" is documented, and there is no such message" } unmatched(\@documented, \@shown);
}

# What is written to the log, or about a mistake in the configuration.

sub texts {
	my ($source) = @_;

	my @texts = $source =~ /(?:::log::(?:error|warn|info)!|format_args!|pc\.warn|write!)\(\s*(?:f,\s*)?"((?:[^"\\]|\\.)*)"/g;

	push @texts, $source =~ /c"(is duplicate)"/g;

	return map { s/\\"/"/gr } @texts;
}

sub same {
	my ($text) = @_;

	$text =~ s/\{\w*\}|\*[^*]+\*|[0-9.]+ ms/*/g;

	return $text;
}

# Those of which none of the others says as much: one may be a part of the other.

sub unmatched {
	my ($these, $those) = @_;

	return grep { my $this = $_; !grep { covers($_, $this) || covers($this, $_) } @$those } @$these;
}

sub covers {
	my ($whole, $part) = @_;

	my @words = grep { /\w{3}/ } split /\*/, $part;
	my $pattern = join '.*', map { quotemeta s/^\s+|\s+$//gr } @words;

	return @words && $whole =~ /$pattern/;
}

1;
