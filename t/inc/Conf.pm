package Conf;

# The nginx.conf of a suite, around the parts that it is about.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ conf /;

# Parts: main, http and server are put into these contexts.

sub conf {
	my ($t, %part) = @_;

	my ($main, $http, $server) = map { $_ // '' } @part{qw/main http server/};

	$http =~ s/^(?=.)/    /gm;
	$server =~ s/^(?=.)/        /gm;

	return $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;
$main

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

$http
    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

$server
    }
}

EOF
}

1;
