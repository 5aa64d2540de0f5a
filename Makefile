# Everything that is done with this repository. `make` alone lists it.
#
# ARGS is passed on where it makes sense: make test ARGS="a_redelivered_request", make sync ARGS="contacts --full".

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The queries are checked from .sqlx, not from whatever DATABASE_URL points at: sqlx reads that when it compiles, too.
export SQLX_OFFLINE := true
# Where rustup puts cargo, for shells that have not been told.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Nothing on loopback goes through a proxy: the simulator, the worker's callback.
export NO_PROXY := 127.0.0.1,localhost,$(NO_PROXY)
export no_proxy := $(NO_PROXY)

# Tests wait for servers, deadlines and delays far more than for a processor.
export RUST_TEST_THREADS ?= 6

TOOLS := target/tools
TARPAULIN := 0.37.5
MDBOOK := 0.5.4
CARGO_DENY := 0.20.2
ARGS ?=
SEEDS ?= 200
SEED ?=
REFRESHES ?= 2000
CASES ?= 10000
ECONOMY_OF ?= 10000
STORM_OF ?= 5000
PART ?= 1
QUICK ?= 0
SPEC ?=
CATALOG ?=
UPDATE ?=
WRITE ?=
JSON ?=
RELEASE ?=
AUDIT ?=
OUT ?= target/release-files
# Other servers than the machine's: trixie, sid, postgres:npm-16,rabbitmq:sid; see dev/servers.
SERVERS ?=
export SERVERS
# Debian's Python has Debian's PyYAML; one that stands before it on the PATH may have none.
PYTHON = $(shell python3 -c 'import yaml' 2>/dev/null && echo python3 || echo /usr/bin/python3)

# SEEDS, SEED and REFRESHES are of the fault suite: make faults SEEDS=200, make faults SEED=17, make soak REFRESHES=2000;
# CASES and SEED of the hostile one: make hostile CASES=10000, make hostile SEED=17.
.PHONY: help install demo test test-integrations faults matrix soak hostile drift webhooks economy check format format-check lint limits prepare prepare-check tables site pages resources views upgrade-dump schemas api-diff api-diff-check docs coverage bench bench-functions server sync deploy-check dockertest release release-check habits audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## install what building, testing and the demo need (apt), or name it
	@dev/install

demo: ## sync a simulated account with private servers, and compare every row; RELEASE=folder has the programs, and nothing is compiled
	@RELEASE="$(RELEASE)" dev/demo

test: install ## run all tests, with a private PostgreSQL and RabbitMQ; SERVERS=sid with those of a Debian release; see dev/servers
	@dev/servers run $(MAKE) in-servers-test

# Tests start the binaries as processes of their own, and cargo builds a test only those of its own package. All in one build: for other
# targets cargo would choose other features of the dependencies, and build these once more.
.PHONY: binaries
binaries:
	cargo build --workspace --bins --tests --locked --features fault-points

.PHONY: in-servers-test
in-servers-test: binaries
	dev/tests $(ARGS)

test-integrations: ## run the HTTP API, the dashboard, clients and integrations/{airflow,dbt} against what they are for, which it installs
	@dev/install integrations
	tests/integrations/run $(ARGS)

faults: install binaries ## play the seeds 1 to SEEDS of the fault suite, or SEED alone, on SERVERS; see tests/faults
	$(if $(SEED),FAULT_SEED=$(SEED),FAULT_SEEDS=$(SEEDS)) cargo test --locked --features fault-points --test faults

matrix: install binaries ## play integration tests and SEEDS (20) seeds on each version of the servers, or on SERVERS; write the table in docs/testing.md
	SEEDS=$(if $(filter file,$(origin SEEDS)),20,$(SEEDS)) dev/matrix

soak: install binaries ## refresh tokens REFRESHES times, with kills in between
	FAULT_SOAK=$(REFRESHES) cargo test --locked --features fault-points --test faults

check: install format-check habits-quick lint limits pages prepare-check docs api-diff-check ## formatting, spelling, clippy, dev/limits, links, .sqlx, the documentation and dev/api-diff, as the CI does

format: ## format the code
	cargo fmt --all

format-check:
	cargo fmt --all --check

