# Everything that CI runs is a target here; `make help` lists them.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS   += --no-builtin-rules --no-print-directory

GO       ?= go
PKG      ?= ./...
FUZZTIME ?= 20s
# Passed to the harness, as in: make bench BENCHFLAGS='-rounds 1 -duration 2s'
BENCHFLAGS ?=
# The same, as in: make chaos CHAOSFLAGS='-duration 2m -seed 7'
CHAOSFLAGS ?=

# A plugin of docker's, or a program of its own.
compose = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

tool = $(GO) tool -modfile=tools.mod

# golangci-lint takes minutes to build: kept per version of it and of the Go that built it.
golangci-lint := bin/golangci-lint-$(shell awk '$$1 == "github.com/golangci/golangci-lint/v2" {print $$2}' tools.mod)-$(shell $(GO) env GOVERSION)

.PHONY: help demo build test check fmt fmt-check lint vet unit grpc race heavy fuzz fuzz-briefly vuln bench shake chaos chaos-briefly image up down test-deps bench-deps chaos-deps clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## a router and two workers in one process, and the curl to try
	@exec bin/dialmux demo

build: ## bin/dialmux
	@CGO_ENABLED=0 $(GO) build -o bin/dialmux ./cmd/dialmux

test: test-deps check unit grpc heavy ## all that must pass: checks, then unit, interop and end-to-end tests, plain and under the race detector, chaos and fuzz
	@echo '== all passed'

check: fmt-check lint vet ## format, lint and vet

fmt: ## format the tree
	@$(tool) gofumpt -w .

fmt-check:
	@echo '== format'
	unformatted=$$($(tool) gofumpt -l .)
	if [[ -n $$unformatted ]]; then
		printf 'not formatted (make fmt does it):\n%s\n' "$$unformatted"
		exit 1
	fi

lint: $(golangci-lint) ## golangci-lint, with the walls of the house (.golangci.yml)
	@echo '== lint'
	$(golangci-lint) run $(PKG)

$(golangci-lint):
	@echo '== building $(@F) (minutes, once)'
	CGO_ENABLED=0 $(GO) build -modfile=tools.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

vet:
	@echo '== vet'
	$(GO) vet $(PKG)

# Tests conform and interop, which mostly wait, beside the others. Those go one after the other with -p 1: some count what
# the machine does, but not under the race detector. Nothing is cached: the cache does not see what the programs that they
# start are made of.
define tests
tests() {
	local flags=$$1 packages beside others failed=0
	packages=$$($(GO) list $(PKG) | grep -vE "$$2")
	beside=$$(grep -E '^github.com/dialmux/dialmux/(conform|interop)$$' <<<"$$packages" || true)
	others=$$(grep -vxF "$${beside:-none}" <<<"$$packages" || true)
	if [[ -n $$beside ]]; then $(GO) test $${flags/-p 1/} -count=1 $$beside & fi
	if [[ -n $$others ]]; then $(GO) test $$flags -count=1 $$others || failed=1; fi
	if [[ -n $$beside ]]; then wait $$! || failed=1; fi
	return $$failed
}
endef

unit: ## every test, with fuzz seeds and the tests that count memory
	@$(tests)
	echo '== tests'
	docker info >/dev/null 2>&1 || echo 'SKIPPED: no docker engine answers, so TestImage and TestCompose do not try Dockerfile and docker-compose.yml'
	docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || echo 'SKIPPED: there is neither docker compose nor docker-compose, so TestCompose does not try docker-compose.yml'
	tests '-p 1' '^github.com/dialmux/dialmux/chaos$$' # chaos-briefly runs those

grpc: ## gRPC's interop client and server through a router, in a module of their own
	@echo '== gRPC'
	cd examples/grpc
	$(GO) vet ./...
	$(GO) test ./...

race: ## every test under the race detector, but for those of programs that are built without it
	@$(tests)
	echo '== tests, race detector'
	export CGO_ENABLED=1
	tests -race '^github.com/dialmux/dialmux(/bench|/chaos|/examples.*)?$$'

fuzz: ## each fuzz target for FUZZTIME (20s)
	@packages=$$($(GO) list $(PKG))
	for package in $$packages; do
		tests=$$($(GO) test -list '^Fuzz' "$$package")
		for target in $$(grep '^Fuzz' <<<"$$tests" || true); do
			echo "== $$package $$target"
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"
		done
	done

