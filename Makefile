# `make help` lists what there is. Everything that is needed on the machine is installed by the targets that need it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

node := node_modules/node/bin/node
jest := test/jest.sh
sources := $(shell git ls-files '*.ts' '*.lua' 2>/dev/null)

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-zA-Z0-9_-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

node_modules/.package-lock.json: package-lock.json package.json
# Not `npm ci`: it refuses a lock file that lacks a platform's optional package which a registry does not serve.
	@command -v npm >/dev/null || test/cluster/install-packages.sh npm
	npm install --no-save --no-audit --no-fund
	@touch $@

dist/.built: node_modules/.package-lock.json tsconfig.json $(sources)
	@echo "compiling to dist/"
	@rm -rf dist
	@$(node) node_modules/typescript/bin/tsc -p .
	@rm -rf dist/test dist/bench; find dist -name '*.test.js*' -delete
	@for f in $$(git ls-files '*.lua'); do mkdir -p dist/$$(dirname $$f) && cp $$f dist/$$f; done
	@touch $@

.PHONY: build
build: dist/.built ## all that `npx holdfast` needs

.PHONY: generate
generate: node_modules/.package-lock.json ## code from proto/, types from crds/, the chart's dashboards, reference pages
	npx --no-install buf generate
	$(node) proto/share-empty-bytes.mjs proto/generated
	$(node) crds/generate.mjs
	$(node) charts/generate-dashboards.mjs
	$(node) docs/generate.mjs

.PHONY: fmt
fmt: node_modules/.package-lock.json ## format the code
	npx --no-install biome check --write .

.PHONY: lint
lint: node_modules/.package-lock.json ## types, style, imports between the parts, generated code
	$(node) node_modules/typescript/bin/tsc --noEmit -p .
	npx --no-install biome check --error-on-warnings .
	npx --no-install depcruise --config .dependency-cruiser.cjs smb common proto crds fileserver sidecar operator client serve
	@test/check-generated.sh

.PHONY: image
image: build ## the container image, as build/holdfast-image.tar (installs buildah, debootstrap)
	test/cluster/install-packages.sh cluster
	test/cluster/image.sh

.PHONY: cluster-up
cluster-up: ## a three-node Kubernetes on this machine (root; the first time builds it: 10 minutes)
	test/cluster/install-packages.sh cluster
	test/cluster/build.sh
	test/cluster/up.sh

.PHONY: cluster-down
cluster-down: ## takes that cluster away, with nothing left behind: fails, and lists what is
	test/cluster/down.sh
	test/cluster/leftovers.sh

.PHONY: demo
demo: build ## the main job: writers go on while pods are drained, upgraded and killed (KUBECONFIG=, IMAGE=, LINUX_CLIENT=1)
	HOLDFAST_KUBECONFIG="$(if $(filter command,$(firstword $(origin KUBECONFIG))),$(KUBECONFIG))" IMAGE="$(IMAGE)" LINUX_CLIENT="$(LINUX_CLIENT)" $(node) test/demo/main.ts

