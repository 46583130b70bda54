# Holdfast. `make test` and `make run` work on a fresh machine with nothing but the Swift tool chain and apt.
#
# Builds live outside the checkout, so that a fresh clone does not pay for BoringSSL again: HOLDFAST_BUILD, else
# ~/.cache/holdfast, with debug/ and release/ inside.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

HOLDFAST_BUILD ?= $(HOME)/.cache/holdfast
DEBUG := --scratch-path $(HOLDFAST_BUILD)/debug
RELEASE := -c release --static-swift-stdlib --scratch-path $(HOLDFAST_BUILD)/release
PROGRAM := $(HOLDFAST_BUILD)/release/release/holdfast
PREFIX ?= /usr/local
PROTECT ?=
CASES ?=
AGENT ?=
CONSOLE ?=
DAY ?= 900
# Suites in which time counts: they run last, and one after the other.
TIMED := AgentTests|AgentKillTests|BadDayScriptTests|ServerTests|ServerCommandTests|PolicyCommandTests|WatchFuzzTests|WatchFaultTests|WatchOperationTests
# The date of the manuals and of the package: that of the source.
manuals deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)

.PHONY: help run demo test day test-releases bench lint docs manuals deb sanitize build release install clean

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: release  ## Protect this machine while it runs, and prove it: server, agent and vault in one (PROTECT="DIR..." for other paths)
	@scripts/dependencies run
	@"$(PROGRAM)" up $(PROTECT)

demo: release  ## Protect directories into a vault, restore them elsewhere and compare with rsync (PROTECT="DIR..." for others)
	@scripts/dependencies run
	@HOLDFAST="$(PROGRAM)" scripts/demo $(PROTECT)

test: build  ## Run every test
	@scripts/dependencies tests
	@scripts/run-tests '$(TIMED)' -- $(DEBUG) --disable-xctest --skip-build

day: release  ## A day in the life, with the network cut and programs killed; every moment has to restore (DAY=SECONDS, root)
	@scripts/dependencies tests
	@scripts/day-in-the-life --holdfast "$(PROGRAM)" --seconds $(DAY)

test-releases: deb  ## Install the packages in trees of every supported release of Debian and protect something there (root)
	@scripts/dependencies releases
	@scripts/test-releases --deb "$(HOLDFAST_BUILD)/deb" --cache "$(HOLDFAST_BUILD)/trees"

bench: release  ## Measure beside restic, borg, Syncthing and lsyncd (CASES="--smoke" or others for the long run, AGENT="--quick", CONSOLE="--files 50000 --points 500")
	@scripts/dependencies bench
	@HOLDFAST="$(PROGRAM)" scripts/bench
	@HOLDFAST="$(PROGRAM)" scripts/bench-cases $(CASES)
	@HOLDFAST="$(PROGRAM)" scripts/bench-agent $(AGENT)
	@HOLDFAST="$(PROGRAM)" scripts/bad-links || [ $$? -eq 77 ]
	@swift build $(RELEASE) --product Commits && scripts/bench-server "$(dir $(PROGRAM))" commit 200 20 hold 1000 60 return 1000 0 recover 1000 0
	@scripts/bench-console "$(dir $(PROGRAM))" $(CONSOLE)
	@swift build $(RELEASE) --product Stages && "$(HOLDFAST_BUILD)/release/release/Stages"

lint:  ## Check the format of the source and the state of the repository
	swift format lint --strict --recursive --parallel Package.swift Sources Tests
	@scripts/check-repository

docs: manuals  ## Make the manual pages and completions, and check them and the links between the pages of documentation
	@scripts/check-repository --docs

manuals: release
	@scripts/dependencies docs
	@scripts/make-manuals --holdfast "$(PROGRAM)" --out "$(HOLDFAST_BUILD)" --check

deb: manuals  ## Make the Debian packages: the program, the agent, the server
	@scripts/dependencies deb
	@scripts/make-deb --holdfast "$(PROGRAM)" --manuals "$(HOLDFAST_BUILD)" --out "$(HOLDFAST_BUILD)/deb"

sanitize:  ## Run the tests under the thread and the address sanitizer
	@scripts/dependencies build tests
	swift test --scratch-path $(HOLDFAST_BUILD)/thread --disable-xctest --sanitize thread
	swift test --scratch-path $(HOLDFAST_BUILD)/address --disable-xctest --sanitize address

build:  ## Build the tests and the program for development
	@scripts/dependencies build
	swift build $(DEBUG) --build-tests

release:  ## Build the program as it ships
	@scripts/dependencies build
	swift build $(RELEASE) --product holdfast

install: manuals  ## Install the program, its manuals and completions (PREFIX, default /usr/local; DESTDIR)
	install -D -m 0755 "$(PROGRAM)" "$(DESTDIR)$(PREFIX)/bin/holdfast"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1"
	install -m 0644 "$(HOLDFAST_BUILD)"/man/*.1 "$(DESTDIR)$(PREFIX)/share/man/man1/"
	cd "$(HOLDFAST_BUILD)/completions" && \
	install -D -m 0644 holdfast "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/holdfast" && \
	install -D -m 0644 _holdfast "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_holdfast" && \
	install -D -m 0644 holdfast.fish "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/holdfast.fish"

clean:  ## Remove everything that was built
	rm -rf $(addprefix $(HOLDFAST_BUILD)/,debug release thread address man completions deb trees)
