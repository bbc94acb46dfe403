# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Needs python3 (3.11 or newer) and make; everything else is installed into .venv.
# The targets that need Debian packages (test, integration, test-hosts) install those that are missing.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
COLLECTION := .collections/ansible_collections/unshare/container
BUILD := $(CURDIR)/.build
OLDEST := .cache/ansible-2.18
PLOTS := .cache/plots
FLEET_PEERS := .cache/fleet-peers
SIDE_BY_SIDE = $(BIN)/python -m ansible_collections.unshare.container.tests.side_by_side $(PROCESSES:%=--processes=%)

INVENTORY ?= examples/inventory
PLAYBOOK_ARGS ?=
PYTEST_ARGS ?=
PROCESSES ?=
HOSTS ?=
CHOSEN = not long
HOST_PROCESSES ?= 2
BENCHMARK_ARGS ?=
SAMPLE ?= 0
SEED ?= 1
MUTATION_ARGS ?=

export PATH := $(BIN):$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONPATH := $(CURDIR)/.collections
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export LC_ALL := C.UTF-8
export RUFF_CACHE_DIR := .cache/ruff
# Where that is set, each process of pytest takes the tests apart anew, which are then collected in twice the time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: docs security-table help deploy check checks destroy test test-long lint unit integration benchmark benchmark-archives benchmark-connection benchmark-fleet benchmark-network benchmark-packages benchmark-plots benchmark-roots benchmark-scale test-hosts test-hosts-long hosts-table test-packages test-tree host-packages changelog constraints sanity importer build clean molecule mutation golden \
	lint-python lint-yaml lint-ansible lint-shell lint-changelog lint-licences lint-docs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-20s %s\n", $$1, $$2 }' Makefile

## Use

deploy: $(VENV)/deploy $(COLLECTION) ## deploy the example container to this machine (as root)
	$(BIN)/ansible-playbook -i $(INVENTORY) playbooks/deploy-container.yml $(PLAYBOOK_ARGS)

check: $(VENV)/deploy $(COLLECTION) ## show what deploy would change, and change nothing
	$(BIN)/ansible-playbook -i $(INVENTORY) playbooks/deploy-container.yml --check --diff $(PLAYBOOK_ARGS)

destroy: $(VENV)/deploy $(COLLECTION) ## take away everything that deploy made
	$(BIN)/ansible-playbook -i $(INVENTORY) playbooks/destroy-container.yml $(PLAYBOOK_ARGS)

## Tests. One run of several processes, so that one closing line counts them all.

test: checks test-packages test-tree $(OLDEST)/installed ## every check, and every test but the long ones (as root)
	$(SIDE_BY_SIDE) -m "$(CHOSEN)" $(PYTEST_ARGS) tests/quality tests/unit tests/integration

test-long: $(VENV)/development $(OLDEST)/installed $(COLLECTION) test-packages test-tree ## the long ones: fleets, pages of the documentation, many rounds (as root)
	$(SIDE_BY_SIDE) -m long $(PYTEST_ARGS) tests/integration

unit: $(VENV)/development $(COLLECTION) ## tests that need neither root nor a host
	$(BIN)/pytest $(PYTEST_ARGS) tests/quality tests/unit

integration: $(VENV)/development $(OLDEST)/installed $(COLLECTION) test-packages test-tree ## tests that boot containers (as root)
	$(SIDE_BY_SIDE) $(PYTEST_ARGS) tests/integration

# Each process has one machine that works, which keeps one of this machine's processors busy, or two with KVM.
test-hosts: PROCESSES = $(HOST_PROCESSES)
test-hosts: $(VENV)/development $(COLLECTION) host-packages ## tests on virtual machines that boot (as root; HOSTS=debian12,debian13: on these)
	$(SIDE_BY_SIDE) $(PYTEST_ARGS) $(HOSTS:%=--hosts=%) -m "$(CHOSEN)" tests/hosts

test-hosts-long: CHOSEN = long
test-hosts-long: test-hosts ## those of them that take an hour more: power cuts at random moments, 20 containers

hosts-table: $(VENV)/development $(COLLECTION) ## run the tests on hosts, and make the table of docs/requirements.md of their results (as root)
	HOSTS_TABLE=write $(MAKE) test-hosts
	$(BIN)/python tests/quality/hosts_table.py

