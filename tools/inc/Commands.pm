package Commands;

# The commands that the documentation has.

use warnings;
use strict;

use Page;

# What is not run, by the first word or by the target of make.

my %reason = (
	'apt-get' => 'it changes the machine',
	backends => 'it measures for minutes',
	bench => 'it measures for a quarter of an hour',
	'bench-quick' => 'it measures for minutes',
	check => '.ci/run does',
	demo => 'it takes a minute',
	'docs-check' => 'this is it',
	faults => 'it takes minutes',
	fuzz => 'it takes as long as it is told',
	install => 'it changes the machine',
	learn => 'it takes minutes',
	matrix => '.ci/run does, with one release',
	mutants => 'it takes minutes',
	sanitize => 'it takes minutes',
	soak => 'it takes as long as it is told',
	suites => 'make test runs all of them',
	test => '.ci/run does',
	valgrind => 'it takes minutes',
);

sub new {
	my ($class, $nginx) = @_;

	my %target = map { $_ => 1 } Page::read_file('Makefile') =~ /^([a-z][a-z-]*):/mg;
	my $known = join "\n", map { Page::read_file($_) } 'Makefile', grep({ -f } glob 'tools/*'), 't/lib/Test/Nginx.pm';

	return bless { target => \%target, known => $known, nginx => $nginx, wrong => [], not_run => {}, run => 0, all => {} },
		$class;
}

sub wrong { @{$_[0]{wrong}} }
sub run { $_[0]{run} }

sub not_run {
	my ($self) = @_;

	return map { "$_, since $self->{not_run}{$_}" } sort keys %{$self->{not_run}};
}

# The commands of a page: in blocks, and `make ...` in the text.

sub look {
	my ($self, $page) = @_;

	for my $block ($page->blocks()) {
		my $line = $block->{line};

		for (split /\n/, $block->{text}) {
			$self->command($page->at($line), $1) if /^((?:[A-Z_]+=\S* )*(?:make|apt-get)\b[^#]*?)\s*(?:#.*)?$/;
			$line++;
		}
	}

	$self->command($page->at($_->[0]), $_->[1]) for grep { $_->[1] =~ /^(?:[A-Z_]+=\S* )*make\b/ } $page->spans();
}

# What has to pass is said to people as well.

sub of_ci {
	my ($self, $file) = @_;

	for (map { s/\s*(?:#.*)?$//r } grep { /^make\b/ } split /\n/, Page::read_file($file)) {
		push @{$self->{wrong}}, "$file: \"$_\" is in no page" unless $self->{all}{$_};
	}
}

sub command {
	my ($self, $at, $command) = @_;

	return if $self->{all}{$command}++;

	my $before = @{$self->{wrong}};
	my @words = map { s/"//gr } $command =~ /((?:[^\s"]|"[^"]*")+)/g;
	my %variable = map { /^([A-Z_]+)=(.*)/ ? ($1 => $2) : () } @words;
	my ($program, @targets) = grep { !/^[A-Z_]+=/ && $_ ne '...' } @words;

	push @{$self->{wrong}}, map { "$at$_ is not known to make" } grep { $self->{known} !~ /\b$_\b/ } keys %variable;
	push @{$self->{wrong}}, map { "${at}no target $_" } grep { $program eq 'make' && !$self->{target}{$_} } @targets;
	push @{$self->{wrong}}, map { "${at}no file $_" } grep { !-e } map { split } grep { defined } @variable{qw/TESTS FAULTS/};

	my ($reason) = grep { defined } @reason{$program, @targets};

	$reason //= 'it builds for an nginx of the machine' if $variable{NGINX};

	return if @{$self->{wrong}} > $before;

	if (defined $reason) {
		$self->{not_run}{$command} = $reason;
	} else {
		$self->{run}++;
		my $out = `$command 2>&1`;
		push @{$self->{wrong}}, "$at\"$command\" fails: $out" if $?;
	}
}

1;
