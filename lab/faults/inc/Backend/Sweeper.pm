package Backend::Sweeper;

# A faulty backend that every now and then does away with connections that are idle. More options:
#
#     how         reset, close, or shutdown: the backend will send no more, and still reads
#     every       seconds between sweeps
#     age         seconds for which a connection was idle at least

use warnings;
use strict;

use base qw/ Backend::Faulty /;

use IO::Select;
use List::Util qw/ min /;
use Time::HiRes qw/ time /;

# For run_daemon(), with the options of Backend.

sub run {
	my ($t, %self) = @_;

	Backend::Faulty::run($t, class => __PACKAGE__, every => 0.02, age => 0.005, swept => time(), %self);
}

###############################################################################

sub wait {
	my ($self) = @_;

	return min(grep { defined } $self->SUPER::wait(), $self->{every});
}

sub expire {
	my ($self) = @_;

	$self->SUPER::expire();

	return if time() < $self->{swept} + $self->{every};

	$self->{swept} = time();
	$self->sweep($_) for grep { $self->is_idle($_) } values %{$self->{connections}};
}

# One on which a request has come that was not read yet is in use.

sub is_idle {
	my ($self, $c) = @_;

	return $c->{requests} && !$c->{control} && !$c->{answer_at} && !length($c->{in})
		&& Backend::age($c) >= $self->{age} * 1000 && !IO::Select->new($c->{socket})->can_read(0);
}

sub sweep {
	my ($self, $c) = @_;

	my $how = ref $self->{how} ? $self->{how}[rand @{$self->{how}}] : $self->{how};

	return $self->cut($c, $how) if $how ne 'shutdown';

	shutdown $c->{socket}, 1;
}

1;