molecule: $(VENV)/development $(COLLECTION) test-packages ## the Molecule scenarios alone, which integration runs, too (as root)
	$(BIN)/molecule test --all

test-packages: ## install the Debian packages that tests need, without starting their services
	sh tests/install-packages.sh requirements/debian.txt

test-tree: $(VENV)/development $(COLLECTION) test-packages ## make the tree that the tests of machine roots share
	$(BIN)/python -m ansible_collections.unshare.container.tests.integration.machine_tree

host-packages: ## install the Debian packages that make and run virtual machines
	sh tests/install-packages.sh requirements/hosts.txt

benchmark-packages: ## install the peers that the benchmarks compare with
	sh tests/install-packages.sh requirements/benchmark.txt
	sh tests/crun-of-debian-13.sh .cache/crun-13

benchmark: export PATH := $(PATH):$(CURDIR)/.cache/crun-13/bin
benchmark: $(VENV)/development $(COLLECTION) test-packages benchmark-packages ## measure the launcher beside its peers (as root)
	mkdir -p .cache
	$(BIN)/python -m ansible_collections.unshare.container.tests.benchmarks.benchmark --output .cache/benchmark.json $(BENCHMARK_ARGS)

benchmark-archives: $(VENV)/development $(COLLECTION) test-packages ## measure archives and snapshots of volumes beside tar (as root)
	mkdir -p .cache
	$(BIN)/python -m ansible_collections.unshare.container.tests.benchmarks.archives --output .cache/benchmark-archives.json $(BENCHMARK_ARGS)

benchmark-connection: $(VENV)/development $(COLLECTION) test-packages ## measure a task in a container beside one on its host (as root)
	$(BIN)/python -m ansible_collections.unshare.container.tests.benchmarks.connection $(BENCHMARK_ARGS)

benchmark-network: $(VENV)/development $(COLLECTION) test-packages benchmark-packages ## measure what a network costs a container (as root)
	mkdir -p .cache
	$(BIN)/python -m ansible_collections.unshare.container.tests.benchmarks.network --output .cache/benchmark-network.json $(BENCHMARK_ARGS)

benchmark-scale: $(VENV)/development $(COLLECTION) ## measure what a container costs beside 10, 100, 500 and 1,000 others (as root)
	mkdir -p .cache
	$(BIN)/python -m ansible_collections.unshare.container.tests.benchmarks.scale --output .cache/benchmark-scale.json $(BENCHMARK_ARGS)

benchmark-roots: $(VENV)/development $(COLLECTION) test-tree benchmark-packages ## measure what a machine's root costs, beside peers (as root)
	mkdir -p .cache
	$(BIN)/python -m ansible_collections.unshare.container.tests.benchmarks.roots --output .cache/benchmark-roots.json $(BENCHMARK_ARGS)

benchmark-plots: $(PLOTS)/installed $(COLLECTION) ## draw the plots of docs/plots from the results that are there
	$(PLOTS)/bin/python -m ansible_collections.unshare.container.tests.benchmarks.plots $(BENCHMARK_ARGS)

benchmark-fleet: $(VENV)/development $(COLLECTION) $(FLEET_PEERS)/installed test-packages ## measure what a fleet costs its controller, beside peers (as root)
	$(BIN)/python -m ansible_collections.unshare.container.tests.benchmarks.fleet $(BENCHMARK_ARGS)

mutation: $(VENV)/development $(COLLECTION) ## change the sources and count what the unit tests notice (SAMPLE=100: of each room)
	$(BIN)/python -m ansible_collections.unshare.container.tests.mutation.main --sample $(SAMPLE) --seed $(SEED) $(MUTATION_ARGS)

## Checks

# Most of them are one process for a minute or more, and those of ansible-test the longest.
checks: $(VENV)/development $(COLLECTION) ## every static check, ansible-test sanity and galaxy-importer, side by side
	$(MAKE) --jobs=$(or $(PROCESSES),$(shell nproc)) --output-sync=target sanity lint importer

lint: lint-python lint-yaml lint-ansible lint-shell lint-changelog lint-licences lint-docs ## every static check

lint-python: $(VENV)/development $(COLLECTION)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p ansible_collections.unshare.container.plugins -p ansible_collections.unshare.container.tests
	$(BIN)/vermin --quiet --no-tips --target=3.8- --violations plugins/modules plugins/module_utils
	PYTHONPATH=plugins $(BIN)/lint-imports --cache-dir .cache/import-linter

