//! Passes the features of the nginx that the module is built for to the compiler, generates the bindings of nginx's
//! keepalive configuration, which no header of nginx declares, and compiles what only C can read of a request.

#![allow(clippy::expect_used)]

use std::env;
use std::path::PathBuf;

const KEEPALIVE_HEADER: &str = "src/nginx/c/keepalive.h";
const REQUEST_SOURCE: &str = "src/nginx/c/request.c";

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_NGINX_INCLUDE");
    println!("cargo::rerun-if-env-changed=DEP_NGINX_CFLAGS");

    export_nginx_features();
    generate_keepalive_bindings();
    compile_request();
}

/// Turns what nginx-sys found out about nginx into `cfg(ngx_feature = "...")`.
fn export_nginx_features() {
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES_CHECK");
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");

    let known = env::var("DEP_NGINX_FEATURES_CHECK").unwrap_or_else(|_| "any()".into());
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values({known}))");

    for feature in env::var("DEP_NGINX_FEATURES").unwrap_or_default().split(',') {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
    }
}

fn generate_keepalive_bindings() {
    println!("cargo::rerun-if-changed={KEEPALIVE_HEADER}");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the output folder"));

    bindgen::Builder::default()
        .header(KEEPALIVE_HEADER)
        .clang_args(nginx_include().iter().map(|path| format!("-I{}", path.display())))
        .clang_args(nginx_cflags())
        .allowlist_type("ngx_http_upstream_keepalive_srv_conf_t")
        .allowlist_recursively(false)
        .raw_line("use nginx_sys::{ngx_msec_t, ngx_uint_t};")
        .derive_debug(false)
        .layout_tests(false)
        .use_core()
        .generate()
        .expect("bindings of the keepalive configuration")
        .write_to_file(out.join("keepalive.rs"))
        .expect("OUT_DIR is writable");
}

fn compile_request() {
    println!("cargo::rerun-if-changed={REQUEST_SOURCE}");

    let mut build = cc::Build::new();

    for flag in nginx_cflags() {
        build.flag(flag);
    }

    // as the Rust around it, see tools/sanitize
    if env::var("CARGO_CFG_SANITIZE").is_ok_and(|names| names == "address") {
        build.flag("-fsanitize=address");
    }

    build.includes(nginx_include()).file(REQUEST_SOURCE).compile("request");
}

fn nginx_include() -> Vec<PathBuf> {
    let include = env::var_os("DEP_NGINX_INCLUDE").expect("nginx-sys names the include paths");

    env::split_paths(&include).collect()
}

fn nginx_cflags() -> Vec<String> {
    let cflags = env::var("DEP_NGINX_CFLAGS").unwrap_or_default();

    cflags.split_whitespace().map(String::from).collect()
}
