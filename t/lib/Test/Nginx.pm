package Test::Nginx;

# Runs nginx with a configuration of a suite's own, and ends it. The interface
# is documented at the end of this file.

use strict;
use warnings;

use Carp qw/croak/;
use Exporter qw/import/;
use File::Path qw/remove_tree/;
use File::Spec;
use File::Temp qw/tempdir/;
use IO::Socket::INET;
use POSIX qw/WNOHANG/;
use Scalar::Util qw/weaken/;
use Test::More ();
use Time::HiRes qw/clock_gettime CLOCK_MONOTONIC/;

use Test::Nginx::Build;
use Test::Nginx::HTTP qw/
    port log_core log_in log_out
    http http_get http_head http_start http_end http_content
/;

our @EXPORT    = qw/port log_in log_out http http_get http_head/;
our @EXPORT_OK = qw/http_start http_end http_content/;

our $NGINX = $ENV{TEST_NGINX_BINARY} // in_path('nginx') // '/usr/sbin/nginx';

# A suite's named subs may keep its object alive until the plan has been
# checked, too late for the tests of finish(). An END block is in time.

my @objects;
END { $_ && $_->finish() for @objects }
sub DESTROY { $_[0]->finish() }

sub new {
    my ($class) = @_;

    Test::More::BAIL_OUT("no nginx at $NGINX") unless -x $NGINX;

    my $self = bless {
        owner   => $$,
        build   => Test::Nginx::Build->new($NGINX),
        dir     => tempdir('nginx-test-XXXXXXXXXX', TMPDIR => 1),
        daemons => [],
        deaths  => [],
    }, $class;

    weaken($objects[@objects] = $self);

    # an exit leads to finish(), the default action of a signal does not

    $SIG{$_} ||= sub { exit 1 } for qw/HUP INT TERM/;

    return $self;
}

sub finish {
    my ($self) = @_;

    return if $self->{owner} != $$ or $self->{finished}++;

    local ($?, $!, $@);

    $self->stop();
    $self->stop_daemons();
    $self->check_error_log() if Test::More->builder->expected_tests;
    $self->clean_up();
}

# what a suite needs

sub has {
    my ($self, @features) = @_;

    for my $name (@features) {
        Test::More::plan(skip_all => "no $name available")
            unless $self->has_module($name) or $self->has_feature($name);
    }

    return $self;
}

sub has_module  { $_[0]{build}->has_module($_[1]) }
sub has_feature { $_[0]{build}->has_feature($_[1]) }
sub has_version { $_[0]{build}->has_version($_[1]) }

sub has_daemon {
    my ($self, $name) = @_;

    Test::More::plan(skip_all => "$name not found") unless in_path($name);

    return $self;
}

sub in_path {
    my ($name) = @_;
    my ($file) = grep { -x && !-d } map { "$_/$name" } split /:/, $ENV{PATH};
    return $file;
}

# finish() adds two tests

sub plan {
    my ($self, $count) = @_;
    Test::More::plan(tests => $count + 2);
    return $self;
}

sub todo_alerts {
    my ($self) = @_;
    $self->{todo_alerts} = 1;
    return $self;
}

# files

sub testdir { $_[0]{dir} }

sub read_file {
    my ($self, $name) = @_;

    open my $file, '<', "$self->{dir}/$name" or croak "Can't open $name: $!";
    local $/;
    my $content = <$file>;

    return $content;
}

sub write_file {
    my ($self, $name, $content) = @_;

    open my $file, '>:raw', "$self->{dir}/$name"
        or croak "Can't create $name: $!";
    print $file $content;
    close $file or croak "Can't write $name: $!";

    return $self;
}

