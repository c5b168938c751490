package Test::Nginx::Process;

# Starting, awaiting and ending processes. Every wait is for a condition, and
# has a bound. Used by Test::Nginx.

use strict;
use warnings;

use Carp qw/croak/;
use Exporter qw/import/;
use POSIX qw/WNOHANG/;
use Time::HiRes qw/clock_gettime CLOCK_MONOTONIC/;

our @EXPORT_OK = qw/wait_until fork_child end_process children_of output_of/;

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

# Standard output and standard error of a command.

sub output_of {
    my (@command) = @_;

    my $pid = open(my $out, '-|') // die "can't fork: $!\n";

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }

    local ($/, $?);
    my $text = <$out>;
    close $out;

    return $text // '';
}

1;
