#!/usr/bin/perl

# Tests for upstream_idle_timeout module, figures that outlive reloads under
# load, and the death of workers.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use POSIX ();

use Backend::Faulty;
use Client;
use Conf;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(31)->todo_alerts();

my %where = (port => port(8081));
my $log = $t->testdir() . '/backend.log';

$t->run_daemon(\&Backend::Faulty::run, $t, %where, log => $log);
$t->waitforsocket("127.0.0.1:$where{port}");

configure($t, 1);

$t->run();

###############################################################################

# all figures of an upstream as they were last seen, and those that went down

my ($last, @down) = ({});

# reloads: first alike, then with more upstreams and with less, but a zone of the same size

my @load = map { load($t) } 1 .. 3;

reload($t, $_) for 1, 2, 3, 1, 2;

my ($made, @failed) = loaded($t, @load);

cmp_ok($made, '>', 50, 'reloads under load');
is("@failed", '', 'reloads under load, no request failed');
is(went_down(), '', 'reloads, no figure went down');
is(counted($made), $made, 'reloads, all requests counted');
is(idle_or_open(), 'equal', 'reloads, idle connections');

# many more upstreams, and fewer

@load = map { load($t) } 1 .. 3;

reload($t, $_) for 20, 1, 40, 3, 12;

(my $more, @failed) = loaded($t, @load);

cmp_ok($more, '>', 50, 'other upstreams under load');
is("@failed", '', 'other upstreams under load, no request failed');
is(went_down(), '', 'other upstreams, no figure went down');
is(counted($made + $more), $made + $more, 'other upstreams, all requests counted');
is(idle_or_open(), 'equal', 'other upstreams, idle connections');

# so many that the zone is too small for them, and the figures move to another; and then they stay there

my $was = figures()->{u1}{''};

for my $n (600, 3) {
	reload($t, $n);

	my $is = figures()->{u1}{''};

	is($is->{$_}, $was->{$_}, "$n upstreams, $_") for qw/connects reuses ages.reuse closes.margin/;
	is($is->{connections}, 0, "$n upstreams, idle connections");
}

# a worker that is killed, when there is a request at each, and both have idle connections

my ($first, $second) = clients();

idle_at_both();
ask('GET', '/?delay=1', $first->{socket});
ask('GET', '/?delay=0.3', $second->{socket});
look();

kill KILL => $first->{worker};

is(idle_or_open(1), 'equal', 'killed, idle connections within a second');
is(answer($first->{socket}), '', 'killed, request of the worker');
like(answer($second->{socket}), qr/ 200 /, 'killed, request of the other worker');

my @answers = map { get('/') } 1 .. 20;

is(grep({ / 200 / } @answers), 20, 'killed, requests');

look();
is(went_down(), '', 'killed, no figure went down');

# nothing but its idle connections goes with a worker

wait_for(sub { workers($t) == 2 });
idle_at_both();

my $before = figures()->{u1}{''};

kill KILL => (workers($t))[0];
is(idle_or_open(1), 'equal', 'killed idle, idle connections within a second');

my $after = figures()->{u1}{''};
my $gone = $before->{connections} - $after->{connections};

cmp_ok($gone, '>', 0, 'killed idle, connections of the worker');
$before->{connections} -= $gone;
$before->{'closes.shutdown'} += $gone;
is_deeply($after, $before, 'killed idle, counted as closed');

# and again, under load

@load = map { load($t) } 1 .. 3;

for (1 .. 5) {
	my @workers = workers($t);

	kill KILL => $workers[$_ % @workers];
	wait_for(sub { look(); my %new = map { $_ => 1 } workers($t); keys %new == 2 && grep { !$new{$_} } @workers });
}

(undef, @failed) = loaded($t, @load);

cmp_ok(scalar @failed, '<', 20, 'killed under load, most requests');
is(went_down(), '', 'killed under load, no figure went down');
is(idle_or_open(), 'equal', 'killed under load, idle connections');

###############################################################################

