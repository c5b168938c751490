package Hog;

# More clients at the same time than nginx has room for, next to some that go on as they did.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ hog /;

use Test::More;

use Backend::Faulty;
use Client;
use Load;
use Rest;
use Setup;
use Status;
use Test::Nginx;

use constant { CLIENTS => 3, ROUNDS => 8, AFTER => 200 };

# Runs nginx, and makes eight tests. Options:
#
#     name            of the fault
#     main, events    what makes room scarce
#     hogs            how many clients there are at the same time
#     alerts          a regular expression of what nginx says about it

sub hog {
	my ($t, %option) = @_;

	my %where = (port => port(8081));

	configure($t, workers => 1, main => $option{main}, events => $option{events},
		http => 'upstream u { server 127.0.0.1:8081; keepalive 16; keepalive_requests 1000000; upstream_idle_timeout 30s; }');

	$t->run_daemon(\&Backend::Faulty::run, $t, %where, log => '/dev/null');
	$t->waitforsocket("127.0.0.1:$where{port}");
	$t->run();

	my $load = Load->new($t, clients => CLIENTS, choose => sub { (rand(2) < 1 ? 'GET' : 'POST', '/?upstream=u') });
	my @times = map { scarce($option{hogs}) } 1 .. ROUNDS;
	my ($made, @lost) = $load->stop();

	check($t, \%where, \%option, \@times, $made, @lost);
}

###############################################################################

# So many requests that take their time, and when they began and ended.

sub scarce {
	my ($count) = @_;

	my $begun = now();

	answers(grep { defined } map { get('/?upstream=u&delay=0.2', start => 1) } 1 .. $count);

	my $ended = now();

	select undef, undef, undef, 0.7;

	return [$begun, $ended];
}

sub check {
	my ($t, $where, $option, $times, $made, @lost) = @_;

	my $name = $option->{name};

	# nginx accepts no connection for half a second after it could not

	my @unexplained = grep { my $lost = $_; !grep { $lost->{from} < $_->[1] + 600 && $lost->{to} > $_->[0] } @$times } @lost;
	my @after = map { $_ % 2 ? get('/?upstream=u') : post('/?upstream=u') } 1 .. AFTER;
	my ($idle, $open);

	wait_for(sub { ($idle, $open) = (total()->{connections}, Backend::Faulty::order($where, 'count')); $idle == $open });

	my @expected = grep { /$option->{alerts}/ } alerts($t);
	my $figures = total();

	cmp_ok(scalar @expected, '>', 0, "$name, it was scarce");
	is(scalar @unexplained, 0, "$name, lost while there was room") or diag(explain(\@unexplained));
	is(scalar grep({ !(served($_))[0] } @after), 0, "$name, lost afterwards");
	is($idle, $open, "$name, idle connections");

	at_rest($t, name => $name, requests => $made + ROUNDS * $option->{hogs} + AFTER, lost => @unexplained + 0,
		alerts => $option->{alerts}, text => sprintf 'refused for want of room %d, closed with "shutdown" %d, evicted %d',
			@lost - @unexplained, @$figures{qw/closes.shutdown closes.evicted/});
}

1;
