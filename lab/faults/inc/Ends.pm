package Ends;

# Load on a backend that does away with its idle connections all the time, in one way or another.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ ends /;

use Test::More;

use Backend::Sweeper;
use Load;
use Rest;
use Setup;
use Status;
use Test::Nginx;

use constant { CLIENTS => 3, SECONDS => 15 };

# Runs nginx, and makes eight tests. Options:
#
#     name        of the fault
#     how         what becomes of idle connections, see Backend::Sweeper
#     faults      arguments of requests whose connections end before the response

sub ends {
	my ($t, %option) = @_;

	my %where = (port => port(8081));

	configure($t, http => 'upstream u { server 127.0.0.1:8081; keepalive 8; keepalive_requests 1000000; upstream_idle_timeout 30s; }');

	$t->run_daemon(\&Backend::Sweeper::run, $t, %where, how => $option{how}, log => '/dev/null');
	$t->waitforsocket("127.0.0.1:$where{port}");
	$t->run();

	my $load = Load->new($t, clients => CLIENTS, choose => sub { choose(@{$option{faults}}) });

	select undef, undef, undef, SECONDS;

	check($t, \%where, $option{name}, $load->stop());
}

###############################################################################

sub choose {
	my @faults = @_;

	my $method = rand(2) < 1 ? 'GET' : 'POST';
	my $fault = @faults && rand(20) < 1 ? $faults[rand @faults] : '';

	return ($method, "/?upstream=u&$fault", $method eq 'POST' && $fault ? 'asked_for' : '-');
}

# A GET is repeated. A POST is lost when the backend ends a connection just as it is sent there, and that is counted.

sub check {
	my ($t, $where, $name, $made, @lost) = @_;

	my @gets = grep { $_->{method} eq 'GET' } @lost;
	my @raced = grep { $_->{method} eq 'POST' && $_->{word} eq '-' } @lost;
	my ($idle, $open);

	wait_for(sub { ($idle, $open) = (total()->{connections}, Backend::Faulty::order($where, 'count')); $idle == $open });

	my $figures = total();

	is(scalar @gets, 0, "$name, GETs lost") or diag(explain(\@gets));
	cmp_ok(scalar @raced, '<=', $made / 200, "$name, POSTs lost to a race");
	is($figures->{failed_requests}, given_up($t), "$name, failed requests");
	cmp_ok($figures->{'closes.peer'}, '>', 50, "$name, closed by the backend");
	is($idle, $open, "$name, idle connections");

	# a response may come together with the end of its connection

	at_rest($t, name => $name, requests => $made, lost => @gets + @raced, unknown => 10,
		text => sprintf 'GETs lost %d, POSTs lost to a race %d, as asked for %d, peer %d, dead %d', scalar @gets,
			scalar @raced, @lost - @gets - @raced, @$figures{qw/closes.peer closes.dead/});
}

1;
