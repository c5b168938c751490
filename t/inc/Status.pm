package Status;

# The figures that the module shows at /status, as JSON, and what has changed in them.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ status figures samples changes is_changes wait_for content /;

use JSON::PP ();
use Test::More;

use Client qw/ get now /;

sub status {
	my ($response) = @_;

	return JSON::PP->new->utf8->decode(content($response // get('/status')) // '{}');
}

sub content {
	my ($response) = @_;

	return ($response // '') =~ /\r\n\r\n(.*)/s ? $1 : undef;
}

# The figures now, or those in a response, by upstream and then by peer, and those of all peers of an upstream under the empty name. Numbers that
# are below others have names such as "closes.peer". Of the ages there is only how many were seen.

sub figures {
	my $upstreams = status(@_)->{upstreams};
	my %figures;

	for my $name (keys %$upstreams) {
		my $peers = delete $upstreams->{$name}{peers};

		$figures{$name}{''} = flat($upstreams->{$name});
		$figures{$name}{$_} = flat($peers->{$_}) for keys %$peers;
	}

	return \%figures;
}

# The samples in Prometheus' text format: hashes of name, labels and value, and what is not understood as "error".

sub samples {
	my ($text) = @_;

	return map { sample($_) } grep { !/^#/ } split /\n/, $text // '';
}

# What is different from the figures before, such as "u 127.0.0.1:8081: closes.peer +1, connections -1".

sub changes {
	my ($before) = @_;

	my $after = figures();
	my @changes;

	for my $upstream (sort keys %$after) {
		my @peers = grep { $_ ne '' } sort keys %{$after->{$upstream}};
		my %sum;

		for my $peer (@peers) {
			my $difference = difference($before->{$upstream}{$peer} // {}, $after->{$upstream}{$peer});

			$sum{$_} += $difference->{$_} for keys %$difference;
			push @changes, "$upstream $peer: " . text($difference) if %$difference;
		}

		my $total = text(difference($before->{$upstream}{''} // {}, $after->{$upstream}{''}));

		push @changes, "$upstream: $total" if $total ne text(\%sum);
	}

	return join '; ', sort @changes;
}

# That this, and only this, becomes of the figures, within five seconds.

sub is_changes {
	my ($before, $expected, $name) = @_;

	$expected = join '; ', sort split /; /, $expected;

	wait_for(sub { changes($before) eq $expected });
	is(changes($before), $expected, $name);
}

# What the condition returns when it is true, or nothing after five seconds, or as many as are given.

sub wait_for {
	my ($condition, $seconds) = @_;

	my $end = now() + ($seconds // 5) * 1000;
	my $result;

	until ($result = $condition->()) {
		return if now() > $end;
		select undef, undef, undef, 0.02;
	}

	return $result;
}

###############################################################################

sub sample {
	my ($line) = @_;

	my ($name, $labels, $value) = $line =~ /^(\w+)\{((?:\w+="(?:[^"\\\n]|\\.)*",?)*)\} ([\d.]+)$/ or return { error => $line };
	my %labels = $labels =~ /(\w+)="((?:[^"\\]|\\.)*)"/g;

	s/\\(.)/$1 eq 'n' ? "\n" : $1/ge for values %labels;
	utf8::decode($_) for values %labels;

	return { name => $name, labels => \%labels, value => $value };
}

sub flat {
	my ($figures) = @_;

	my %flat = %$figures;

	delete @flat{qw/timeout_ms margin_ms learned/};

	my $ages = delete $flat{ages};
	$flat{"ages.$_"} = $ages->{$_}{count} for keys %$ages;

	for my $name (qw/closes reuse_failures reuse_evidence repeats/) {
		my $group = delete $flat{$name};
		$flat{"$name.$_"} = $group->{$_} for keys %$group;
	}

	return \%flat;
}

sub difference {
	my ($before, $after) = @_;

	my %difference = map { $_ => $after->{$_} - ($before->{$_} // 0) } keys %$after;

	return { map { $_ => $difference{$_} } grep { $difference{$_} } keys %difference };
}

sub text {
	my ($difference) = @_;

	return join ', ', map { sprintf '%s %+d', $_, $difference->{$_} }
		grep { $difference->{$_} } sort keys %$difference;
}

1;
