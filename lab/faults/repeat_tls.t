#!/usr/bin/perl

# Faults: backends that speak TLS, and end idle connections or die.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Adversary;
use Test::Nginx;

###############################################################################

my @backends = ({ name => 'tls12', tls => 'TLSv1_2', port => 8081 }, { name => 'tls13', tls => 'TLSv1_3', port => 8082 });
my @after = (0, 20, 120);
my @reads = qw/none part all/;
my @hows = qw/close notify exit kill reset/;

my $adversary = Adversary->new(attacks => 7 * @backends, backends => \@backends);

for my $backend (map { $_->{name} } @backends) {
	my %attack = (backend => $backend, ages => [125, 152]);

	for my $how (@hows) {
		# a server that has sent its close_notify may read on, and throw away what it reads

		$adversary->attack(name => "$backend, idle, $how", %attack, then => "idle&how=$how&at=150", unread => $how eq 'notify');
	}

	# what has come may not have been decrypted

	for my $size (100, 20000) {
		$adversary->attack(name => "$backend, dies, $size bytes", %attack, ages => [5, 30], body => $size, unread => 1,
			then => sub { join '&', 'die', "read=$reads[rand @reads]", "how=$hows[rand @hows]", "after=$after[rand @after]" });
	}
}

# on a busy machine a response is seen together with the end of its connection at times

$adversary->rest('TLS', unknown => 30);

###############################################################################
