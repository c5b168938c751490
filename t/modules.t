#!/usr/bin/perl

# Tests for upstream_idle_timeout module, reloads that load it, unload it, put
# another copy in its place, and take away what it works on.

###############################################################################

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/inc";

use File::Copy;

use Backend;
use Client;
use Status;
use Test::Nginx;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $LOAD = qr!load_module\s+"?([^\s;"]*ngx_http_upstream_idle_timeout_module\.so)"?\s*;!;

my ($so) = ($ENV{TEST_NGINX_GLOBALS} // '') =~ $LOAD;

plan(skip_all => 'no load_module of the module in TEST_NGINX_GLOBALS') unless $so;

# what a configuration may be

my %state = (
	without => { load => 0, http => 1 },
	neither => { load => 0, http => 0 },
	loaded => { load => 1, http => 1 },
	nohttp => { load => 1, http => 0 },
	used => { load => 1, http => 1, upstream => 'u' },
	renamed => { load => 1, http => 1, upstream => 'renamed' },
	copy => { load => 'copy', http => 1, upstream => 'u' },
);

# each of them after each

my @walk = possible(walk(sort keys %state));
my $pairs = @walk - 1;

my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(3 * $pairs + 3);

copy($so, $t->testdir() . '/copy.so') or die "cannot copy: $!\n";

$t->run_daemon(\&Backend::run, $t, port => port(8081), log => '/dev/null');
$t->waitforsocket('127.0.0.1:' . port(8081));

###############################################################################

# as the first configuration of an nginx

my @failed = grep { configure($t, $_, 0); $t->dump_config() !~ /^events/m } sort keys %state;

is("@failed", '', 'tested');

# the requests that should be counted of each upstream, and whose memory it is that counts them

my (%counted, $memory);
my $last = shift @walk;

# the tests have left a file

unlink $t->testdir() . '/nginx.pid';

configure($t, $last, 0);
$t->run();

my ($master) = $t->read_file('nginx.pid') =~ /(\d+)/;

is(requests($last, 0), 'answered', "$last at first, requests");

my $n = 0;

for my $next (@walk) {
	reload($t, $next, ++$n);

	is(workers($t) ? 'alive' : 'dead', 'alive', "$last to $next, master");
	is(requests($next, $n), 'answered', "$last to $next, requests");
	is(counted($next), expected($next), "$last to $next, counters");

	$last = $next;
}

is($t->read_file('nginx.pid') + 0, $master, 'same master');

###############################################################################

# A way that goes from each of these to each, once.

sub walk {
	my @all = @_;

	my %left = map { $_ => [@all] } @all;
	my (@stack, @way) = ($all[0]);

	while (@stack) {
		my $left = $left{$stack[-1]};

		if (@$left) {
			push @stack, shift @$left;
		} else {
			unshift @way, pop @stack;
		}
	}

	return @way;
}

# nginx itself dies when a configuration with http{} is without a dynamic module that the one before loaded without
# http{}: it counts the index that the module never got.

sub possible {
	my ($first, @others) = @_;

	my @way = $first;

	for my $next (@others) {
		push @way, 'loaded' if $way[-1] eq 'nohttp' && $next =~ /^(?:without|copy)$/;
		push @way, $next;
	}

	return @way;
}

sub configure {
	my ($t, $name, $n) = @_;

	my $state = $state{$name};
	my $upstream = $state->{upstream} // 'u';
	my $directive = $state->{upstream} ? 'upstream_idle_timeout 30s;' : '';
	my $status = $state->{load} ? 'location /status { upstream_idle_status; }' : '';

	my $http = $state->{http} ? <<"EOF" : '';
http {
    %%TEST_GLOBALS_HTTP%%

    upstream $upstream {
        server 127.0.0.1:8081;
        keepalive 8;
        $directive
    }

    server {
        listen       127.0.0.1:8080;
        server_name  localhost;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        add_header X-Configuration $n;

        location / {
            proxy_pass http://$upstream;
        }

        $status
    }
}
EOF

	$t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

daemon off;

events {
}

$http

EOF

	return if ($state->{load} eq 1);

	# another module, or none

	my $load = $state->{load} ? "load_module @{[$t->testdir()]}/copy.so;" : '';
	my $text = $t->read_file('nginx.conf');

	$text =~ s/$LOAD/$load/ or die "no load_module\n";
	$t->write_file('nginx.conf', $text);
}

# Reloads, and waits until there are new workers only.

sub reload {
	my ($t, $name, $n) = @_;

	my %old = map { $_ => 1 } workers($t);

	configure($t, $name, $n);
	$t->reload();

	wait_for(sub { my @new = workers($t); !@new || !grep { $old{$_} } @new }) or diag('reload takes long');

	# they would go on without a master

	kill KILL => keys %old unless workers($t);
}

# There are some as long as the master is alive.

sub workers {
	my ($t) = @_;

	open my $children, '<', "/proc/$master/task/$master/children" or return;

	return split ' ', <$children> // '';
}

# Makes three requests, on one connection to the backend.

sub requests {
	my ($name, $n) = @_;

	my @responses = map { get('/') // '' } 1 .. 3;
	my $answers = join ' ', map { /^X-Configuration: $n\r$/m ? (served($_))[1] : 'none' } @responses;
	my $upstream = $state{$name}{upstream};

	remember($name);
	$counted{$upstream} += 3 if $upstream;

	return $answers eq ($state{$name}{http} ? '1 2 3' : 'none none none') ? 'answered' : $answers;
}

# What counts is gone when a configuration has nothing to do with it.

sub remember {
	my ($name) = @_;

	my $state = $state{$name};
	my $here = $state->{http} && $state->{load};

	# a memory begins with a directive, and stays without one

	%counted = () unless $here && defined $memory && $here eq $memory;
	$memory = $here || undef;
}

# The requests that are counted, by upstream.

sub counted {
	my ($name) = @_;

	return '' unless $state{$name}{http} && $state{$name}{load};

	my $figures = figures();

	return join ' ', map { "$_ " . ($figures->{$_}{''}{connects} + $figures->{$_}{''}{reuses}) } sort keys %$figures;
}

sub expected {
	my ($name) = @_;

	my $upstream = $state{$name}{upstream} // return '';

	return "$upstream $counted{$upstream}";
}

###############################################################################
