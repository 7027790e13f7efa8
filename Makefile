# Two commands do all the set-up:  make quickstart   and   make test
# mace-torch and nequip pin different e3nn versions, so each has an environment of its own.

PYTHON ?= python3
MACE := .venv-mace
NEQUIP := .venv-nequip
DOCS := .venv-docs
HOSTS := .venv-host
# two cores are enough for everything here; threads of two processes would get in each other's way
export OMP_NUM_THREADS ?= 1
export MPLBACKEND := Agg
# MACE and NequIP call what torch, e3nn and ASE deprecate; the logs are easier to read without
export PYTHONWARNINGS := ignore

.PHONY: quickstart quickstart-mace mace-begin mace-baseline mace-hessians mace-weak quickstart-nequip
.PHONY: nequip-begin nequip-baseline nequip-hessians nequip-weak test test-mace test-nequip test-alone test-tools
.PHONY: test-fast host-tests host-tests-mace host-tests-nequip
.PHONY: lint docs environments clean

# two trainings side by side: each takes one core
quickstart: environments
	@$(MAKE) --no-print-directory -j 2 quickstart-mace quickstart-nequip
	@for framework in mace nequip; do \
	    echo; echo "=== $$framework: 10 frames of ethanol: alone (twice the steps), with their Hessians, with weak labels of 290 more ==="; \
	    awk '/^## / {shown = /Labelled|Vibrations/; if (shown) print ""} /^Models:/ {shown = 0} shown && NF' \
	        quickstart/report-$$framework/summary.md; \
	done
	@echo; echo "Figures and all numbers: quickstart/report-mace/report.html, quickstart/report-nequip/report.html"

# two at a time, the longest first: each takes one core
test: environments
	@$(MAKE) --no-print-directory -j 2 test-mace test-nequip test-tools test-alone

# all but what is slow, for every change
test-fast: environments
	@$(MAKE) --no-print-directory -j 2 BUT_SLOW="and not slow" test-mace test-nequip test-tools test-alone

environments: $(MACE)/ready $(NEQUIP)/ready

$(MACE)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MACE)
	$(MACE)/bin/pip install --quiet --constraint constraints.txt torch
	$(MACE)/bin/pip install --quiet --constraint constraints.txt --editable '.[mace,tools,test]' schedulefree ruff mypy
	touch $@

$(NEQUIP)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(NEQUIP)
	$(NEQUIP)/bin/pip install --quiet --constraint constraints.txt torch
	$(NEQUIP)/bin/pip install --quiet --constraint constraints.txt --editable '.[nequip,tools,test]' nequip-allegro schedulefree
	touch $@

$(DOCS)/ready: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --editable '.[docs]'
	touch $@

lint: $(MACE)/ready
	$(MACE)/bin/ruff check .
	$(MACE)/bin/ruff format --check .
	$(MACE)/bin/mypy

quickstart/ethanol_10.xyz: $(MACE)/ready data/ethanol_gfn2_train.xyz
	mkdir -p quickstart
	$(MACE)/bin/ase convert --force --image-number 3:13 data/ethanol_gfn2_train.xyz $@

REPORT := --quick --data data/ethanol_gfn2_test.xyz --hessians data/ethanol_gfn2_test_hessian.npz

# the commands of the README, at about equal cost: labels alone, with Hessians, with weak labels of the
# other frames (GFN1-xTB, corrected; their GFN2-xTB labels are not used), and a report on all
quickstart-mace: mace-baseline mace-hessians mace-weak
	$(MACE)/bin/piwsl report $(REPORT) --out quickstart/report-mace --model baseline=quickstart/mace/baseline.model \
	    --model hessians=quickstart/mace/hessians.model --model weak=quickstart/mace/weak.model
	$(MACE)/bin/piwsl report training quickstart/mace/results --out quickstart/report-mace/training

mace-begin: quickstart/ethanol_10.xyz
	rm -rf quickstart/mace quickstart/weak-mace quickstart/report-mace

mace-baseline: mace-begin
	$(MACE)/bin/mace_run_train --config configs/mace/quickstart.yaml --name=baseline \
	    --piwsl_hessian_weight=0 --max_num_epochs=801 --lr_scheduler_gamma=0.99426

mace-hessians: mace-begin
	$(MACE)/bin/mace_run_train --config configs/mace/quickstart.yaml

mace-weak: mace-begin
	$(MACE)/bin/piwsl weak quickstart/ethanol_10.xyz data/ethanol_gfn1_train.xyz --out quickstart/weak-mace/weak.xyz \
	    --cheap_labels data/ethanol_gfn1_train.xyz --models 2 --train "mace_run_train \
	    --config configs/mace/correction.yaml --max_ell=2 --correlation=2 --max_num_epochs=150 --lr_scheduler_gamma=0.96977"
	$(MACE)/bin/mace_run_train --config configs/mace/quickstart.yaml --name=weak --piwsl_hessian_weight=0 \
	    --piwsl_pool_file=quickstart/weak-mace/weak.xyz --piwsl_pool_per_batch=8 --max_num_epochs=281 --lr_scheduler_gamma=0.98374