fuzz-briefly: ## each fuzz target for 20 s on one core, two at a time
	@echo '== fuzz, briefly'
	briefly() {
		local printed
		printed=$$(mktemp)
		for try in 1 2; do
			if $(GO) test -run '^$$' -fuzz "^$$2\$$" -fuzztime 20s -fuzzminimizetime 1s -parallel 1 "$$1" >"$$printed" 2>&1; then
				echo "$$1 $$2: $$(grep '^fuzz: elapsed' "$$printed" | tail -n 1)"
				rm "$$printed"
				return
			fi
			# The engine sometimes fails to start its process, or to end it in time, and has no input to show for it.
			grep -qE 'fuzzing process terminated without fuzzing|context deadline exceeded' "$$printed" && ! grep -q 'Failing input' "$$printed" || break
		done
		echo "$$1 $$2:"
		cat "$$printed"
		rm "$$printed"
		return 1
	}
	export -f briefly
	grep -rE '^func Fuzz' --include='*_test.go' . | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9]*).*|\1 \2|' | sort | xargs -P 2 -L 1 bash -c 'briefly "$$@"' _

vuln: ## known vulnerabilities in what we build on (asks vuln.go.dev)
	@$(tool) govulncheck $(PKG)

bench: bench-deps build ## CPU, latency and memory against nginx, HAProxy, Caddy, Mongrel2 and Pushpin, as a table
	@CGO_ENABLED=0 $(GO) build -o bin/bench ./bench
	bin/bench -dialmux bin/dialmux $(BENCHFLAGS)
	echo '== finding the owner of a key'
	$(GO) test -run '^$$' -bench '^Benchmark(Pick.*|Owner|Set.*|Diff)$$' -benchtime 0.5s ./router ./ring

heavy: ## chaos-briefly, and with what it leaves of the processor race and fuzz-briefly
	@$(MAKE) chaos-briefly & chaos=$$!
	nice -n 19 $(MAKE) fuzz-briefly & fuzz=$$!
	failed=0
	nice -n 10 $(MAKE) race || failed=1
	wait $$chaos || failed=1
	wait $$fuzz || failed=1
	exit $$failed

# Whoever takes or gives back a mutex lets others run first, now and then many times: what tests or code take for granted of who runs
# when, and need not be so, shows within minutes. A copy of Go's sync is built in, so PKG should name packages that do not start
# programs; SHAKEFLAGS is passed to go test.
SHAKEFLAGS ?= -count 20
shake: ## tests of PKG under a scheduler that is shaken: make shake PKG=./router SHAKEFLAGS='-run Retry -count 200'
	@dir=$$(mktemp -d)
	trap 'rm -rf "$$dir"' EXIT
	sync=$$($(GO) env GOROOT)/src/sync
	sed -e '/^func (m \*Mutex) Lock() {$$/a shake()' -e '/^func (m \*Mutex) Unlock() {$$/a defer shake()' "$$sync/mutex.go" >"$$dir/mutex.go"
	sed -e '/^func (rw \*RWMutex) R\?Lock() {$$/a shake()' "$$sync/rwmutex.go" >"$$dir/rwmutex.go"
	sed -e 's/allPoolsMu Mutex/allPoolsMu isync.Mutex/' -e '/^\t"internal\/race"$$/a isync "internal/sync"' "$$sync/pool.go" >"$$dir/pool.go"
	printf 'func shake() {\n\tswitch r := runtime_randn(100); {\n\tcase r < 3:\n\t\tfor range 300 {\n\t\t\truntime.Gosched()\n\t\t}\n\tcase r < 30:\n\t\tfor range r {\n\t\t\truntime.Gosched()\n\t\t}\n\t}\n}\n' >>"$$dir/pool.go"
	for file in mutex rwmutex pool; do
		! cmp -s "$$sync/$$file.go" "$$dir/$$file.go" || { echo "Go's sync/$$file.go is not what the target shake knows: see the Makefile"; exit 1; }
	done
	printf '{"Replace": {"%s/mutex.go": "%s/mutex.go", "%s/rwmutex.go": "%s/rwmutex.go", "%s/pool.go": "%s/pool.go"}}' "$$sync" "$$dir" "$$sync" "$$dir" "$$sync" "$$dir" >"$$dir/overlay.json"
	$(GO) test -overlay "$$dir/overlay.json" $(SHAKEFLAGS) $(PKG)

chaos: chaos-deps build ## half an hour of faults, a million requests: what was lost, doubled or crossed, as a table
	@CGO_ENABLED=0 $(GO) build -o bin/chaos ./chaos
	bin/chaos -dialmux bin/dialmux $(CHAOSFLAGS)

chaos-briefly: test-deps ## three minutes of it, without the other proxies
	@echo '== chaos, briefly'
	CHAOS_DURATION=3m $(GO) test -count=1 -timeout 10m ./chaos

image: build ## a docker image, dialmux, with bin/dialmux and nothing else in it
	@docker build -t dialmux .

