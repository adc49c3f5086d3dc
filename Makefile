# Two commands do everything, and install what they need first:
#   make demo [ROUTER=linux|ovn]   the main job on real packets, with a report and a picture
#   make demo-cluster              a whole cluster, and everything that may happen to a gateway there
#   make docs-walkthrough          docs/walkthrough.md anew, from what its commands print
#   make test                      every test but those of the cluster
#   make test-cluster              the tests on a real Kubernetes API server; the first run builds it
#   make bench-bfd [QUICK=1]       BFD daemons side by side, with a report and a picture
#   make bench-controller [QUICK=1]   the controller with 1,000 gateways on a real API server
#   make bench-dataplane [QUICK=1] the dataplane beside plain routing and Kube-OVN's iptables rules
#   make image [IMAGE=name:tag] [BASE=name|debootstrap] [ENGINE=docker|podman|buildah]   docs/image.md
#   make controller-image [IMAGE=name:tag] [GATEWAY=name:tag]   upon it
#   make bench-pod [QUICK=1]       memory, start and probes of Kube-OVN's main container under its limits
#   make bench-observer            what flow logs and metrics of connections cost
#   make fuzz [FUZZ_INPUT=packet|control] [FUZZ_SECONDS=60]   coverage-guided fuzzing (docs/testing.md)
#   make simulate [SEED=0] [COUNT=10]   long histories in virtual time (docs/testing.md)
# The rest: make lint, make format, make conformance (docs/conformance.md), make image-lock, make clean.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
ROUTER ?= linux
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

RUN_PACKAGES := iproute2 nftables python3-nftables python3-venv
OVN_PACKAGES := openvswitch-switch ovn-central ovn-host
BENCH_PACKAGES := iperf3 iptables
LAB_CLUSTER_PACKAGES := $(OVN_PACKAGES) curl etcd-server openssl
CLUSTER_PACKAGES := $(LAB_CLUSTER_PACKAGES) debian-archive-keyring debootstrap
IMAGE_PACKAGES := buildah debian-archive-keyring debootstrap
TEST_PACKAGES := $(OVN_PACKAGES) $(IMAGE_PACKAGES) bird2 crun frr openssl prometheus systemd tshark

# Installs what is missing of the packages in $(1). No service of theirs is started, now or at the
# next boot: the lab and the tests run their own daemons in their own namespaces.
define install_packages
	@missing=$$(for package in $(1); do \
	  dpkg-query -W -f='$${Status}\n' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	echo "==> installing system packages:" $$missing; \
	policy=/usr/sbin/policy-rc.d; made=; \
	if [ ! -e $$policy ]; then made=yes; \
	  printf '#!/bin/sh\nexit 101\n' | $(SUDO) tee $$policy >/dev/null && $(SUDO) chmod +x $$policy; fi; \
	trap '[ -z "$$made" ] || $(SUDO) rm -f '$$policy EXIT; \
	$(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || exit 1; \
	if [ -d /run/systemd/system ]; then for package in $$missing; do \
	  dpkg -L $$package | sed -n 's,.*/systemd/system/\([^/@]*\.service\)$$,\1,p'; done | \
	  xargs -r $(SUDO) systemctl disable --quiet; fi
endef

.PHONY: help
help:
	@sed -n 's/^#  *\(make .*\)/\1/p' Makefile

.PHONY: run-packages ovn-packages test-packages
run-packages:
	$(call install_packages,$(RUN_PACKAGES))
ovn-packages: run-packages
	$(call install_packages,$(OVN_PACKAGES))
test-packages: run-packages
	$(call install_packages,$(TEST_PACKAGES))

# The libnftables binding is the distribution's: it is linked into the environment, alone, so that
# no other package of the system leaks in.
$(VENV)/ready: pyproject.toml | run-packages
	@echo "==> making $(VENV) with the package, its tools and their Python packages"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@ln -sfn "$$($(PYTHON) -Ic 'import nftables, os; print(os.path.dirname(nftables.__file__))')" \
	  "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nftables"
	@touch $@

.PHONY: demo
demo: $(if $(filter ovn,$(ROUTER)),ovn-packages) $(VENV)/ready
	$(SUDO) $(BIN)/vegd lab demo --router $(ROUTER)

.PHONY: demo-cluster docs-walkthrough lab-cluster-packages
lab-cluster-packages: run-packages
	$(call install_packages,$(LAB_CLUSTER_PACKAGES))
demo-cluster: lab-cluster-packages $(VENV)/ready
	$(SUDO) $(BIN)/python -m vegd.lab.cluster.assets
	$(SUDO) $(BIN)/vegd lab demo-cluster
docs-walkthrough: lab-cluster-packages $(VENV)/ready
	$(SUDO) $(BIN)/python -m vegd.lab.cluster.assets
	$(SUDO) $(BIN)/python -m tests.support.walkthrough docs/walkthrough.md

# First the tests that share nothing, several at a time; then those that have the machine for themselves,
# whatever came of the first unless it was interrupted (2). PYTEST_ARGS may leave one of the two without a
# test (5).
PYTEST := $(SUDO) env CI=$(CI) PIP_CERT='$(PIP_CERT)' PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
AT_ONCE := --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
define run_tests
	@pure=0; rest=0; \
	$(PYTEST) $(1) --share=pure $(AT_ONCE) $(PYTEST_ARGS) || pure=$$?; \
	if [ $$pure = 2 ]; then exit 2; fi; \
	$(PYTEST) $(1) --share=rest $(PYTEST_ARGS) || rest=$$?; \
	case $$pure,$$rest in 0,0 | 0,5 | 5,0) ;; *) \
	  echo "tests failed: pytest's status is $$pure for the first share, $$rest for the second" >&2; exit 1;; esac
