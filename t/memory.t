#!/usr/bin/perl

# Tests for upstream_idle_timeout module, the shared memory of many workers and
# many upstreams, and of configurations that are not accepted.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use IO::Socket::INET;

use Backend::Faulty;
use Client;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive upstream_zone/)->plan(18)->todo_alerts();

my %where = (port => port(8081));
my ($other, $taken) = map { port($_) } 8082, 8083;

$t->run_daemon(\&Backend::Faulty::run, $t, %where, log => '/dev/null');
$t->waitforsocket("127.0.0.1:$where{port}");

configure($t, workers => 128);

$t->run();

my ($master) = $t->read_file('nginx.pid') =~ /(\d+)/;

###############################################################################

# far less workers, and far more peers

reload($t, workers => 2, upstreams => 280, peers => 8);

is(scalar keys %{figures()}, 280, 'less workers, upstreams');

$t->stop();

configure($t);
$t->run();

($master) = $t->read_file('nginx.pid') =~ /(\d+)/;

# a worker with the process id of one that was killed

SKIP: {
	get('/');
	is(figures()->{u1}{''}{connections}, 1, 'killed, idle connection');

	my $reused = kill_and_reuse();

	skip 'no process id is used again', 1 unless $reused;

	is(idle_or_open(), 'equal', 'same process id, idle connections');
}

# more workers than at first

reload($t, workers => 40);

my @answers = answers(map { get('/?delay=0.3', start => 1) } 1 .. 160);
my %worker = map { /^X-Worker: (\d+)/m ? ($1 => 1) : () } map { $_ // '' } @answers;

cmp_ok(scalar keys %worker, '>', 20, 'workers that answer');
cmp_ok(figures()->{u1}{''}{connections}, '>', 20, 'idle connections');
is(idle_or_open(), 'equal', 'idle connections of all workers');

# workers that linger, each with a request

reload($t);
wait_for(sub { opened() == 0 });

my @lingering;

for (1 .. 20) {
	push @lingering, get('/?delay=5', start => 1);
	wait_for(sub { opened() == @lingering });
	reload($t, linger => 1);
}

get('/') for 1 .. 4;

is(idle_or_open(), 'equal', 'idle connections beside old workers');
unlike($t->read_file('error.log'), qr/too many worker|no memory/, 'memory for all workers');

@answers = answers(@lingering);
is(grep({ (served($_))[0] } @answers), 20, 'old workers answer');

# as many upstreams as fit, and then less workers

reload($t, workers => 64, upstreams => 280);
get('/') for 1 .. 4;

my $requests = requests();

reload($t, workers => 2, upstreams => 280);

is(scalar keys %{figures()}, 280, 'upstreams');
is(requests(), $requests, 'less workers, counters');
unlike($t->read_file('error.log'), qr/no memory/, 'less workers, memory');

# a configuration that fails late, since it listens on a port that is taken

reload($t);

my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $taken, Listen => 1, ReuseAddr => 1)
	or die "cannot listen: $!\n";

my @workers = workers();
my $peers = peers();

configure($t, server => 'server 127.0.0.1:8082 backup;', listen => 'listen 127.0.0.1:8083;');
$t->reload();

wait_for(sub { $t->read_file('error.log') =~ /still could not bind/ });

is(peers(), $peers, 'not accepted, peers');
is(join(' ', workers()), "@workers", 'not accepted, same worker');
is(requests(), $requests, 'not accepted, counters');

close $socket;
$t->reload();
wait_for(sub { my @new = workers(); @new == 1 && $new[0] != $workers[0] });

is(peers(), join(' ', sort $peers, "127.0.0.1:$other"), 'accepted, peers');
is(requests(), $requests, 'accepted, counters');

# a server whose addresses are not known yet

SKIP: {
	skip 'no resolve', 1 unless $t->has_version('1.27.3');

	reload($t, server => 'zone z 256k; resolver 127.0.0.1:' . port(8084) . '; server idle.test:8081 resolve;');

	is(scalar(grep { /^ |  / } peers() . ' '), 0, 'no peer without a name');
}

###############################################################################

sub configure {
	my ($t, %with) = @_;

	my $workers = $with{workers} // 1;
	my $server = $with{server} // '';
	my $peers = join ' ', map { "server 127.0.0.$_:1 backup;" } 2 .. $with{peers} // 1;
	my $listen = $with{listen} // '';

	my $upstreams = join '', map { <<"EOF" } 1 .. $with{upstreams} // 1;
    upstream u$_ {
        server 127.0.0.1:8081;
        $peers
        @{[ $_ == 1 ? $server : '' ]}
        keepalive 8;
        upstream_idle_timeout 30s;
    }
EOF

	$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;
worker_processes $workers;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

$upstreams
    server {
        listen       127.0.0.1:8080 reuseport;
        $listen
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        add_header X-Worker \$pid;

        location / {
            proxy_pass http://u1;
        }

        location /status {
            upstream_idle_status;
        }
    }
}

EOF
}

# Reloads, and waits until the new workers have taken over, and unless old ones linger, until those are gone.

sub reload {
	my ($t, %with) = @_;

	my %old = map { $_ => 1 } workers();

	configure($t, %with);
	$t->reload();

	my $workers = $with{workers} // 1;

	wait_for(sub {
		my @workers = workers();
		my $new = grep { !$old{$_} } @workers;

		return $new == $workers && ($with{linger} ? answers_anew(\%old) : @workers == $new);
	}, 10) or diag('reload takes long');
}

sub answers_anew {
	my ($old) = @_;

	return (get('/status') // '') =~ /^X-Worker: (\d+)/m && !$old->{$1};
}

sub workers {
	open my $children, '<', "/proc/$master/task/$master/children" or return;

	return sort split ' ', <$children> // '';
}

# Whether the module knows of as many idle connections as the backend has open, once none is in use.

sub idle_or_open {
	my ($idle, $open);

	wait_for(sub {
		($idle, $open) = (figures()->{u1}{''}{connections}, opened());
		return $idle == $open;
	}, 10);

	return $idle == $open ? 'equal' : "idle $idle, open $open";
}

sub opened {
	return Backend::Faulty::order(\%where, 'count');
}

sub requests {
	my $figures = figures()->{u1}{''};

	return $figures->{connects} + $figures->{reuses};
}

sub peers {
	my $peers = status()->{upstreams}{u1}{peers};

	return join ' ', sort grep { $_ ne 'other' } keys %$peers;
}

# Kills the worker, and has the next one get its process id.

sub kill_and_reuse {
	for (1 .. 20) {
		my ($worker) = workers();

		kill STOP => $master;
		kill KILL => $worker;

		# the next process gets the id after that one

		open my $last, '>', '/proc/sys/kernel/ns_last_pid' or do { kill CONT => $master; return 0 };

		my $written = syswrite($last, $worker - 1) && close $last;

		kill CONT => $master;
		return 0 unless $written;

		wait_for(sub { my @new = workers(); @new && (get('/status') // '') =~ / 200 / });

		return 1 if (workers())[0] == $worker;

		get('/') for 1 .. 3;
	}

	return 0;
}

###############################################################################