sub write_file_expand {
    my ($self, $name, $content) = @_;

    # the globals first: what the environment adds is expanded too

    $content =~ s/%%TEST_GLOBALS%%/$self->globals()/ge;
    $content =~ s/%%TEST_GLOBALS_HTTP%%/$self->globals_http()/ge;
    $content =~ s/%%TEST_GLOBALS_STREAM%%/$ENV{TEST_NGINX_GLOBALS_STREAM}
        || ''/ge;

    $content =~ s/%%TESTDIR%%/$self->{dir}/g;
    $content =~ s/%%PORT_(\d+)%%/port($1)/ge;
    $content =~ s/%%PORT_(\d+)_UDP%%/port($1, udp => 1)/ge;
    $content =~ s/\b127\.0\.0\.1:\K(8\d{3})/port($1)/ge;

    return $self->write_file($name, $content);
}

sub globals {
    my ($self) = @_;

    my @modules = $self->{build}->dynamic_modules();

    $self->{has_globals} = 1;

    return join "\n", "pid $self->{dir}/nginx.pid;",
        "error_log $self->{dir}/error.log debug;",
        $ENV{TEST_NGINX_GLOBALS} // '',
        (map { "load_module $_;" } @modules), '';
}

sub globals_http {
    my ($self) = @_;

    my @temp = grep { $self->has_module($_) } qw/proxy fastcgi uwsgi scgi/;

    return join "\n", "root $self->{dir};",
        "access_log $self->{dir}/access.log;",
        (map { "${_}_temp_path $self->{dir}/${_}_temp;" } 'client_body', @temp),
        $ENV{TEST_NGINX_GLOBALS_HTTP} // '', '';
}

# nginx

sub command {
    my ($self, @options) = @_;

    my $dir = $self->{dir};

    push @options, '-g', "pid $dir/nginx.pid; error_log $dir/error.log debug;"
        unless $self->{has_globals};

    return ($NGINX, '-p', "$dir/", '-c', 'nginx.conf', '-e', 'error.log',
        @options);
}

sub run {
    my ($self) = @_;

    my $pidfile = "$self->{dir}/nginx.pid";
    unlink $pidfile;

    my $pid = fork_child($self->command());
    my ($exited, $failed);

    # with "daemon on" a good exit comes first, and then the pid file

    wait_until(10, sub {
        $exited ||= waitpid($pid, WNOHANG) == $pid && ($failed = $?, 1);
        return -s $pidfile || $failed || undef;
    });

    if (not -s $pidfile) {
        end_process($pid, TERM => 5, KILL => 5) unless $exited;
        croak "Can't start nginx";
    }

    $self->{nginx} = $exited ? $self->master() : $pid;

    return $self;
}

sub try_run {
    my ($self, $message) = @_;

    open my $stderr, '>&', \*STDERR or croak "Can't dup STDERR: $!";
    open STDERR, '>', File::Spec->devnull();
    my $started = eval { $self->run() };
    open STDERR, '>&', $stderr;

    return $self if $started;

    log_core(eval { $self->read_file('error.log') });
    Test::More::plan(skip_all => $message);
}

sub dump_config {
    my ($self) = @_;
    return Test::Nginx::Build::output_of($self->command('-T'));
}

sub reload {
    my ($self) = @_;
    kill HUP => $self->master() if $self->{nginx};
    return $self;
}

sub stop {
    my ($self) = @_;

    return $self unless $self->{nginx};

    # two masters after an upgrade of the binary

    my %masters = map { $_ => 1 } $self->master(), delete $self->{nginx};
    $self->stop_master($_) for keys %masters;

    return $self;
}

sub stop_master {
    my ($self, $pid) = @_;

    my @workers = children_of($pid);
    my ($signal, $status) = end_process($pid, QUIT => 30, TERM => 10, KILL => 5);

    if ($signal ne 'QUIT') {
        Test::More::diag("nginx does not quit, ended by SIG$signal");
        kill KILL => @workers if $signal eq 'KILL';

    } elsif ($status & 127) {
        push @{ $self->{deaths} },
            sprintf "nginx exited on signal %d\n", $status & 127;
    }
}

sub master {
    my ($self) = @_;
    my ($pid) = eval { $self->read_file('nginx.pid') =~ /^(\d+)/ };
    return $pid // $self->{nginx};
}

