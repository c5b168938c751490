package Rest;

# What has to hold when the load is over: the figures agree with the access log and with the kernel, no connection is left
# behind, and there was no alert but those that were expected.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ at_rest balance total given_up alerts /;

use List::Util qw/ sum0 /;
use Test::More;

use Status;
use Workers;

# Four tests, and a line for the table. Options:
#
#     name        of the fault
#     requests    how many there were
#     lost        how many of them failed
#     unknown     how many requests' ends the log may not tell, since their workers were killed or ended
#     leaked      how many connections, where the kernel can't be asked: unix sockets
#     alerts      a regular expression of those that are expected
#     text        more figures

sub at_rest {
	my ($t, %option) = @_;

	my $unknown = $option{unknown} // 0;
	my ($counted, $cached, $leaked) = balance($t, $unknown);

	$leaked = $option{leaked} // $leaked;

	cmp_ok(abs $counted, '<=', $unknown, "$option{name}, connects and reuses");
	cmp_ok(abs $cached, '<=', $unknown, "$option{name}, what came to the cache and left");
	is($leaked, 0, "$option{name}, leaked connections");

	my @alerts = alerts($t);
	my @others = $option{alerts} ? grep { !/$option{alerts}/ } @alerts : @alerts;

	is("@others", '', "$option{name}, alerts");

	line($option{name}, requests => $option{requests}, lost => $option{lost},
		alerts => @alerts - @others ? @others . ' (expected ' . (@alerts - @others) . ')' : scalar @others,
		leaked => $leaked, counters => exactness($unknown, $counted, $cached), $option{text});
}

# What there is too much of: requests that are counted, connections that left the cache or are there, and connections that
# nginx has and does not show as idle. Waits for some seconds for each to be none, or no more than so many. With names, the
# first two are of these upstreams alone.

sub balance {
	my ($t, $unknown, @names) = @_;

	my $leaked = near(sub { connections(workers($t)) - total()->{connections} }, 0);
	my $counted = near(sub { counted(total(@names)) - grep({ $_->{established} } tries($t, @names)) }, $unknown);
	my $cached = near(sub { left(total(@names)) - grep({ $_->{kept} } tries($t, @names)) }, $unknown);

	return ($counted, $cached, $leaked);
}

# The figures of these upstreams together, or of all.

sub total {
	my @names = @_;

	my $figures = figures();
	my %sum;

	for my $upstream (map { $_->{''} } @$figures{@names ? @names : keys %$figures}) {
		$sum{$_} += $upstream->{$_} for keys %$upstream;
	}

	return \%sum;
}

# The tries that the log tells of: hashes of established and kept.

sub tries {
	my ($t, @names) = @_;

	my $wanted = @names ? join '|', @names : '';

	return map { of_line($_) } grep { /upstream=(?:$wanted)/ } split /\n/, $t->read_file('tries.log');
}

# How many requests failed by a reuse that no backend has received, as far as the log tells.

sub given_up {
	my ($t) = @_;

	return scalar grep { /^502\|(?:[^|]*\|){4}(?:[^|]*, )?(?:unwritten|refused|closed|unknown)\|/ }
		split /\n/, $t->read_file('tries.log');
}

sub alerts {
	my ($t) = @_;

	return grep { /^\S+ \S+ \[(?:alert|emerg)\]/ } split /\n/, $t->read_file('error.log');
}

###############################################################################

# A connection is the module's business once something was sent on it, and goes to the cache with a good response: the
# suites put keepalive_requests out of reach.

sub of_line {
	my ($line) = @_;

	my (undef, $addr, $statuses, $reused, $sent, undef, $uri) = split /\|/, $line;
	my @peers = split /, /, $addr;
	my @rest = map { [split /, /] } $statuses, $reused, $sent;

	return map { {
		established => scalar($rest[1][$_] eq '1' || $rest[2][$_] =~ /^[1-9]/),
		kept => scalar($rest[0][$_] =~ /^(?:200|500)$/ && $rest[2][$_] =~ /^[1-9]/ && $uri !~ /last=/),
	} } grep { $peers[$_] =~ /:/ } 0 .. $#peers;
}

sub counted {
	my ($figures) = @_;

	return ($figures->{connects} // 0) + ($figures->{reuses} // 0);
}

# What has left the cache, or is still there.

sub left {
	my ($figures) = @_;

	return sum0(map { $figures->{$_} } grep { /^closes\.|^(?:reuses|connections)$/ } keys %$figures);
}

# What a difference comes to when it had some seconds to settle.

sub near {
	my ($difference, $bound) = @_;

	my $result;

	wait_for(sub { abs($result = $difference->()) <= $bound });

	return $result;
}

sub exactness {
	my ($unknown, @off) = @_;

	return 'exact' unless grep { $_ } @off;

	return "off by @off" . (grep({ abs > $unknown } @off) ? '' : " (may be off by $unknown)");
}

sub line {
	my ($name, @figures) = @_;

	my $text = pop @figures;
	my @pairs;

	push @pairs, join ' ', splice @figures, 0, 2 while @figures;

	my $line = sprintf '%-24s %s', $name, join ', ', @pairs, $text // ();

	note($line);

	return unless $ENV{FAULTS_TABLE};

	open my $table, '>>', $ENV{FAULTS_TABLE} or die "$ENV{FAULTS_TABLE}: $!\n";
	print $table "$line\n";
}

1;