sub configure {
	my ($t, $n) = @_;

	my $upstreams = join '', map { <<"EOF" } 1 .. $n;
    upstream u$_ {
        server 127.0.0.1:8081;
        keepalive 8;
        upstream_idle_timeout 30s;
    }
EOF

	conf($t, main => 'worker_processes 2;', http => <<"HTTP", server => <<"SERVER");
$upstreams
HTTP
proxy_http_version 1.1;
proxy_set_header Connection "";
add_header X-Worker \$pid;

location / {
    proxy_pass http://u1;
}

location /status {
    upstream_idle_status;
}
SERVER
}

# Reloads, and looks at the figures until only new workers are there.

sub reload {
	my ($t, $n) = @_;

	my @old = workers($t);

	configure($t, $n);
	$t->reload();

	wait_for(sub { look(); !grep { kill 0, $_ } @old }) or diag('reload takes long');
}

sub look {
	my $now = figures()->{u1}{''};

	push @down, grep { $_ ne 'connections' && $now->{$_} < ($last->{$_} // 0) } sort keys %$now;

	$last = $now;
}

# The figures that went down since this was asked last.

sub went_down {
	my %down = map { $_ => 1 } splice @down;

	return join ' ', sort keys %down;
}

sub workers {
	my ($t) = @_;

	my ($master) = $t->read_file('nginx.pid') =~ /(\d+)/;

	open my $children, '<', "/proc/$master/task/$master/children" or die "cannot read: $!\n";

	return split ' ', <$children> // '';
}

# Makes requests in a process of its own until there is a file "load.end".

sub load {
	my ($t) = @_;

	my $pid = open(my $output, '-|') // die "cannot fork: $!\n";

	return $output if $pid;

	my ($count, @failed) = (0);

	until (-e $t->testdir() . '/load.end') {
		my $started = now();
		my $response = ++$count % 2 ? get('/') : post('/');

		push @failed, sprintf '%.0f', now() - $started unless (served($response))[0];
		select undef, undef, undef, 0.002;
	}

	syswrite STDOUT, "$count @failed\n";
	POSIX::_exit(0);
}

# Ends the load: how many requests there were, and how long those took that failed, in milliseconds.

sub loaded {
	my ($t, @load) = @_;

	my ($made, @failed) = (0);

	$t->write_file('load.end', '');

	for my $load (@load) {
		my ($count, @times) = split ' ', <$load>;

		$made += $count;
		push @failed, @times;
		close $load;
	}

	unlink $t->testdir() . '/load.end';

	return ($made, @failed);
}

# Makes requests until both workers have idle connections.

sub idle_at_both {
	wait_for(sub {
		my @answers = answers(map { get('/?delay=0.03', start => 1) } 1 .. 8);
		my %worker = map { /^X-Worker: (\d+)/m ? ($1 => 1) : () } @answers;

		return keys %worker == 2;
	});
}

# The requests that are counted, which should be as many.

sub counted {
	my ($expected) = @_;

	my $counted;

	wait_for(sub {
		my $figures = figures()->{u1}{''};
		$counted = $figures->{connects} + $figures->{reuses};
		return $counted == $expected;
	});

	return $counted;
}

# Whether the module knows of as many idle connections as the backend has.

sub idle_or_open {
	my ($seconds) = @_;

	my ($idle, $open);

	wait_for(sub {
		($idle, $open) = (figures()->{u1}{''}{connections}, Backend::Faulty::order(\%where, 'count'));
		return $idle == $open;
	}, $seconds);

	return $idle == $open ? 'equal' : "idle $idle, open $open";
}

# Clients that have a connection to nginx, each to another worker.

sub clients {
	my %client;

	wait_for(sub {
		my $socket = ask('GET', '/');
		my ($worker) = answer($socket) =~ /^X-Worker: (\d+)/m;

		$client{$worker} = { socket => $socket, worker => $worker };

		return keys %client == 2;
	});

	return values %client;
}

###############################################################################
