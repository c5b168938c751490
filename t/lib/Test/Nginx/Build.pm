package Test::Nginx::Build;

# What an nginx binary was built with, as its -V tells, and what this machine
# adds to that. Used by Test::Nginx.

use strict;
use warnings;

use File::Basename qw/basename dirname/;
use File::Spec;

use Test::Nginx::Process qw/output_of/;

my $built_in = join '|', qw/
    http cache rewrite pcre proxy fastcgi uwsgi scgi grpc memcached tunnel
    upstream_hash upstream_ip_hash upstream_least_conn upstream_least_time
    upstream_random upstream_keepalive upstream_zone upstream_sticky
    access auth_basic autoindex browser charset empty_gif geo gzip limit_conn
    limit_req map mirror referer split_clients ssi userid
    stream_access stream_geo stream_limit_conn stream_map stream_pass
    stream_return stream_set stream_split_clients stream_upstream_hash
    stream_upstream_least_conn stream_upstream_least_time
    stream_upstream_random stream_upstream_zone
/;

# those whose bare name may occur elsewhere in what -V prints

my $optional = join '|', qw/
    auth_request flv mail perl realip stream stream_ssl sub
/;

sub new {
    my ($class, $binary) = @_;

    my $about = output_of($binary, '-V');

    return bless { binary => $binary, about => $about }, $class;
}

sub has_module {
    my ($self, $name) = @_;

    my $about  = $self->{about};
    my $option = qr/(?:http[_-])?$name(?:_module)?/;

    return $about !~ /--without-$option(?!\S)/ if $name =~ /^(?:$built_in)$/;
    return $about =~ /TLS SNI support enabled/ if $name eq 'sni';

    return $self->has_file($1) if $about =~ /--with-($option)=dynamic/;

    return $about =~ /--with-$option(?!\S)/ if $name =~ /^(?:$optional)$/;
    return $about =~ /$name/;
}

sub has_feature {
    my ($self, $name) = @_;

    return 1 if $name =~ /^(?:unix|udp|symlink)$/;
    return has_socket_ssl($1) if $name =~ /^socket_ssl_?(.*)/;

    my ($library, $need) = $name =~ /^(openssl|libressl):(.+)/ or return 0;
    my ($have) = $self->{about} =~ /with $library ([\d.]+[a-z]*)/i;

    return at_least($have, $need);
}

sub has_version {
    my ($self, $need) = @_;

    my ($have) = $self->{about} =~ m!^nginx version: [^\s/]+/([\d.]+)!m;

    return at_least($have, $need);
}

# The dynamic modules of nginx itself that are there, and have to be loaded.

sub dynamic_modules {
    my ($self) = @_;

    my @options = sort $self->{about} =~ /--with-(\w+)=dynamic/g;

    return grep { -e and not in_globals($_) }
        map { $self->file_of($_) } @options;
}

sub has_file {
    my ($self, $option) = @_;
    my $file = $self->file_of($option);
    return -e $file || in_globals($file);
}

sub in_globals {
    my ($file) = @_;
    return index($ENV{TEST_NGINX_GLOBALS} // '', basename($file)) >= 0;
}

sub file_of {
    my ($self, $option) = @_;

    my $dir = $ENV{TEST_NGINX_MODULES} // dirname($self->{binary});

    $option =~ s/_module$//;
    $option =~ s/xslt$/xslt_filter/;

    return File::Spec->rel2abs("ngx_${option}_module.so", $dir);
}

sub has_socket_ssl {
    my ($what) = @_;

    return 0 unless eval { require IO::Socket::SSL };

    my %check = (
        ''         => sub { 1 },
        sni        => sub { IO::Socket::SSL->can_client_sni() },
        alpn       => sub { IO::Socket::SSL->can_alpn() },
        sslversion => sub { IO::Socket::SSL->can('get_sslversion') },
        reused     => sub { IO::Socket::SSL->can('get_session_reused') },
    );

    return $check{$what} && eval { $check{$what}->() } ? 1 : 0;
}

# Compares 1.22.1 with 1.9, and 1.0.2k with 1.0.2.

sub at_least {
    my ($have, $need) = @_;

    return 0 unless defined $have;

    my ($h, $n) = map {
        [ map { /\d/ ? $_ : ord } /\d+|[a-z]/g ]
    } $have, $need;

    for my $part (@$n) {
        my $order = (shift @$h // 0) <=> $part;
        return $order > 0 if $order;
    }

    return 1;
}

1;