lint-yaml: $(VENV)/development $(COLLECTION)
	$(BIN)/yamllint --strict .

lint-ansible: $(VENV)/development $(COLLECTION)
	$(BIN)/ansible-lint --nocolor --offline --profile production

lint-shell: $(VENV)/development
	$(BIN)/shellcheck .ci/run tests/*.sh

lint-changelog: $(VENV)/development $(COLLECTION)
	$(BIN)/antsibull-changelog lint

lint-licences: $(VENV)/development
	$(BIN)/reuse lint --lines

lint-docs: $(VENV)/development $(COLLECTION)
	$(BIN)/antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs all --disallow-unknown-collection-refs .

build: $(VENV)/development ## build the collection's archive
	rm -rf $(BUILD)
	$(BIN)/ansible-galaxy collection build --output-path $(BUILD)

sanity: build ## ansible-test sanity on a built and installed copy
	sh tests/sanity.sh $(BUILD)/*.tar.gz .cache/sanity

importer: build ## the checks of galaxy-importer
	sh tests/importer.sh $(BUILD)/*.tar.gz

## Upkeep

docs: $(VENV)/development $(COLLECTION) ## regenerate the references of services and of a container's options, and the tables of docs/security.md and docs/requirements.md
	$(BIN)/python tests/quality/service_reference.py
	$(BIN)/python tests/quality/container_reference.py
	$(BIN)/python tests/quality/security_table.py
	$(BIN)/python tests/quality/hosts_table.py

golden: $(VENV)/development $(COLLECTION) ## rewrite the golden outputs below tests/unit/golden
	GOLDEN=write $(BIN)/pytest $(PYTEST_ARGS) $$(grep -rl 'import golden' tests/unit --include='test_*.py')

security-table: $(VENV)/development $(COLLECTION) test-packages ## make the isolation suite's attempts again, and the table of their results (as root)
	SECURITY_TABLE=write $(BIN)/pytest $(PYTEST_ARGS) tests/integration -k isolation
	$(BIN)/python tests/quality/security_table.py

changelog: $(VENV)/development $(COLLECTION) ## make the release of galaxy.yml's version from the fragments
	$(BIN)/antsibull-changelog release --reload-plugins --update-existing

constraints: ## freeze anew what the requirements lead to (on the oldest Python supported)
	rm -rf .cache/constraints && $(PYTHON) -m venv .cache/constraints
	.cache/constraints/bin/pip install --quiet -r requirements/development.txt -r requirements/plots.txt
	sed -n '1,/^# Every/p' requirements/constraints.txt > .cache/constraints.txt
	.cache/constraints/bin/pip freeze >> .cache/constraints.txt
	mv .cache/constraints.txt requirements/constraints.txt

clean: ## remove what make made in this directory
	rm -rf .ansible .build .cache .collections .hypothesis $(VENV)

$(COLLECTION):
	mkdir -p $(dir $@)
	ln -sfn ../../.. $@

$(VENV)/deploy: requirements/deploy.txt requirements/constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet -r $< -c requirements/constraints.txt
	touch $@

$(VENV)/development: requirements/development.txt $(VENV)/deploy
	$(BIN)/pip install --quiet -r $< -c requirements/constraints.txt
	touch $@

# The oldest ansible-core supported, beside the one of .venv: the connection plugin works with either's own ones.
$(OLDEST)/installed: requirements/ansible-2.18.txt | $(BIN)/pip
	$(BIN)/python -m venv --clear $(OLDEST)
	$(OLDEST)/bin/pip install --quiet -r $<
	touch $@

# What draws plots is not needed by tests.
$(PLOTS)/installed: requirements/plots.txt requirements/constraints.txt | $(BIN)/pip
	$(BIN)/python -m venv --clear $(PLOTS)
	$(PLOTS)/bin/pip install --quiet -r $< -c requirements/constraints.txt
	touch $@

# pyinfra, and Mitogen's strategy for the Ansible of .venv, which are not to change what that has.
$(FLEET_PEERS)/installed: requirements/fleet-peers.txt | $(BIN)/pip
	$(BIN)/python -m venv --clear $(FLEET_PEERS)
	$(FLEET_PEERS)/bin/pip install --quiet -r $<
	touch $@

# Debian's python3 lacks what makes a virtual environment until python3-venv is there.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3 ...' >&2; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv; }
	$(PYTHON) -m venv --clear $(VENV)
