package Certificate;

# A key and a certificate for a backend that speaks TLS.

use warnings;
use strict;

# Makes them, and returns the options for IO::Socket::SSL.

sub create {
	my ($t) = @_;

	my $d = $t->testdir();

	system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost/ -days 1 "
		. "-keyout $d/localhost.key -out $d/localhost.crt >>$d/openssl.out 2>&1") == 0
		or die "cannot create a certificate: $!\n";

	return { SSL_key_file => "$d/localhost.key", SSL_cert_file => "$d/localhost.crt" };
}

1;