# One suite after the other, and the cluster taken away; the sum of all in the last line.
define run-suites
	@mkdir -p out/tests && rm -f out/tests/*.json
	@failed=; outcomes=; for suite in $(1) cluster-down; do \
	  echo "== $$suite, after $$SECONDS s"; \
	  if $(MAKE) --no-print-directory $$suite; then outcomes="$$outcomes $$suite=ok"; else outcomes="$$outcomes $$suite=failed" failed="$$failed $$suite"; fi; \
	done; \
	echo "== all ended, after $$SECONDS s"; \
	[ -z "$$failed" ] || echo "suites that failed:$$failed"; \
	$(node) test/summary/summary.mjs out/tests $$outcomes
endef

# What `make test` leaves to `make test-all`: smbtorture, the kernel's client, fuzzing, benchmarks, stores of every kind, the chart and what
# is around it, and what the demo shows in short (of the cluster's tests it has the demo) or others do.
long_integration := alerts bench- chart client-cluster clients-smbclient dashboards docs.test escape fileserver-limits files-failing-volume fuzz live-changes \
  operator-migration operator-permissions operator-robustness sidecar-promises sidecar-store-loss sidecar-store-modes sidecar-store-versions sidecar-table-model store-members store-tls
long_faults := clocks custodian hindered incoherent kills migration partition schedules
long_e2e := operator.test chart.test store.test keys.test
left_out = $(if $(QUICK),--testPathIgnorePatterns $(1))

.PHONY: test
test: ## every part of it, on real ones: the tests that a change has to pass (a quarter of an hour with everything built)
	$(call run-suites,lint test-unit test-integration test-faults test-e2e)
test: export QUICK = 1

.PHONY: test-all
test-all: ## all tests, in full: what CI runs (an hour with everything built)
	$(call run-suites,lint test-unit test-model test-integration test-faults test-conformance test-linux-client test-e2e)

.PHONY: test-unit
test-unit: build ## unit and property tests, beside the code
	test/cluster/install-packages.sh redis
	$(jest) --outputFile=out/tests/unit.json --json --roots smb common fileserver sidecar operator client serve crds test/history test/demo test/summary test/conformance

.PHONY: test-model
test-model: node_modules/.package-lock.json ## the protocol of docs/model/, every state of it; each guard is needed (UPDATE=1: counterexamples anew)
	test/cluster/install-packages.sh model
	$(jest) --outputFile=out/tests/model.json --json --roots test/model

.PHONY: test-integration
test-integration: build ## parts against a real Redis, real clients, a real kube-apiserver
	test/cluster/install-packages.sh redis clients cluster volumes metrics
	test/cluster/build.sh
	$(jest) --outputFile=out/tests/integration.json --json $(if $(QUICK),--maxWorkers=2,--runInBand) --roots test/integration test/fuzz $(call left_out,$(long_integration))

.PHONY: test-conformance
test-conformance: build ## smbtorture, compared with test/conformance/expected.tsv
	test/cluster/install-packages.sh redis clients conformance
	$(node) test/conformance/run.ts

.PHONY: test-faults
test-faults: build ## single faults at processes, networks, stores, clocks and volumes, and 40 random schedules of them (SCHEDULES=1000 others, AT_ONCE=n side by side, SEED=n to repeat)
	test/cluster/install-packages.sh redis clients faults$(if $(QUICK),, compiler volumes)
	$(jest) --outputFile=out/tests/faults.json --json --runInBand --roots test/faults $(call left_out,$(long_faults))

.PHONY: test-linux-client
test-linux-client: build ## programs on a mount of the Linux kernel, in a small machine; its server moved and killed (FILES=3000 SEED=n WORKLOADS=git)
	test/cluster/install-packages.sh redis linux-client workloads
	$(jest) --outputFile=out/tests/linux-client.json --json --runInBand --roots test/linux-client

.PHONY: sbom
sbom: build/holdfast-image.tar ## what is in the image, as CycloneDX: build/holdfast-sbom.cdx.json (needs npm 10)
	$(node) test/cluster/sbom.mjs build/holdfast-image.tar build/holdfast-sbom.cdx.json

build/holdfast-image.tar:
	$(MAKE) --no-print-directory image

.PHONY: docs
docs: node_modules/.package-lock.json ## the documentation as a site, in build/docs; fails where a link leads nowhere
	$(node) docs/generate.mjs --check
	$(jest) --roots test/integration -- docs.test
	$(node) node_modules/vitepress/bin/vitepress.js build docs

.PHONY: dashboards
dashboards: build ## the chart's dashboards, reference pages drawn from a Prometheus that watched real servers at work, moved and killed: out/dashboards.html
	test/cluster/install-packages.sh redis metrics
	DASHBOARD_SECONDS=$(or $(DASHBOARD_SECONDS),60) $(jest) --runInBand --roots test/integration -- dashboards

.PHONY: test-limits
test-limits: build ## a file server at all of its limits at once, in 512 MiB; `make test` has a sixteenth of it
	test/cluster/install-packages.sh redis
	LIMITS=1 $(jest) --runInBand --roots test/integration -- fileserver-limits

.PHONY: test-clients
test-clients: build ## Samba's tools at two servers, each call at the other: trees, tar, streams, notifications, descriptors, quotas (FILES=5000)
	test/cluster/install-packages.sh redis clients
	FILES=$(or $(FILES),5000) $(jest) --runInBand --roots test/integration -- clients-smbclient

.PHONY: test-store
test-store: build ## an embedded store of three Redis: nodes, volumes and all of them lost; `make test` has a part of it
	test/cluster/install-packages.sh redis
	STORE_MEMBERS=1 $(jest) --runInBand --roots test/integration -- store-members

.PHONY: measure-operator
measure-operator: build ## an operator with 1,000 clusters and 10,000 pods in a real API server: memory, CPU, requests (CLUSTERS=100)
	test/cluster/install-packages.sh cluster
	test/cluster/build.sh
	$(node) test/scale/operator.ts

.PHONY: test-cluster
test-cluster: ## what tests rely on of the three-node cluster, on one of its own: brought up twice, nodes drained, cut off and killed, repaired, nothing left behind (root; 3 minutes)
	test/cluster/install-packages.sh cluster linux-client
	test/cluster/build.sh
	test/cluster/cluster.check.sh

.PHONY: test-race
test-race: build ## names exchanged with links that lead out of the share, for a minute (HOLDFAST_RACE_SECONDS=60)
	test/cluster/install-packages.sh redis
	HOLDFAST_RACE_SECONDS=$(or $(HOLDFAST_RACE_SECONDS),60) $(jest) --runInBand --roots test/integration -- escape

.PHONY: fuzz
fuzz: build ## every parser and a live server fed with damaged bytes (FUZZ_SECONDS=600, SEED=n to repeat)
	test/cluster/install-packages.sh redis clients
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(jest) --runInBand --testTimeout 100000000 --roots test/fuzz

.PHONY: profile
profile: build ## a CPU profile of a benchmark run (PROFILE=fileserver|sidecar|client BENCH="rates --only open-close")
	test/cluster/install-packages.sh redis clients
	$(node) bench/run.ts $(or $(BENCH),rates --only open-close --against holdfast) --profile $(or $(PROFILE),fileserver)

.PHONY: test-e2e
test-e2e: $(if $(HOLDFAST_KUBECONFIG),build,image cluster-up) ## the chart on the three-node cluster (or HOLDFAST_KUBECONFIG= IMAGE=)
	$(if $(HOLDFAST_KUBECONFIG),,test/cluster/load-image.sh build/holdfast-image.tar)
	$(jest) --outputFile=out/tests/e2e.json --json --runInBand --roots test/e2e $(call left_out,$(long_e2e))

.PHONY: bench
bench: build ## the benchmarks of bench/, results in bench/results and docs/performance.md
	test/cluster/install-packages.sh redis clients
	$(node) bench/run.ts $(BENCH)
