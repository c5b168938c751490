package Setup;

# The configuration that the suites of faults have in common, with parts of their own.

use warnings;
use strict;

use base qw/ Exporter /;

our @EXPORT = qw/ configure /;

# Parts: main, events, http and server are put into these contexts, workers is their number. A request goes to the upstream
# in its argument "upstream".

sub configure {
	my ($t, %part) = @_;

	my $workers = $part{workers} // 2;

	$_ //= '' for @part{qw/main events http server/};

	$t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

daemon off;
worker_processes $workers;
$part{main}

events {
    $part{events}
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format tries "\$status|\$upstream_addr|\$upstream_status|\$upstream_reused|\$upstream_bytes_sent|\$upstream_reuse_evidence|\$request_uri";

    $part{http}

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        access_log %%TESTDIR%%/tries.log tries;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        add_header X-Worker \$pid always;

        $part{server}

        location / {
            proxy_pass http://\$arg_upstream;
        }

        location /status {
            access_log off;
            upstream_idle_status;
        }
    }
}

EOC
}

1;
