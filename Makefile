# make run    serve the demo on http://127.0.0.1:8080
# make test   every test, with the race detector where a C compiler is found
# make bench  the figures of the README, as ratios in one run
# make bench-revocation  revocations over Redis, against the wire
# make fuzz   every fuzz target, each for FUZZTIME; make fuzz-long for as long as it says
# make lint   gofmt, vet, staticcheck, govulncheck, and whether go.mod is tidy
# make cross  build and vet for Linux, macOS and Windows, on amd64 and arm64
# make standards  what the standards ask, and the test that holds each

GO ?= go

.PHONY: run test lint cross fuzz fuzz-long standards bench bench-revocation build tools

build:
	$(GO) build -trimpath -o bin/imara ./cmd/imara

run: build
	./bin/imara serve --demo

# What the tests run beside Go: bash and curl for the README's snippets, git for
# imara scan, a real Postgres, Redis and Chromium, Node for a verifier in another
# language, and from npm axe, which checks the panel for accessibility, and the SDK of
# MCP, whose client gets a token.
# Chromium without a window takes half the time where Debian has it as a package of its
# own. Debian keeps Postgres off the PATH. Caddy, nginx, HAProxy and PgBouncer are put
# between.
tools:
	@missing=; for tool in bash curl git npm caddy nginx haproxy pgbouncer; do command -v $$tool >/dev/null 2>&1 || missing="$$missing $$tool"; done; \
	command -v node >/dev/null 2>&1 || missing="$$missing nodejs"; \
	command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	command -v redis-server >/dev/null 2>&1 || missing="$$missing redis-server"; \
	shell=chromium-headless-shell; command -v $$shell >/dev/null 2>&1 || command -v chromium >/dev/null 2>&1 || \
	missing="$$missing $$(apt-cache show $$shell >/dev/null 2>&1 && echo $$shell || echo chromium)"; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $$missing; } || \
	{ echo "the tests need:$$missing. Install with: apt-get install$$missing"; exit 1; }
	@[ -f .tools/node_modules/axe-core/axe.min.js ] && [ -f .tools/node_modules/@modelcontextprotocol/sdk/package.json ] || \
	npm install --silent --no-audit --no-fund --no-save --prefix .tools axe-core@4.14.1 @modelcontextprotocol/sdk@1.32.2

# The race detector needs cgo; nothing else here does. The translated C of SQLite, the hash
# of passwords, the reader of migrations and the models, which are one goroutine, would take
# most of the time in it. No package may be added here that
# instantiates generic types of sync or sync/atomic: the linker could choose its copy, in
# which the detector sees no synchronisation.
RACE := $(shell command -v $$($(GO) env CC) >/dev/null 2>&1 && echo yes)
UNRACED := modernc.org/sqlite/lib golang.org/x/crypto/argon2 golang.org/x/crypto/blake2b \
	github.com/pressly/goose/v3/internal/sqlparser github.com/imara/apikeys/tokens/redisfeed/model
RACED := -race $(foreach package,$(UNRACED),-gcflags=$(package)=-race=false)

# A program with the detector sleeps for a second before it exits, unless told not to; the
# tests start some hundreds.
export GORACE ?= atexit_sleep_ms=0

# CI keeps a picture of every page of the panel.
ifdef CI
export IMARA_SCREENSHOTS ?= $(or $(TMPDIR),/tmp)/imara-screenshots
endif

test: build tools lint cross
ifeq ($(RACE),yes)
	CGO_ENABLED=1 $(GO) test $(RACED) -timeout 30m -json ./... | $(GO) run ./cmd/testreport
else
	@echo "no C compiler found: the tests run without the race detector"
	CGO_ENABLED=0 $(GO) test -timeout 30m -json ./... | $(GO) run ./cmd/testreport
endif
	@$(MAKE) --no-print-directory fuzz

# The linters are a module of their own: who imports ours need not know them.
LINT := $(GO) run -modfile=.lint/go.mod

lint:
	@unformatted=$$(gofmt -l authz cmd keys tokens); [ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	CGO_ENABLED=0 $(GO) vet ./...
	$(LINT) honnef.co/go/tools/cmd/staticcheck ./...
	@out=$$($(LINT) golang.org/x/vuln/cmd/govulncheck ./... 2>&1) && echo "$$out" || case "$$out" in \
	*"fetching vulnerabilities"*) echo "govulncheck: its database cannot be reached, nothing is known";; *) echo "$$out"; exit 1;; esac

PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

cross:
	@for platform in $(PLATFORMS); do echo "vet $$platform"; \
	export CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
	$(GO) build ./... && $(GO) vet ./... || exit 1; done

# Seeds and corpora are tests, which make test has run. This draws other inputs, and says
# how many: a second for each target here, and a night now and then with MODEL_SEED.
FUZZTIME ?= 1s

fuzz:
	@$(GO) run ./cmd/fuzz -time $(FUZZTIME)

fuzz-long:
	MODEL_CASES=1000000 MODEL_SEED=$${MODEL_SEED:-3} $(GO) test -v -timeout 60m -run 'Model' ./tokens
	$(GO) run ./cmd/fuzz -guided -time $(FUZZTIME)

standards:
	@$(GO) run ./cmd/standards

# Three minutes. Nothing else should run meanwhile.
bench: build
	@{ $(GO) test -run '^$$' -bench . ./tokens/ && \
	   $(GO) test -run '^$$' -bench Strangers -benchtime 20000x ./authz/ && \
	   $(GO) test -run '^$$' -bench Join -benchtime 300x ./authz/ && \
	   $(GO) test -run '^$$' -bench . -benchtime 5x ./cmd/imara/; } | $(GO) run ./cmd/benchtable README.md figures

# Ten thousand revocations with 1, 10 and 100 verifiers over Redis, and what many
# verifiers and many revocations cost. Five minutes.
bench-revocation: build tools
	@{ $(GO) test -run '^$$' -bench Revocation -benchtime 3334x -timeout 30m ./authz/ && \
	   $(GO) test -run '^$$' -bench Thousand -benchtime 10x -timeout 30m ./authz/ && \
	   $(GO) test -run '^$$' -bench 'Idle|Rebuild' -benchtime 1x -timeout 30m ./authz/; } 2>/dev/null | $(GO) run ./cmd/benchtable README.md revocation