quickstart-nequip: nequip-baseline nequip-hessians nequip-weak
	$(NEQUIP)/bin/piwsl report $(REPORT) --out quickstart/report-nequip --model baseline=quickstart/nequip/baseline/best.ckpt \
	    --model hessians=quickstart/nequip/hessians/best.ckpt --model weak=quickstart/nequip/weak/best.ckpt
	$(NEQUIP)/bin/piwsl report training quickstart/nequip --out quickstart/report-nequip/training

nequip-begin: quickstart/ethanol_10.xyz $(NEQUIP)/ready
	rm -rf quickstart/nequip quickstart/weak-nequip quickstart/report-nequip

nequip-baseline: nequip-begin
	$(NEQUIP)/bin/nequip-train configs/nequip/quickstart.yaml hydra.run.dir=quickstart/nequip/baseline \
	    +training_module.loss.hessian_weight=0 epochs=800

nequip-hessians: nequip-begin
	$(NEQUIP)/bin/nequip-train configs/nequip/quickstart.yaml hydra.run.dir=quickstart/nequip/hessians

nequip-weak: nequip-begin
	$(NEQUIP)/bin/piwsl weak quickstart/ethanol_10.xyz data/ethanol_gfn1_train.xyz --out quickstart/weak-nequip/weak.xyz \
	    --cheap_labels data/ethanol_gfn1_train.xyz --models 2 --train "nequip-train configs/nequip/correction.yaml epochs=150"
	$(NEQUIP)/bin/nequip-train configs/nequip/quickstart.yaml hydra.run.dir=quickstart/nequip/weak epochs=280 \
	    +training_module.loss.hessian_weight=0 +training_module.loss.pool_file=quickstart/weak-nequip/weak.xyz \
	    +training_module.loss.pool_per_batch=8

test-mace: $(MACE)/ready
	$(MACE)/bin/python -m pytest tests/mace tests/tools -m "framework $(BUT_SLOW)"

test-nequip: $(NEQUIP)/ready
	$(NEQUIP)/bin/python -m pytest tests/nequip tests/tools -m "framework $(BUT_SLOW)"

# what no framework takes part in is the same in both environments; in two halves, for two cores
test-tools: $(MACE)/ready
	$(MACE)/bin/python -m pytest tests/tools/report tests/tools/hard_use -m "not framework $(BUT_SLOW)"

test-alone: $(MACE)/ready
	$(MACE)/bin/python -m pytest tests/frames tests/house tests/labels tests/options tests/terms tests/tools \
	    -m "not framework $(BUT_SLOW)" --ignore=tests/tools/report --ignore=tests/tools/hard_use

# MACE's and NequIP's own tests without and with this package (hours): the package index has MACE's, of
# NequIP a checkout is needed. HOST_TESTS="tests/test_cg.py" runs some of them.
host-tests:
	@$(MAKE) --no-print-directory -j 2 host-tests-mace host-tests-nequip

host-tests-mace: $(HOSTS)-mace/ready
	$(PYTHON) tests/hosts/suites.py mace --python $(HOSTS)-mace/bin/python --out host-tests/mace \
	    $(if $(MACE_SOURCE),--source $(MACE_SOURCE)) $(if $(HOST_TESTS),--tests "$(HOST_TESTS)")

host-tests-nequip: $(HOSTS)-nequip/ready
	$(PYTHON) tests/hosts/suites.py nequip --python $(HOSTS)-nequip/bin/python --out host-tests/nequip \
	    $(if $(NEQUIP_SOURCE),--source $(NEQUIP_SOURCE)) $(if $(HOST_TESTS),--tests "$(HOST_TESTS)")

$(HOSTS)-mace/ready: constraints.txt
	$(PYTHON) -m venv $(HOSTS)-mace
	$(HOSTS)-mace/bin/pip install --quiet --constraint constraints.txt torch
	$(HOSTS)-mace/bin/pip install --quiet --constraint constraints.txt mace-torch schedulefree \
	    pytest pytest-benchmark pytest-timeout
	touch $@

$(HOSTS)-nequip/ready: constraints.txt
	$(PYTHON) -m venv $(HOSTS)-nequip
	$(HOSTS)-nequip/bin/pip install --quiet --constraint constraints.txt torch
	$(HOSTS)-nequip/bin/pip install --quiet --constraint constraints.txt nequip schedulefree h5py vesin \
	    pytest pytest-timeout
	touch $@

# warnings are errors: links, anchors, pages that are not in the navigation
docs: $(DOCS)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@echo "Open site/index.html"

clean:
	rm -rf $(MACE) $(NEQUIP) $(DOCS) $(HOSTS)-mace $(HOSTS)-nequip quickstart host-tests site
