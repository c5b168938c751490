MODULE = ngx_http_upstream_idle_timeout_module

# The nginx to build for: empty for the one that is built along from the crate nginx-src.
NGINX ?= $(filter-out $(CURDIR)/build/nginx build/nginx $(CURDIR)/build/dev/nginx,$(TEST_NGINX_BINARY))
# nginx takes a variable of that name for sockets to inherit
unexport NGINX

# PROFILE=dev builds without optimisation and with checks of arithmetic and pointers, in folders of its own.
PROFILE ?= release
PROFILE_DIR = $(if $(filter-out release,$(PROFILE)),/$(PROFILE))

ifeq ($(NGINX),)
    OUT := $(CURDIR)/build$(PROFILE_DIR)
    BINARY := $(OUT)/nginx
    CARGO_FLAGS := --profile $(PROFILE) --target-dir $(OUT)/cargo
    ENV := unset NGINX_SOURCE_DIR NGINX_BUILD_DIR
else
    ID := $(shell tools/nginx-info $(NGINX) id)
    OUT := $(CURDIR)/build/$(or $(ID),$(error $(NGINX) can not be built for))$(PROFILE_DIR)
    BINARY := $(NGINX)
    CARGO_FLAGS := --profile $(PROFILE) --target-dir $(OUT)/cargo --no-default-features
    ENV := . $(OUT)/env
endif

SO = $(OUT)/$(MODULE).so

# Suites run under the library in t/lib, or under the one of a checkout of nginx-tests.
TEST_LIB = $(if $(NGINX_TESTS_DIR),$(NGINX_TESTS_DIR)/lib,t/lib)
TESTS ?= t
TEST_JOBS ?= 2
FAULTS ?= lab/faults

# A worker that root starts is nobody, and may not go where the suites keep their files.
TEST_USER = $(if $(filter 0,$(shell id -u)),user root;)

TEST_ENV = TEST_NGINX_BINARY=$(or $(TEST_BINARY),$(BINARY)) \
	TEST_NGINX_GLOBALS='load_module $(SO); $(TEST_USER) $(TEST_NGINX_GLOBALS)'

BENCHES ?= failures cost scale
BENCH_DIR = $(CURDIR)/build/bench

# Each of them runs, whatever becomes of the others.
define BENCH
status=0; for bench in $(BENCHES); do \
	NODE_PATH=$(BENCH_DIR)/node_modules node lab/bench/$$bench.js $(BINARY) $(SO) $(BENCH_DIR) $(1) || status=1; \
done; exit $$status
endef

# What is simulated, and how it is built.
TABLES ?= table unseen goal more
LEARN_FLAGS = --locked --manifest-path lab/learn/Cargo.toml --target-dir $(CURDIR)/build/learn

# Where each of them comes from is known to tools/matrix.
RELEASES ?= 1.22.1 1.26.3 1.28.3 1.30

.PHONY: all help demo backends test unittest suites matrix faults headline soak valgrind sanitize check docs-check fuzz mutants \
	learn bench bench-quick bench-fetch install clean build-packages
.DELETE_ON_ERROR:

all: build-packages $(SO) ## Build the module, and without NGINX= an nginx to go with it

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'NGINX=/usr/sbin/nginx builds for an installed nginx; its headers come from Debian'\''s nginx-dev'
	@echo 'or from NGINX_SOURCE_DIR, with NGINX_BUILD_DIR if they are configured already.'

demo: all ## Show the failures of stock nginx, and none with the module
	@tools/packages demo
	node lab/demo/demo.js $(BINARY) $(SO)

backends: all ## Measure real backends, or those in BACKENDS="node puma", with stock nginx and with the module
	@tools/packages backends
	node lab/backends/runner/run.js $(BINARY) $(SO) $(CURDIR)/build/backends $(BACKENDS)

test: unittest suites ## Run the unit tests and the suites in t/

unittest: build-packages $(OUT)/env
	@$(ENV) && cargo test $(CARGO_FLAGS)
	cargo test --release $(LEARN_FLAGS)

suites: all
	@tools/packages test
	PROMETHEUS_DIR=$$(tools/prometheus $(CURDIR)/build/prometheus && echo $(CURDIR)/build/prometheus) \
		$(TEST_ENV) prove -j$(TEST_JOBS) -I $(TEST_LIB) $(TESTS)

matrix: build-packages ## Run the suites with several releases of nginx (RELEASES=1.22.1)
	@MAKE='$(MAKE)' tools/matrix $(RELEASES)

valgrind: build-packages ## Run the suites under valgrind's memcheck
	@tools/packages valgrind
	@MAKE='$(MAKE)' tools/valgrind $(TESTS)

