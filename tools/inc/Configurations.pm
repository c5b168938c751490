package Configurations;

# The configurations in the documentation: nginx has to take each of them without a word of complaint.

use warnings;
use strict;

use File::Temp qw/tempdir/;

use Page;

my $tested = 0;

sub tested { $tested }

sub wrong {
	my ($nginx, $module, @pages) = @_;

	my $folder = tempdir('docs-check-XXXXXXXXXX', TMPDIR => 1, CLEANUP => 1);
	my @wrong;

	mkdir "$folder/$_" or die "$folder/$_: $!\n" for qw/modules logs/;
	symlink $module, "$folder/modules/" . ($module =~ m!([^/]+)$!)[0] or die "$folder: $!\n";

	my @configurations = map { my $page = $_; map { [$page->at($_->{line}), whole($_->{text})] }
		grep { $_->{kind} eq 'nginx' } $page->blocks() } @pages;

	push @configurations, map { ["$_: ", Page::read_file($_)] } glob 'nginx-conf/*.conf';

	for (@configurations) {
		my ($at, $text) = @$_;

		open my $file, '>', "$folder/nginx.conf" or die "$folder/nginx.conf: $!\n";
		print $file $text;
		close $file;

		my $out = `$nginx -t -e stderr -p $folder -c $folder/nginx.conf -g 'pid $folder/pid;' 2>&1`;

		push @wrong, $at . $out if $out !~ /test is successful/ || $out =~ /\[(?:warn|error|emerg)\]/;
		$tested++;
	}

	return @wrong;
}

# A part of a configuration, with what belongs around it.

sub whole {
	my ($text) = @_;

	return $text if $text =~ /^http \{/m;

	$text = "location / {\n$text}\n" if $text !~ /^(?:location|server|upstream)\b/m;
	$text = "server {\n$text}\n" if $text =~ /^location\b/;

	return "load_module modules/ngx_http_upstream_idle_timeout_module.so;\n\nevents {\n}\n\nhttp {\n$text}\n";
}

1;
