package FarBackend;

# Real servers at the far end of a wire, and one that is like many written in C. Each has 500 ms as its idle timeout.

use warnings;
use strict;

use FindBin;
use IO::Socket::INET;

use Certificate;
use Client qw/ now /;
use Test::Nginx;

use constant { TIMEOUT => 500, SAMPLES => 7, PORT => 8081, PRIME => 'id=0&then=idle&how=close&at=500' };

my $root = "$FindBin::Bin/..";

# How each is run: a command, or nothing where it can't be.

my %command = (
	'close(2)' => sub { adversary(@_) },
	'close(2), TLS 1.3' => sub { adversary(@_, tls(@_)) },
	'Node.js' => sub { ('node', "$root/backends/apps/node.js", port(PORT), TIMEOUT, $_[1]->server()) },
	'Apache httpd' => \&apache,
);

sub names {
	return split /;/, $ENV{BACKENDS} if $ENV{BACKENDS};
	return ('close(2)', 'close(2), TLS 1.3', 'Node.js', 'Apache httpd');
}

# Gets what comes from elsewhere. That can't be done behind the wire, which leads nowhere else.

sub fetch {
	node('');
}

# Starts it; nothing is returned where it can't be.

sub start {
	my ($class, $t, $wire, $name) = @_;

	my @command = $command{$name}->($t, $wire) or return;
	my $self = bless { name => $name, tls => scalar($name =~ /TLS/), wire => $wire }, $class;

	$wire->run_daemon($t, @command);
	$wire->waitforsocket($t, port(PORT)) or die "$name does not start\n";

	return $self;
}

sub is_tls {
	my ($self) = @_;

	return $self->{tls};
}

# The idle age at which it closes a connection, as it is seen from here: the same as it is there, for the response and the end
# of the connection take the same time. The median of some.

sub closes_at {
	my ($self) = @_;

	return TIMEOUT if $self->{tls};

	my @ages = sort { $a <=> $b } map { $self->age() } 1 .. SAMPLES;

	return $ages[@ages / 2];
}

###############################################################################

sub age {
	my ($self) = @_;

	my $socket = IO::Socket::INET->new(PeerAddr => $self->{wire}->server(), PeerPort => port(PORT)) or die "cannot connect: $!\n";
	my $answered;

	syswrite $socket, 'GET /?' . PRIME . " HTTP/1.1\r\nHost: localhost\r\n\r\n";
	$answered = now() while sysread $socket, my $some, 4096;

	return now() - $answered;
}

sub adversary {
	my ($t, $wire, @options) = @_;

	return ('python3', "$root/adversary/adversary.py", $wire->server(), port(PORT), $t->testdir() . '/carried.log', @options);
}

sub tls {
	my ($t) = @_;

	return 'tls=' . join ',', @{Certificate::create($t)}{qw/SSL_cert_file SSL_key_file/}, 'TLSv1_3';
}

# The backend of that name in backends/ is fetched by it, and has the first half of its configuration.

sub apache {
	my ($t, $wire) = @_;

	my $d = $t->testdir();

	local @ENV{qw/DIRECTORY PORT/} = ($d, port(PORT));

	my ($server, $libraries) = node('const { file, env } = apache.command({ fetched, directory: DIRECTORY, port: PORT });
		console.log(`${file}\n${env.LD_LIBRARY_PATH}`);');

	return unless $server;

	# it serves a page as nobody, who has to find his way

	chmod 0755, $d;

	my $address = $wire->server();
	my $configuration = $t->read_file('httpd.conf') =~ s/^Listen \K127\.0\.0\.1/$address/mr
		=~ s/^KeepAliveTimeout \K.*/@{[TIMEOUT]}ms\nMaxKeepAliveRequests 0/mr;

	$t->write_file('httpd.conf', $configuration);

	return ('env', "LD_LIBRARY_PATH=$libraries", $server, '-f', "$d/httpd.conf", '-D', 'FOREGROUND');
}

# The lines that JavaScript prints when Apache has been fetched, which is done once.

sub node {
	my ($script) = @_;

	local $ENV{STORE} = "$root/../build/backends/apache";

	return split /\n/, qx(node -e '
		const apache = require("$root/backends/apache.js");
		const { STORE, DIRECTORY, PORT } = process.env;

		require("fs").mkdirSync(STORE, { recursive: true });
		apache.fetch(STORE).then((fetched) => { $script }, (error) => console.error(error.message.split("\\n")[0]));');
}

1;
