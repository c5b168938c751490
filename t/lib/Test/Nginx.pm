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

use Test::Nginx::Build;
use Test::Nginx::HTTP qw/
    port log_core log_in log_out
    http http_get http_head http_start http_end http_content
/;
use Test::Nginx::Process qw/
    wait_until fork_child end_process children_of output_of
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

    # in one pass: a port that has been expanded may look like one to expand

    $content =~ s/(?|%%PORT_(\d+)(_UDP)?%%|\b127\.0\.0\.1:\K(8\d{3})())
        /port($1, udp => $2)/gex;

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
    return output_of($self->command('-T'));
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
    my ($signal, $status)
        = end_process($pid, QUIT => 30, TERM => 10, KILL => 5);

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

# the end

sub check_error_log {
    my ($self) = @_;

    my ($alerts, $crashes) = $self->troubles();
    my $builder = Test::More->builder;

    $builder->todo_start('alerts') if $self->{todo_alerts};
    Test::More::is($alerts, '', 'no alerts');
    $builder->todo_end() if $self->{todo_alerts};

    Test::More::is($crashes, '', 'no panics or sanitizer errors');
}

sub troubles {
    my ($self) = @_;

    my $alerts = join '', @{ $self->{deaths} };
    my $crashes = '';

    open my $log, '<', "$self->{dir}/error.log" or return ($alerts, $crashes);

    while (my $line = <$log>) {
        $alerts .= $line if $line =~ /^\S+ (?:\S+ )?\[(?:alert|emerg)\]/;

        next unless $line =~ /panicked at|Sanitizer|: runtime error: /;

        # the message of a panic is on the line after

        $crashes .= $line;
        $crashes .= <$log> // '' if $line =~ /panicked at/;
    }

    return ($alerts, $crashes);
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

__END__

=head1 NAME

Test::Nginx - run nginx with a configuration of a test's own

=head1 SYNOPSIS

    use Test::More;
    use Test::Nginx;

    my $t = Test::Nginx->new()->has(qw/http proxy upstream_keepalive/)->plan(1);

    $t->write_file_expand('nginx.conf', <<'EOF');

    %%TEST_GLOBALS%%

    daemon off;

    events {
    }

    http {
        %%TEST_GLOBALS_HTTP%%

        server {
            listen 127.0.0.1:8080;
            location / { return 204; }
        }
    }

    EOF

    $t->run();

    like(http_get('/'), qr/ 204 /, 'answered');

=head1 DESCRIPTION

The part of the interface of the nginx project's test library that the suites
here need; a suite written for this one runs under that one as well.

When the object goes out of scope, or the suite dies or is interrupted, nginx
and the daemons are ended, error.log is looked through, and the directory is
removed. Keep the object in a C<my> variable of the file, and hand it to subs
as an argument. The nginx project's library can't finish in time otherwise.

=head1 METHODS

Methods whose result is not described return the object, for chaining.

=over

=item new()

Makes a temporary directory. Without a binary the whole run of tests bails out.

=item has(names), has_daemon(program)

Skips the suite unless nginx has all of these, or the program is in PATH. A
name is that of an nginx module as the options of configure spell it (http,
proxy, upstream_zone, http_ssl, stub_status), or one of: unix, socket_ssl (the
Perl module), socket_ssl_sni, socket_ssl_alpn, openssl:1.1.1 (at least). Any
other name is a regular expression that the output of C<nginx -V> must match.

=item has_module(name), has_feature(name), has_version('1.29.7')

The same questions, one for modules, one for the rest, one for the version of
nginx (at least), answered with true or false.

=item plan(n)

Plans n tests, and the two that the library adds at the end: I<no alerts> fails
on a message of level alert or emerg in error.log (a worker that exited on a
signal is an alert), and when nginx itself died of a signal; I<no panics or
sanitizer errors> fails on a Rust panic or the report of a sanitizer. Without a
plan in advance these two are not made, so C<done_testing> is of no use.

=item todo_alerts()

The suite provokes alerts: the first of the two may fail. The second may not.

=item write_file(name, text), write_file_expand(name, text), read_file(name)

Files in the directory; C<read_file> returns the content, or dies. Expanded are
C<%%TEST_GLOBALS%%>, C<%%TEST_GLOBALS_HTTP%%> (one each, in the main and in the
http context), C<%%TESTDIR%%>, C<%%PORT_8081%%>, C<%%PORT_8081_UDP%%>, and the
port in 127.0.0.1:8000 to 127.0.0.1:8999. See C<port>.

=item testdir()

Returns the directory.

=item run(), try_run(why), reload(), stop()

C<run> starts nginx with nginx.conf and returns when it listens; it dies when
nginx does not start, and C<try_run> skips the suite then. C<reload> sends the
signal and does not wait: let the suite wait for what it expects. C<stop> ends
nginx gracefully, and by force after half a minute.

=item dump_config()

Returns what C<nginx -T> prints.

=item run_daemon(code or program, arguments), stop_daemons()

Starts a process, such as a backend. Reserve its ports before: a port that is
first asked for in the daemon is not known outside of it.

=item waitforfile(path, pid), waitforsocket('127.0.0.1:' . port(8081))

True as soon as the file exists or the socket accepts a connection, false after
five seconds, or when the process, which is optional, exited first.

=back

=head1 FUNCTIONS

Exported: port, http, http_get, http_head, log_in, log_out. On demand:
http_start, http_end, http_content.

=over

=item port(8081, options)

Reserves a port for as long as the suite runs, and returns it: this one, or
another when it is taken. So suites can run at the same time, and must not
expect a number literally. C<udp> reserves a UDP port. With C<socket> the
socket that holds the reservation is returned.

=item http(request, options), http_get(uri, options), http_head(uri, options)

Sends the request, reads until nginx closes the connection, returns all that
came. The result is undef when there is no connection, or when eight seconds
were not enough for sending or for reading. Options: C<start> returns the
socket after sending; C<socket> is an open connection to use; C<SSL> connects
to port 8443 with TLS; C<body> is sent after the request, C<sleep> seconds
later. What else there is goes to L<IO::Socket::INET>, such as C<PeerAddr>, and
to L<IO::Socket::SSL>.

=item http_start(request, options), http_end(socket)

The two halves of C<http>.

=item http_content(response)

The body, with chunks joined; if the last one is missing, it ends in
C<[no-last-chunk]>.

=item log_in(text), log_out(text)

Shows the text when TEST_NGINX_VERBOSE is set.

=back

=head1 ENVIRONMENT

=over

=item TEST_NGINX_BINARY

The nginx to test. By default the first in PATH.

=item TEST_NGINX_MODULES

The directory of nginx's own dynamic modules. By default that of the binary.

=item TEST_NGINX_GLOBALS, TEST_NGINX_GLOBALS_HTTP, TEST_NGINX_GLOBALS_STREAM

Added to the configurations of all suites, such as C<load_module path;> or,
when root runs the tests, C<user root;>.

=item TEST_NGINX_VERBOSE, TEST_NGINX_CATLOG, TEST_NGINX_LEAVE

Show the dialogues; show error.log at the end; leave the directory.

=item TEST_NGINX_UNSAFE

Not looked at here. A suite that may disturb the machine skips itself unless
this is set.

=back

=cut
