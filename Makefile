# Two commands matter: `make drill` (a real drill on real databases) and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help drill test lint bench bench-verify integration-namespaces integration-ceph crash sim sim-mutations setup lock clean

help: ## what can be made here
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## virtual environment with locked dependencies

$(READY): requirements/all.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python >= 3.11 is needed; hint: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "error: $(PYTHON) has no venv module; hint: install python3-venv" >&2; exit 2; }
	@# The lock is complete, so nothing is to be resolved: pip before 23.3 tries the newest release of a package that is
	@# named with an extra somewhere, and refuses it for having no hash, as soon as there is a newer one than the locked.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/all.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip --disable-pip-version-check check >/dev/null || \
	  { $(BIN)/python -m pip check; echo "error: the lock is not complete; hint: make lock" >&2; exit 2; }
	@touch $@

drill: $(READY) ## a real drill: lab up, check, verify, centre A lost -> B, evidence, lab down
	$(BIN)/python -m orchestrator.lab.showcase

lint: $(READY) ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The core: what must be right before anything is touched. Its lines are covered to 90 % at least.
CORE := */orchestrator/model/*,*/orchestrator/checks/*,*/orchestrator/plan*,*/orchestrator/exec*,*/orchestrator/measure.py,$\
  */orchestrator/evidence/*,*/orchestrator/loader/*,*/orchestrator/runbooks.py,*/orchestrator/verification/*,$\
  */orchestrator/yaml*.py,*/orchestrator/conclusion.py,*/orchestrator/observer.py

test: lint ## everything that CI runs
	$(BIN)/python -m pytest tests/unit -n 2 --cov --cov-report=
	$(BIN)/python -m pytest tests/simulation -n 2
	$(BIN)/python -m pytest tests/integration --cov --cov-append --cov-report= --durations=10
	$(BIN)/python -m coverage report --skip-covered --include='$(CORE)' --fail-under=90

integration-namespaces: $(READY) ## the lab's tests and drills again, with a network namespace for each centre (root)
	DRCTL_LAB_NET=namespaces $(BIN)/python -m pytest tests/integration/test_drills.py tests/integration/test_lab_faults.py \
	  tests/integration/test_lab_estate.py tests/integration/test_lab_namespaces.py tests/integration/test_check_lab.py
	@DRCTL_LAB_NET=namespaces $(BIN)/python -m tests.ceph

integration-ceph: $(READY) ## buckets in three zones of a real Ceph (root, apt): contract, verification, lag, loss, failover, WORM
	@$(BIN)/python -m tests.ceph

crash: $(READY) ## kill -9 anywhere on real databases: the whole matrix, or SAMPLE=40 of it; stop and go on at will
	$(BIN)/python -m tests.crash $(if $(SAMPLE),--sample $(SAMPLE))

SEEDS ?= 20000
FROM ?= 0
sim: $(READY) ## the simulated world: SEEDS=1000000 runs on all cores, the first seed FROM=0; coverage and violations
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM)

sim-mutations: $(READY) ## every safeguard broken in turn: how many seeds until the simulator notices
	@$(BIN)/python -m tests.simulation.mutations

bench: $(READY) ## ratios against floors and peers, measured in this run
	$(BIN)/python -m tests.benchmarks

bench-verify: $(READY) ## verification of rows, objects and endpoints against floors and peers
	$(BIN)/python -m tests.benchmarks.verify

lock: ## renew requirements/all.txt from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  --extra lab --extra dev requirements/build.in pyproject.toml -o requirements/all.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage build *.egg-info