# daemons

sub run_daemon {
    my ($self, @command) = @_;
    push @{ $self->{daemons} }, fork_child(@command);
    return $self;
}

sub stop_daemons {
    my ($self) = @_;

    while (my $pid = shift @{ $self->{daemons} }) {
        end_process($pid, TERM => 5, KILL => 5);
    }

    return $self;
}

# waiting

sub waitforfile {
    my ($self, $path, $pid) = @_;
    my $exited;

    my $seen = wait_until(5, sub {
        return 1 if -e $path;
        return 0 if $exited;
        $exited = 1 if $pid && waitpid($pid, WNOHANG);
        return undef;
    });

    return $seen;
}

sub waitforsocket {
    my ($self, $peer) = @_;

    return wait_until(5, sub {
        IO::Socket::INET->new(Proto => 'tcp', PeerAddr => $peer) && 1;
    });
}

# Calls $done until it returns a defined value or time is up.

sub wait_until {
    my ($seconds, $done) = @_;
    my $end = clock_gettime(CLOCK_MONOTONIC) + $seconds;

    while (1) {
        my $value = $done->();
        return $value if defined $value;
        return undef if clock_gettime(CLOCK_MONOTONIC) > $end;
        select undef, undef, undef, 0.02;
    }
}

# processes

sub fork_child {
    my ($code, @args) = @_;

    my $pid = fork() // croak "Can't fork: $!";
    return $pid if $pid;

    # whatever happens, a child must not return into the suite

    $SIG{$_} = 'DEFAULT' for qw/HUP INT TERM/;

    eval {
        ref $code ? $code->(@args) : exec $code, @args;
        1;
    } or warn $@;

    exit(ref $code && !$@ ? 0 : 1);
}

# Sends each signal in turn, until the process is gone within the seconds that
# belong to the signal. Returns the last signal sent and the exit status.

sub end_process {
    my ($pid, @steps) = @_;
    my ($signal, $seconds, $status);

    while (not defined $status and @steps) {
        ($signal, $seconds) = splice @steps, 0, 2;
        kill $signal => $pid;
        $status = wait_until($seconds, sub { exit_status($pid) });
    }

    return ($signal, $status);
}

# undef while the process runs, 0 when it is gone but was no child of ours

sub exit_status {
    my ($pid) = @_;

    return $? if waitpid($pid, WNOHANG) == $pid;
    return kill(0, $pid) ? undef : 0;
}

sub children_of {
    my ($pid) = @_;
    open my $list, '<', "/proc/$pid/task/$pid/children" or return;
    return split ' ', <$list> // '';
}

# the end

sub check_error_log {
    my ($self) = @_;

    my @alerts = @{ $self->{deaths} };
    my @crashes;

    open my $log, '<', "$self->{dir}/error.log";

    while (defined(my $line = $log && <$log>)) {
        push @alerts, $line if $line =~ /^\S+ (?:\S+ )?\[(?:alert|emerg)\]/;

        # the message of a panic is on the line after

        push @crashes, $line, $line =~ /panicked at/ ? scalar <$log> : ()
            if $line =~ /panicked at|Sanitizer|: runtime error: /;
    }

    my $builder = Test::More->builder;

    $builder->todo_start('alerts') if $self->{todo_alerts};
    $builder->is_eq(join('', @alerts), '', 'no alerts');
    $builder->todo_end() if $self->{todo_alerts};

    $builder->is_eq(join('', grep { defined } @crashes), '',
        'no panics or sanitizer errors');
}

sub clean_up {
    my ($self) = @_;

    if ($ENV{TEST_NGINX_CATLOG}) {
        my $log = eval { $self->read_file('error.log') } // '';
        $log =~ s/^/# /gm;
        print { Test::More->builder->output } $log;
    }

    if ($ENV{TEST_NGINX_LEAVE}) {
        Test::More::note("files are left in $self->{dir}");
        return;
    }

    remove_tree($self->{dir}, { error => \my $ignored });
}

1;
