#!/usr/bin/perl

# Faults: what happens on the way to backends that end connections: loss, boxes that forget, relays.

###############################################################################

use warnings;
use strict;

use FindBin;
use lib map { "$FindBin::Bin/$_" } qw! ../../t/inc inc !;

use Adversary;
use Test::Nginx;

###############################################################################

my @backends = ({ name => 'plain', port => 8081 }, { name => 'relay', port => 8082, relay => 8081 });
my @lossy = ('loss 4', 'jitter 5');
my @exact = ('loss 0', 'jitter 0', 'mode pass');

my @after = (0, 20, 120);
my @hows = qw/close exit kill reset/;

my %idle = (backend => 'plain', ages => [125, 152], then => 'idle&how=close&at=150');
my %dies = (backend => 'plain', ages => [5, 30], then => sub { "die&read=all&how=$hows[rand @hows]&after=$after[rand @after]" });
my %old = (backend => 'plain', ages => [125, 152], then => 'idle&how=close&at=1000');

# by then a lost response was sent again, twice if need be
my %late = (backend => 'plain', ages => [975, 1002], then => 'idle&how=close&at=1000');

# what goes wrong with what

my @attacks = (
	['loss, idle', \@lossy, %late],
	['loss, idle, 20000 bytes', \@lossy, %late, body => 20000],
	['loss, dies', \@lossy, %dies],
	['loss, dies, 20000 bytes', \@lossy, %dies, body => 20000],
	(map { ["RSTs lost, $_->[0]", ['mode lose-server-rst'], %{$_->[1]}] } ['idle', \%idle], ['dies', \%dies]),
	(map { ["FINs lost, $_->[0]", ['mode lose-server-fin'], %{$_->[1]}] } ['idle', \%idle], ['dies', \%dies]),
	(map { ["ACKs lost, $_->[0]", ['mode lose-server-ack'], %{$_->[1]}] } ['idle', \%idle], ['dies', \%dies]),
	['forgotten, forged RST', ['mode forge-rst 100'], %old],
	['forgotten, silent', ['mode silent 100'], %old],

	# nginx gives up after two seconds, and its kernel goes on: the backend gets the request when nobody waits for it
	['outage', ['mode silent 100 2100'], %old, then => 'die&read=all&how=close'],

	# a relay acknowledges for its backend
	['relay, idle', [], %idle, backend => 'relay', unread => 1],
);

my $adversary = Adversary->new(attacks => scalar @attacks, backends => \@backends);

for (@attacks) {
	my ($name, $orders, %attack) = @$_;

	$adversary->wire()->order($_) for @$orders;
	$adversary->attack(name => $name, %attack);
	$adversary->wire()->order($_) for @exact;
}

$adversary->rest('on the way', unknown => 20);

###############################################################################