sanitize: build-packages ## Run the suites under AddressSanitizer
	@tools/packages sanitize
	@MAKE='$(MAKE)' tools/sanitize $(TESTS)

faults: all ## Try faults: workers blocked or killed, reloads, resets, latency, exhaustion (15 minutes)
	@tools/packages faults
	@rm -f $(OUT)/faults.table
	@FAKETIME_LIBRARY=$$(tools/faketime $(CURDIR)/build/faketime) FAULTS_TABLE=$(OUT)/faults.table \
		$(TEST_ENV) prove -j$(TEST_JOBS) -I t/lib $(FAULTS); status=$$?; cat $(OUT)/faults.table; exit $$status

headline: all ## Requests that meet a closing connection 10 ms away: stock nginx, and with DIRECTIVE='...' (2 minutes)
	@tools/packages faults
	@$(TEST_ENV) lab/faults/headline $(if $(DIRECTIVE),"$(DIRECTIVE)")

soak: all ## Mixed load with faults for SECONDS=600: memory and counters
	@tools/packages test
	@$(TEST_ENV) lab/faults/soak $(or $(SECONDS),600)

check: build-packages $(OUT)/env ## Check the format, the lints and the documentation
	@tools/packages fuzz
	tools/rooms
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check --manifest-path lab/bench/contenders/pingora/Cargo.toml
	cargo fmt --check --manifest-path lab/learn/Cargo.toml
	cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir $(CURDIR)/build/fuzz/check
	@$(ENV) && cargo clippy $(CARGO_FLAGS) --all-targets -- --deny warnings
	cargo clippy --release $(LEARN_FLAGS) --bins --tests -- --deny warnings
	@$(ENV) && RUSTDOCFLAGS='--deny warnings' cargo doc $(CARGO_FLAGS) --no-deps --document-private-items

docs-check: all ## Try what the documentation says: links, tests, configurations, commands, metrics
	@tools/packages test
	@tools/docs-check $(BINARY) $(SO)

fuzz: ## Fuzz the parts that are free of nginx for SECONDS=60 in all
	@tools/packages fuzz
	fuzz/run $(CURDIR)/build/fuzz $(or $(SECONDS),60)

mutants: build-packages ## Break the parts that are free of nginx in 250 places: the unit tests have to see it
	@tools/mutants $(CURDIR)/build/mutants

learn: build-packages ## Simulate backends, and what is learned of them; TABLES="table unseen goal more" (15 minutes)
	@cargo build --release $(LEARN_FLAGS)
	@for table in $(TABLES); do echo; build/learn/release/learn $$table || exit; done

bench: bench-fetch ## Benchmarks, those in BENCHES="failures cost scale"; results go to lab/bench/results (15 minutes)
	@$(call BENCH)

bench-quick: bench-fetch ## The same benchmarks in 2 minutes; results go to build/bench
	@$(call BENCH,quick)

install: all ## Install the module where its nginx looks for modules (under DESTDIR)
	install -D -m 644 $(SO) $(DESTDIR)$(shell tools/nginx-info $(BINARY) modules-path)/$(MODULE).so

clean: ## Remove all that was built
	rm -rf build

# ECharts draws the pictures. They can be done without.
bench-fetch: all
	@tools/packages bench
	@mkdir -p $(BENCH_DIR)
	@cmp -s lab/bench/package-lock.json $(BENCH_DIR)/package-lock.json || { \
		cp lab/bench/package.json lab/bench/package-lock.json $(BENCH_DIR) && \
		npm ci --prefix $(BENCH_DIR) --no-audit --no-fund --ignore-scripts --silent; \
	} || rm -f $(BENCH_DIR)/package-lock.json

build-packages:
	@tools/packages build

# cargo knows what has changed; it tells in its messages where it has put things
$(SO): build-packages $(OUT)/env FORCE
	@$(ENV) && cargo build $(CARGO_FLAGS) --message-format=json-render-diagnostics >$(OUT)/messages
	@install -C -m 644 $$(sed -n 's/.*"filenames":\["\([^"]*lib$(MODULE)\.so\)".*/\1/p' $(OUT)/messages) $@
ifeq ($(NGINX),)
	@install -C -m 755 $$(sed -n 's/.*nginx-sys@.*"out_dir":"\([^"]*\)".*/\1/p' $(OUT)/messages)/objs/nginx $(BINARY)
endif

$(OUT)/env: FORCE
	@mkdir -p $(OUT)
ifeq ($(NGINX),)
	@touch $@
else
	@tools/nginx-source $(NGINX) $(OUT)
endif

FORCE:
