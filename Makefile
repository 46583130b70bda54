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
PROTECT ?=

.PHONY: help run test bench lint docs sanitize build release install clean

help:  ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: release  ## Protect directories of this machine, restore them elsewhere and compare (PROTECT="DIR..." for others)
	@scripts/dependencies run
	@HOLDFAST="$(HOLDFAST_BUILD)/release/release/holdfast" scripts/demo $(PROTECT)

test: build  ## Run every test
	@scripts/dependencies tests
	swift test $(DEBUG) --disable-xctest --skip-build

bench: release  ## Measure beside restic and borg on the same data
	@scripts/dependencies bench
	@HOLDFAST="$(HOLDFAST_BUILD)/release/release/holdfast" scripts/bench
	@HOLDFAST="$(HOLDFAST_BUILD)/release/release/holdfast" scripts/bench-cases
	@swift build $(RELEASE) --product Stages && "$(HOLDFAST_BUILD)/release/release/Stages"

lint:  ## Check the format of the source and the state of the repository
	swift format lint --strict --recursive --parallel Package.swift Sources Tests
	@scripts/check-repository

docs:  ## Check the links between the pages of documentation
	@scripts/check-repository --docs

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

install: release  ## Install the program (PREFIX, default /usr/local)
	install -D -m 0755 $(HOLDFAST_BUILD)/release/release/holdfast $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/holdfast

clean:  ## Remove everything that was built
	rm -rf $(HOLDFAST_BUILD)/debug $(HOLDFAST_BUILD)/release $(HOLDFAST_BUILD)/thread $(HOLDFAST_BUILD)/address
