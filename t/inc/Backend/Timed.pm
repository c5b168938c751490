package Backend::Timed;

# A backend whose idle timeout is said in a file, in milliseconds, and may change meanwhile. Connections that are idle
# keep theirs. What the file may have, too:
#
#     random 800      each connection is closed at an age of its own, no more than that
#     restart 600     each time that the file is written anew, all connections are closed at once

use warnings;
use strict;

use base qw/ Backend /;

use Time::HiRes qw/ time /;

# For run_daemon(), with the options of Backend, and the file.

sub run {
	my ($t, %self) = @_;

	Backend::run($t, class => __PACKAGE__, %self);
}

# Writes the file.

sub say_timeout {
	my ($file, $what) = @_;

	open my $out, '>', "$file.new" or die "$file: $!\n";
	print $out $what;
	close $out;
	rename "$file.new", $file or die "$file: $!\n";
}

###############################################################################

sub answer {
	my ($self, $c) = @_;

	my ($how, $msec) = $self->said() =~ /^(?:(\w+) )?(\d+)$/ or die "no timeout\n";

	$self->{timeout} = $msec / 1000 * (($how // '') eq 'random' ? rand : 1);

	return $self->SUPER::answer($c);
}

# Looks at the file every now and then.

sub wait {
	my ($self) = @_;

	my $wait = $self->SUPER::wait();

	return defined $wait && $wait < 0.05 ? $wait : 0.05;
}

sub expire {
	my ($self) = @_;

	my $said = $self->said();
	my $inode = (stat $self->{file})[1];

	if (($self->{inode} // $inode) != $inode && $said =~ /^restart/) {
		$_->{answer_at} // $self->end($_, 'self') for values %{$self->{connections}};
	}

	$self->{inode} = $inode;

	return $self->SUPER::expire();
}

sub said {
	my ($self) = @_;

	open my $in, '<', $self->{file} or die "$self->{file}: $!\n";

	return scalar <$in>;
}

1;
