package Page;

# A page of the documentation, in Markdown, as far as that is used here.

use warnings;
use strict;

sub new {
	my ($class, $name) = @_;

	my (@lines, @blocks, $fence);
	my $number = 0;

	for my $text (split /\n/, read_file($name)) {
		$number++;

		if (defined $fence) {
			if ($text =~ /^```/) {
				undef $fence;
			} else {
				$blocks[-1]{text} .= "$text\n";
			}

		} elsif ($text =~ /^```(\w*)/) {
			$fence = $1;
			push @blocks, { kind => $1, line => $number + 1, text => '' };

		} elsif ($text =~ /^    (.*)/) {
			push @blocks, { kind => '', line => $number, text => '', last => $number - 1 }
				unless @blocks && ($blocks[-1]{last} // -1) == $number - 1;

			$blocks[-1]{text} .= "$1\n";
			$blocks[-1]{last} = $number;

		} else {
			push @lines, [$number, $text];
		}
	}

	return bless { name => $name, lines => \@lines, blocks => \@blocks }, $class;
}

sub read_file {
	my ($name) = @_;

	open my $file, '<', $name or die "$name: $!\n";
	local $/;

	return scalar <$file>;
}

sub name { $_[0]{name} }

# What is no code, as pairs of a line's number and its text.

sub lines { @{$_[0]{lines}} }

# Code: with the kind of its fence, the number of its first line, and its text.

sub blocks { @{$_[0]{blocks}} }

sub at {
	my ($self, $line) = @_;

	return "$self->{name}:$line: ";
}

sub beside {
	my ($self, $file) = @_;

	my $path = ($self->{name} =~ m!(.*/)!)[0] // '';

	$path .= $file;
	1 while $path =~ s![^/]+/\.\./!!;

	return $path;
}

# Links to files and headings.

sub links {
	my ($self) = @_;

	return grep { $_->[1] !~ /^\w+:/ } found($self->paragraphs(), qr/\]\(([^)\s]+)\)/);
}

# `Code` in the text.

sub spans {
	my ($self) = @_;

	return found($self->paragraphs(), qr/`([^`]+)`/);
}

# Lines that follow each other go together: what is looked for may be broken between them.

sub paragraphs {
	my ($self) = @_;

	my @paragraphs;
	my $last = -1;

	for ($self->lines()) {
		my ($line, $text) = @$_;

		if ($line == $last + 1 && length $text && $text !~ /^\|/) {
			$text =~ s/^\s+//;
			$paragraphs[-1][1] .= " $text";
		} else {
			push @paragraphs, [$line, $text];
		}

		$last = length $text ? $line : -1;
	}

	return @paragraphs;
}

sub found {
	my $wanted = pop;

	return map { my ($line, $text) = @$_; map { [$line, $_] } $text =~ /$wanted/g } @_;
}

# The anchors of the headings.

sub anchors {
	my ($self) = @_;

	return map { my $anchor = lc $_->[1]; $anchor =~ s/[^\w\s-]//g; $anchor =~ s/ /-/g; $anchor }
		found($self->lines(), qr/^#+ (.*)/);
}

# The rows of the tables below a heading, up to the next one, without the heads; each is a list of cells.

sub table {
	my ($self, $heading) = @_;

	my ($here, @rows);

	for (map { $_->[1] } $self->lines()) {
		if (/^#+ (.*)/) {
			$here = $1 eq $heading;
		} elsif ($here && /^\|[-:| ]+\|$/) {
			pop @rows;
		} elsif ($here && /^\| ?(.*?) ?\|$/) {
			push @rows, [split / ?\| ?/, $1, -1];
		}
	}

	return @rows;
}

1;