up: build .env ## docker-compose.yml: a router, three workers and a sidecar before an app, in containers, and the curl to try
	@CGO_ENABLED=0 $(GO) build -o bin/ ./examples/app ./examples/hello
	$(compose) up --build --detach --remove-orphans
	port=$$($(compose) port router 9000)
	for _ in {1..100}; do # until the app's worker is there
		! curl -s -H "Host: app.localhost" "http://$$port/" | grep -q 'from an app' || break
		sleep 0.1
	done
	printf '\nTry:\n  curl http://%s/\n  curl -H "Host: app.localhost" http://%s/\n' "$$port" "$$port"

down: .env ## take down what make up started
	@$(compose) down --remove-orphans --rmi local

# The token that workers show to the router. Compose reads it here.
.env:
	@umask 077
	printf 'DIALMUX_TOKEN=%s\n' "$$(od -An -N16 -tx1 /dev/urandom | tr -d ' ')" >.env

clean: ## remove bin/
	@rm -rf bin

# What the tests and the harness need from Debian. `installs` takes the packages as arguments, with apt-get
# as root or through sudo, and keeps services that come with them from starting.
define installs
installs() {
	local as_root=() policy=/usr/sbin/policy-rc.d
	if [[ $$(id -u) != 0 ]]; then as_root=(sudo -n); fi
	echo "== installing $$*"
	command -v apt-get >/dev/null || { echo "no apt-get here: install $$* by hand"; return 1; }
	"$${as_root[@]}" apt-get -qq update || return 1
	local ours=
	if [[ ! -e $$policy ]]; then
		printf '#!/bin/sh\nexit 101\n' | "$${as_root[@]}" install -m 755 /dev/stdin $$policy || return 1
		ours=yes
	fi
	local result=0
	"$${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$$@" </dev/null || result=1
	if [[ -n $$ours ]]; then "$${as_root[@]}" rm -f $$policy; fi
	return $$result
}
endef

# In CI what is missing is a failure; elsewhere the tests that want it say so themselves.
test-deps:
	@$(installs)
	missing=()
	/usr/bin/python3 -c 'import zmq, msgpack' 2>/dev/null || missing+=(python3-zmq python3-msgpack)
	/usr/bin/ruby -e 'require "ffi-rzmq"; require "msgpack"' 2>/dev/null || missing+=(ruby-ffi-rzmq ruby-msgpack)
	command -v "$$($(GO) env CC)" >/dev/null || missing+=(gcc libc6-dev)
	printf '#include <msgpack.h>\n#include <zmq.h>\n' | cc -E -x c - >/dev/null 2>&1 || missing+=(gcc libc6-dev libzmq3-dev libmsgpack-dev)
	command -v curl >/dev/null || missing+=(curl)
	command -v slowhttptest >/dev/null || missing+=(slowhttptest)
	/usr/bin/python3 -c 'import flask' 2>/dev/null || missing+=(python3-flask)
	[[ -x /usr/bin/puma ]] || missing+=(puma)
	[[ -x /usr/sbin/nginx ]] || missing+=(nginx-light)
	if (( $${#missing[@]} )) && ! installs "$${missing[@]}"; then
		echo "could not install $${missing[*]}: as root, run apt-get install $${missing[*]}"
		[[ $${CI:-} != true ]] || exit 1
	fi

# A contender that cannot be had is no failure: the harness names it.
bench-deps:
	@$(installs)
	missing=()
	[[ -x $$(command -v nginx || echo /usr/sbin/nginx) ]] || missing+=(nginx-light)
	command -v wrk >/dev/null || missing+=(wrk)
	if (( $${#missing[@]} )); then installs "$${missing[@]}"; fi
	missing=()
	[[ -x $$(command -v haproxy || echo /usr/sbin/haproxy) ]] || missing+=(haproxy)
	command -v caddy >/dev/null || missing+=(caddy)
	command -v mongrel2 >/dev/null || missing+=(mongrel2-core)
	command -v condure >/dev/null || missing+=(condure)
	command -v pushpin >/dev/null || missing+=(pushpin)
	printf '#include <zmq.h>\n' | cc -E -x c - >/dev/null 2>&1 || missing+=(gcc libc6-dev libzmq3-dev)
	if (( $${#missing[@]} )) && ! installs "$${missing[@]}"; then
		for package in "$${missing[@]}"; do
			installs "$$package" || echo "could not install $$package: what needs it is not measured"
		done
	fi

# The other proxies that chaos torments: one that is missing is named in the table.
chaos-deps: test-deps
	@$(installs)
	missing=()
	[[ -x $$(command -v nginx || echo /usr/sbin/nginx) ]] || missing+=(nginx-light)
	[[ -x $$(command -v haproxy || echo /usr/sbin/haproxy) ]] || missing+=(haproxy)
	for package in "$${missing[@]}"; do
		installs "$$package" || echo "could not install $$package: it is not tormented"
	done