lint: ## clippy, with all features and with none, warnings being errors; shellcheck, if it is there
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	cargo clippy --bins --no-default-features --locked -- -D warnings
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck --external-sources $$(grep --files-with-matches --directories=skip "^#!.*bash" dev/* dev/release_parts/* tests/release/*) deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm .github/rust .ci/run deploy/compose/setup deploy/compose/database.sh tests/deploy/check tests/deploy/database tests/integrations/run tests/docker/stand-ins tests/docker/try tests/docker/*/entrypoint; fi

limits: ## import circles, imports that run up, lengths of files and lines
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest discover --start-directory tests/limits
	dev/limits

prepare: install ## write .sqlx anew, after a query or a migration has changed
	@dev/prepare

prepare-check:
	dev/prepare --check

tables: install ## write all tables of docs/ that repeat the code: settings, commands, metrics, events, limits, resources, views
	WRITE_TABLES=1 WRITE_RESOURCES=1 WRITE_VIEWS=1 cargo test --quiet --locked --features fault-points --lib -- \
		cli::tables catalog::table views::document views::stable_columns

site: ## build the pages as a site with search, by mdBook, which it installs: target/site/book
	@[[ -x $(TOOLS)/bin/mdbook ]] || cargo install --locked --root $(TOOLS) mdbook@$(MDBOOK)
	@dev/site $(TOOLS)/bin/mdbook

pages: ## links, anchors, names of settings and snippets of the Markdown pages
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest discover --start-directory tests/docs

resources: install ## write the table of resources in docs/resources.md anew, after the catalog has changed
	WRITE_RESOURCES=1 cargo test --quiet --locked --lib catalog::table

views: ## write the diagrams and tables in docs/views.md anew, after the catalog or src/views has changed
	WRITE_VIEWS=1 cargo test --quiet --locked --lib -- views::document views::stable_columns

upgrade-dump: install ## write tests/integration/upgrades/VERSION.sql.gz, from which upgrades are tested, once, when the version is released
	WRITE_UPGRADE_DUMP=1 $(MAKE) test ARGS="--test integration -- upgrades::the_dump_of_this_version"

schemas: ## write docs/schemas anew, after a type of src/messages has changed
	WRITE_SCHEMAS=1 cargo test --quiet --locked --lib messages::schema

api-diff: ## compare the OpenAPI file SPEC with the catalog; JSON=1 as JSON; WRITE=1 or UPDATE=file takes it over; see docs/new-specification.md
	$(if $(SPEC),,$(error name the OpenAPI file: make api-diff SPEC=file; docs/new-specification.md says where to get it))
	@$(PYTHON) dev/api-diff $(if $(CATALOG),--catalog "$(CATALOG)") $(if $(JSON),--json) $(if $(WRITE),--write) $(if $(UPDATE),--update "$(UPDATE)") "$(SPEC)"

api-diff-check: ## test dev/api-diff
	@dev/install api-diff
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest discover --start-directory tests/api_diff

docs: ## build the documentation, warnings being errors
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --locked

coverage: install ## run the tests, print what they cover, and write target/coverage/tarpaulin-report.html
	@[[ -x $(TOOLS)/bin/cargo-tarpaulin ]] || cargo install --locked --root $(TOOLS) cargo-tarpaulin@$(TARPAULIN)
	dev/servers run env PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo tarpaulin --workspace --locked --features fault-points --engine llvm --follow-exec --timeout 900 \
		--target-dir target/coverage/build --output-dir target/coverage --out Stdout --out Html $(ARGS)

hostile: install binaries ## play CASES (10,000) attacks on AMQP, HTTP and API, or that of SEED; see tests/hostile
	$(if $(SEED),HOSTILE_SEED=$(SEED),HOSTILE_CASES=$(CASES)) dev/servers run \
		cargo test --locked --features fault-points --test hostile

# Optimized: 30 accounts of 50,000 records are a few million requests.
drift: export CARGO_PROFILE_DEV_OPT_LEVEL := 1
drift: install ## sync SEEDS (30) large accounts, or a PARTth of each, that change meanwhile; hold what events certify against the truth
	DRIFT_SEEDS=$(if $(filter file,$(origin SEEDS)),30,$(SEEDS)) DRIFT_PART=$(PART) DRIFT_LANES=8 $(MAKE) test ARGS="--test integration -- --nocapture --test-threads 1 certificate::a_plain certificate::what_an_event_certifies_breaks certificate::what_an_event_certifies_holds_although"

webhooks: install ## lose, repeat and forge webhooks by SEEDS (30) seeds; hold tables and loss meter against the truth; a storm of STORM_OF (5,000)
	STORM_OF=$(STORM_OF) WEBHOOK_SEEDS=$(if $(filter file,$(origin SEEDS)),30,$(SEEDS)) $(MAKE) test ARGS="--test integration -- --nocapture webhook_loss:: webhooks::a_burst"

economy: install ## print how many requests syncs of the whole API take, of ECONOMY_OF (10,000) contacts and all else in proportion
	ECONOMY_OF=$(ECONOMY_OF) $(MAKE) test ARGS="--test integration -- --nocapture economy::"

bench: install ## measure the worker beside its limits, ARGS="budget" one scenario (start lists details memory typed views pages hints budget); QUICK=1 small
	BENCH_QUICK=$(QUICK) dev/servers run cargo bench --locked --bench product -- $(ARGS)

bench-functions: ## measure the hot functions by themselves
	cargo bench --locked --features benchmarks --bench functions -- $(ARGS)

server: install ## run the worker with debug logs; settings from the environment and .env
	@dev/worker

sync: install ## ask for a sync and follow it; starts a worker if none runs
	@dev/worker --sync $(ARGS)

deploy-check: ## check Dockerfile, docker-compose.yml, and what is in deploy/, without the machines they are for
	tests/deploy/check

dockertest: ## run the tests in a container
	docker build --target test --tag teamleader2db-test .
	docker run --rm teamleader2db-test

release: ## make all files of a release in OUT (target/release-files); see docs/release.md
	dev/release "$(OUT)"

release-check: ## make it again elsewhere, as another user: the same bytes; install, run and remove what is in OUT
	tests/release/twice "$(OUT)"
	tests/release/check "$(OUT)"

habits: ## spelling, deny.toml, the workflows, and the addresses that are placeholders; tools from PyPI
	@dev/install habits
	dev/habits

.PHONY: habits-quick
habits-quick:
	@dev/install habits
	dev/habits quick
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest discover --start-directory tests/release

audit: ## hold Cargo.lock against deny.toml: advisories, which are fetched from GitHub, licences, sources; AUDIT="bans licenses sources" without
	@[[ -x $(TOOLS)/bin/cargo-deny ]] || cargo install --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY)
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo deny --locked check $(AUDIT)

clean: ## stop the private servers, and delete all that was built
	@for dir in target/servers target/servers.* target/demo target/demo.* target/faults/servers-* target/matrix/servers.*; do \
		env --unset=SERVERS dev/servers --dir "$$dir" clean; \
	done
	cargo clean
