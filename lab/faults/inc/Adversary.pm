package Adversary;

# nginx before a backend that ends its connections in every way there is, lab/adversary, at the other end of a wire; and what
# has to hold whatever it does: nothing is carried out twice, but where it breaks what the level of "repeat" assumes, and what is
# said of a request that failed is true.

use warnings;
use strict;

use FindBin;
use POSIX ();
use Test::More;

use Client;
use Racer;
use Rest ();
use Setup;
use Stall;
use Test::Nginx;
use Test::Nginx::Process qw/ fork_child /;
use Wire;

# The directive is text: what holds, holds for each.

use constant DIRECTIVE => $ENV{REPEAT_DIRECTIVE} // 'upstream_idle_timeout 60s hint=off probe=off';

use constant { CLIENTS => 40, EVENTS => 500, BATCH => 200, SECONDS => 240, LIFETIME => 3600, LATENCY => 10, TESTS => 4 };

# The levels of "repeat", and the one that is tried.

my %levels = map { my @names = qw/off unwritten refused closed reused/; $names[$_] => $_ } 0 .. 4;
my $level = $levels{DIRECTIVE =~ /repeat=(\w+)/ ? $1 : 'refused'};

my @kinds = qw/reset eof goaway timeout/;
my @evidence = qw/unwritten refused closed unknown received/;

# that the request was not carried out, and will not be

my %safe = map { $_ => 1 } qw/unwritten refused closed/;

# Moves the suite to the wire's end, starts all, and plans so many attacks. Options:
#
#     attacks     how many, of which each makes four tests
#     backends    hashes of name and port, and if need be
#                     tls     a version: TLSv1_2 or TLSv1_3
#                     relay   the port of another, to which this one is but a relay that terminates TCP
#     trace       whether what was on the wire is written to wire.trace in the suite's directory

sub new {
	my ($class, %option) = @_;

	my $wire = Wire->new(delay => LATENCY, lifetime => LIFETIME);
	my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/);
	my $self = bless { t => $t, wire => $wire, attacks => 0, twice => {} }, $class;
	my @backends = @{$option{backends}};

	$t->has('http_ssl')->has_daemon('openssl') if grep { $_->{tls} } @backends;
	$t->plan(TESTS * $option{attacks} + 5);

	configure($t, workers => 1, events => 'worker_connections 2048;', http => http_part($wire, @backends),
		server => server_part(@backends));

	$self->{stall} = Stall->new($t);
	$self->run($_) for @backends;
	$wire->waitforsocket($t, map { port($_->{port}) } @backends);
	$t->run();

	return $self;
}

sub wire {
	my ($self) = @_;

	return $self->{wire};
}

# Makes POSTs until so many reuses have failed, or for so long; four tests, and a line of the table. Options:
#
#     name        of what the backend does
#     backend     the name of one
#     then        arguments that say how a connection ends: text, or code that returns it
#     ages        from when to when the POSTs are sent, in milliseconds since the last response
#     body        their size
#     events      how many failures are enough, and how few are too few
#     processes   the backend carries out what comes after it has ended its side: "closed" and "refused" are no proof then
#     breaks      the level of "repeat" whose assumption that breaks: from there on, requests are carried out twice
#     unread      whether something may be received and never read by the backend
#     blocked     for how many milliseconds nginx's worker is blocked, again and again: it sees all of it together, and late

sub attack {
	my ($self, %option) = @_;

	my $prefix = ++$self->{attacks} . '.';
	my $events = $option{events} // EVENTS;
	my $end = now() + 1000 * SECONDS;
	my $blocker = $option{blocked} && $self->block($option{blocked});
	my (@posts, $seen);

	do {
		push @posts, race($self->{t}, clients => CLIENTS, posts => BATCH, body => $option{body} // 100,
			prefix => $prefix . @posts . '.', uri => sub { uri($option{backend}, @_) },
			prime => sub { "then=" . (ref $option{then} ? $option{then}->() : $option{then}) },
			age => sub { $option{ages}[0] + rand($option{ages}[1] - $option{ages}[0]) });

		$seen = $self->witness($prefix, @posts);

	} until (@{$seen->{failures}} >= $events || now() > $end);

	$blocker->() if $blocker;
	$self->check(\%option, $events, $seen);

	return $seen;
}

# When all attacks are over; five tests. As many responses as are unknown may have come together with the end of their
# connections, which then are not kept.

sub rest {
	my ($self, $name, %option) = @_;

	my %done;

	$done{$_}++ for map { /^done ([^p]+)$/ } lines($self->{t}, 'carried.log');

	# late ones are among them

	is(join(', ', grep { $done{$_} > 1 && !$self->{twice}{$_} } sort keys %done), '', "$name, carried out twice in the end");

	Rest::at_rest($self->{t}, name => $name, requests => $self->{posts}, lost => $self->{lost}, text => DIRECTIVE, %option);
}

###############################################################################

# The configuration

sub http_part {
	my ($wire, @backends) = @_;

	my $upstreams = join '', map { upstreams($wire, $_) } @backends;

	return <<"EOF";
    error_log %%TESTDIR%%/error.log warn;
    log_format evidence "\$arg_id|\$upstream_reuse_outcome|\$upstream_reuse_evidence|\$upstream_idle_time";

    proxy_connect_timeout 5s;
    proxy_read_timeout 2s;

    $upstreams
EOF
}

sub upstreams {
	my ($wire, $backend) = @_;

	my $server = $wire->server() . ":%%PORT_$backend->{port}%%";
	my $directive = DIRECTIVE;

	return join '', map { <<"EOF" } 1 .. CLIENTS;
    upstream $backend->{name}$_ {
        server $server;
        keepalive 1;
        keepalive_requests 1000000;
        $directive;
    }
EOF
}

sub server_part {
	my @backends = @_;

	my $locations = join '', map { <<"EOF" } grep { $_->{tls} } @backends;
        location /$_->{name} {
            proxy_pass https://\$arg_upstream;
            proxy_ssl_protocols @{[$_->{tls} =~ s/_/./r]};
        }
EOF

	return <<"EOF";
        access_log %%TESTDIR%%/evidence.log evidence;

        location /stall {
            access_log %%TESTDIR%%/stall.fifo;
            return 204;
        }

$locations
EOF
}

sub uri {
	my ($name, $number) = @_;

	# the location of a TLS backend has its name, and for others there is but one

	return "/$name?upstream=$name$number";
}

# The backends

sub run {
	my ($self, $backend) = @_;

	my ($t, $wire, $d) = (@$self{qw/t wire/}, $self->{t}->testdir());
	my @where = ($wire->server(), port($backend->{port}));

	if ($backend->{relay}) {
		require Relay;
		return $wire->run_daemon($t, \&Relay::run, address => $where[0], port => $where[1], to => port($backend->{relay}),
			delay => 0.001, log => "$d/relay.log");
	}

	$wire->run_daemon($t, 'python3', "$FindBin::Bin/../adversary/adversary.py", @where, "$d/carried.log",
		$backend->{tls} ? 'tls=' . join ',', $self->certificate(), $backend->{tls} : ());
}

sub certificate {
	my ($self) = @_;

	require Certificate;
	$self->{certificate} //= Certificate::create($self->{t});

	return @{$self->{certificate}}{qw/SSL_cert_file SSL_key_file/};
}

# A process that blocks the worker until its file is gone. A signal could end it while the worker is blocked.

sub block {
	my ($self, $msec) = @_;

	my ($owner, $file) = ($$, $self->{t}->testdir() . '/blocking');

	$self->{t}->write_file('blocking', '');

	my $pid = fork_child(sub {
		while (-e $file && getppid() == $owner) {
			$self->{stall}->begin();
			sleep_until(now() + $msec);
			$self->{stall}->release();
			sleep_until(now() + $msec / 2);
		}

		POSIX::_exit(0);
	});

	return sub { unlink $file; waitpid $pid, 0; };
}

# What nginx, the client and the backend have seen of the POSTs of an attack.

sub witness {
	my ($self, $prefix, @posts) = @_;

	my %post = map { $_->{id} => { %$_, answered => answered($_), seen => 0, done => 0, tries => [] } } @posts;

	for (lines($self->{t}, 'carried.log')) {
		my ($what, $id) = split / /;
		$post{$id}{$what}++ if $post{$id};
	}

	for (lines($self->{t}, 'evidence.log')) {
		my ($id, $kinds, $evidence, $age) = split /\|/;
		$post{$id}{tries} = tries($kinds, $evidence, $age) if $post{$id};
	}

	my @all = values %post;

	return { posts => \@all, failures => [grep { grep { $_->{evidence} ne '-' } @{$_->{tries}} } @all] };
}

sub answered {
	my ($post) = @_;

	return $post->{response} =~ /^HTTP\S+ 200 .*\r\n\r\n\Q$post->{id}\E\n\z/s ? 1 : 0;
}

sub tries {
	my ($kinds, $evidence, $age) = @_;

	my @lists = map { [split /, /] } $kinds, $evidence, $age;

	return [map { { kind => $lists[0][$_], evidence => $lists[1][$_], age => $lists[2][$_] } } 0 .. $#{$lists[1]}];
}

sub lines {
	my ($t, $name) = @_;

	return split /\n/, $t->read_file($name);
}

# The tests

sub check {
	my ($self, $option, $events, $seen) = @_;

	my $name = $option->{name};
	my @posts = @{$seen->{posts}};
	my @failures = @{$seen->{failures}};

	# what the backend has seen of a request on a try that failed: one that was answered does not count

	my @twice = grep { $_->{done} > 1 } @posts;
	my @untrue = grep { has($_, keys %safe) && $_->{seen} > $_->{answered} } @failures;
	my @unseen = grep { has($_, 'received') && $_->{seen} <= $_->{answered} } @failures;

	cmp_ok(scalar @failures, '>=', $events, "$name, failed reuses");

	if ($option->{breaks} && $level >= $levels{$option->{breaks}}) {
		cmp_ok(scalar @twice, '>', 0, "$name, carried out twice, as the level takes it not to be");
		$self->{twice}{$_->{id}} = 1 for @twice;
	} else {
		is(texts(@twice), '', "$name, carried out twice");
	}

	if ($option->{processes}) {
		cmp_ok(scalar grep({ $_->{done} > $_->{answered} } @untrue), '>', 0,
			"$name, carried out after the backend has ended its side");
	} else {
		is(texts(@untrue), '', "$name, seen by the backend, which it should not have been");
	}

	if ($option->{unread}) {
		pass("$name, what was received may never have been read");
	} else {
		is(texts(@unseen), '', "$name, received, and nobody has seen it");
	}

	$self->{posts} += @posts;
	$self->{lost} += grep { !$_->{answered} } @posts;

	table($name, \@posts, \@failures, carried => scalar grep({ $_->{done} > $_->{answered} } @failures),
		twice => scalar @twice, untrue => scalar @untrue, unseen => scalar @unseen);
}

sub has {
	my ($post, @evidence) = @_;

	my %wanted = map { $_ => 1 } @evidence;

	return scalar grep { $wanted{$_->{evidence}} } @{$post->{tries}};
}

# The first of them.

sub texts {
	my @posts = @_;

	my @texts = map { my $post = $_; sprintf '%s at %.1f ms: %s, done %d, seen %d, answered %d', @$post{qw/id age/},
		join('; ', map { "$_->{kind} $_->{evidence}" } @{$post->{tries}}), @$post{qw/done seen answered/} } @posts;

	return join "\n", grep { defined } @texts[0 .. 4];
}

sub table {
	my ($name, $posts, $failures, @figures) = @_;

	my %count;

	$count{"$_->{kind} $_->{evidence}"}++ for grep { $_->{evidence} ne '-' } map { @{$_->{tries}} } @$failures;

	my $lost = grep { !$_->{answered} } @$posts;

	Rest::line($name, posts => scalar @$posts, lost => $lost, 'failed reuses' => scalar @$failures, @figures,
		join ', ', map { "$_ $count{$_}" } sort keys %count);
}

1;