endef

.PHONY: test
test: test-packages $(VENV)/ready
	$(call run_tests,--ignore=tests/cluster)

# What is in tests/cluster needs a control plane, which is started for it and stopped again: one for each
# process that has tests of the first share.
.PHONY: cluster-packages cluster-programs test-cluster
cluster-packages: run-packages
	$(call install_packages,$(CLUSTER_PACKAGES))
cluster-programs: cluster-packages $(VENV)/ready
	$(SUDO) $(BIN)/python -m vegd.lab.cluster.assets
	$(SUDO) $(BIN)/python -m tests.support.ovn_versions
test-cluster: cluster-programs
	$(call run_tests,tests/cluster)

# aiobfd is of 2017 and wants a library of its time, so it gets an environment of its own.
AIOBFD := .cache/aiobfd
$(AIOBFD)/ready:
	@echo "==> making $(AIOBFD) for the benchmark"
	@$(PYTHON) -m venv --clear $(AIOBFD)
	@$(AIOBFD)/bin/python -m pip install --quiet --disable-pip-version-check aiobfd==0.2 bitstring==3.1.9
	@touch $@

.PHONY: bench-bfd
bench-bfd: test-packages $(VENV)/ready $(AIOBFD)/ready
	$(SUDO) $(BIN)/python -m bench.bfd $(if $(QUICK),--quick) $(BENCH)

.PHONY: bench-controller
bench-controller: cluster-packages $(VENV)/ready
	$(BIN)/python -m vegd.lab.cluster.assets
	$(BIN)/python -m bench.controller $(if $(QUICK),--quick)

.PHONY: bench-packages bench-dataplane
bench-packages: run-packages
	$(call install_packages,$(BENCH_PACKAGES))
bench-dataplane: bench-packages $(VENV)/ready
	$(SUDO) $(BIN)/python -m bench.dataplane $(if $(QUICK),--quick)

.PHONY: bench-pod
bench-pod: run-packages $(VENV)/ready
	$(SUDO) $(BIN)/python -m bench.pod $(if $(QUICK),--quick)
.PHONY: bench-observer
bench-observer: run-packages $(VENV)/ready
	$(SUDO) $(BIN)/python -m bench.observer

.PHONY: lint format clean
lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Without an engine and a registry: BASE=debootstrap, as root.
.PHONY: image image-packages image-lock
image-packages:
	$(call install_packages,$(IMAGE_PACKAGES))
image: $(if $(filter debootstrap,$(BASE)),image-packages)
	$(if $(filter debootstrap,$(BASE)),$(SUDO)) env IMAGE='$(IMAGE)' BASE='$(BASE)' ENGINE='$(ENGINE)' \
	  SOURCE='$(SOURCE)' PIP_CERT='$(PIP_CERT)' kube/build-image.sh

# Upon the image of a gateway, which has to be there.
.PHONY: controller-image
GATEWAY ?= localhost/vegd:latest
controller-image: IMAGE := $(or $(IMAGE),localhost/vegd-controller:latest)
controller-image:
	$(if $(filter debootstrap,$(BASE)),$(SUDO)) env IMAGE='$(IMAGE)' BASE='$(BASE)' ENGINE='$(ENGINE)' \
	  SOURCE='$(SOURCE)' PIP_CERT='$(PIP_CERT)' GATEWAY='$(GATEWAY)' kube/build-image.sh

# The Python packages of the images, by hash: the newest that pyproject.toml allows.
image-lock: $(VENV)/ready
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --extra watch --output-file kube/requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --extra kube --no-emit-package ovs \
	  --output-file kube/requirements-controller.txt pyproject.toml

# Runs until it finds something or FUZZ_SECONDS are over (0: never); what it has learnt stays in
# build/fuzz, what it finds in the current directory.
FUZZ_INPUT ?= packet
FUZZ_SECONDS ?= 60
.PHONY: fuzz simulate
fuzz: .venv-fuzz/ready
	@mkdir -p build/fuzz/$(FUZZ_INPUT)
	PYTHONPATH=. .venv-fuzz/bin/python tests/fuzz/run.py $(FUZZ_INPUT) build/fuzz/$(FUZZ_INPUT) \
	  -max_len=2048 -max_total_time=$(FUZZ_SECONDS)

.venv-fuzz/ready: | run-packages
	@$(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	@touch $@

# Worlds from SEED on, COUNT of them (0: without end), of STEPS steps each.
SEED ?= 0
COUNT ?= 10
STEPS ?= 25000
simulate: $(VENV)/ready
	$(BIN)/python -m tests.support.worlds --seed $(SEED) --count $(COUNT) --steps $(STEPS)

.PHONY: conformance
conformance: $(VENV)/ready
	$(BIN)/python -m tests.support.conformance

clean:
	rm -rf $(VENV) .venv-fuzz .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
