package Workers;

# nginx's worker processes, as the kernel sees them.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ workers connections memory /;

use Test::Nginx::Process qw/ children_of /;

sub workers {
	my ($t) = @_;

	my ($master) = $t->read_file('nginx.pid') =~ /(\d+)/;

	return children_of($master);
}

# How many connections the processes have: sockets that do not listen, those included whose connection is gone.

sub connections {
	my @pids = @_;

	my @sockets = map { sockets($_) } @pids;
	my %other = map { $_ => 1 } listening(), unix();

	return scalar grep { !$other{$_} } @sockets;
}

# Resident memory, in kilobytes.

sub memory {
	my ($pid) = @_;

	my ($size) = slurp("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m;

	return $size // 0;
}

###############################################################################

sub sockets {
	my ($pid) = @_;

	return map { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ } glob "/proc/$pid/fd/*";
}

# TCP_LISTEN is state 0A

sub listening {
	return map { (split)[3] eq '0A' ? (split)[9] : () } lines('tcp');
}

sub unix {
	return map { (split)[6] } lines('unix');
}

sub lines {
	my ($name) = @_;

	my (undef, @lines) = split /\n/, slurp("/proc/net/$name");

	return @lines;
}

sub slurp {
	my ($path) = @_;

	open my $file, '<', $path or return '';
	local $/;

	return scalar(<$file>) // '';
}

1;
