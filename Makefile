# Two commands do all the set-up:  make quickstart   and   make test
# mace-torch and nequip pin different e3nn versions, so each has an environment of its own.

PYTHON ?= python3
MACE := .venv-mace
NEQUIP := .venv-nequip
# two cores are enough for everything here; threads of two processes would get in each other's way
export OMP_NUM_THREADS ?= 1
export MPLBACKEND := Agg
# MACE and NequIP call what torch, e3nn and ASE deprecate; the logs are easier to read without
export PYTHONWARNINGS := ignore

.PHONY: quickstart quickstart-mace quickstart-nequip test test-mace test-nequip lint environments clean

quickstart: quickstart-mace quickstart-nequip
	@for framework in mace nequip; do \
	    echo; echo "=== $$framework, without and with PIWSL (quickstart/report-$$framework) ==="; \
	    sed -n '/^## Labelled/,/^## Scans/p' quickstart/report-$$framework/summary.md | grep '^|'; \
	done
	@echo; echo "Figures and all numbers: quickstart/report-mace/report.html, quickstart/report-nequip/report.html"
	@echo "PIWSL's preset 'safe' changes little here, as it should: README, \"When it helps, and when it harms\""

# side by side: each takes one core
test: environments
	@$(MAKE) --no-print-directory -j 2 test-mace test-nequip

environments: $(MACE)/ready $(NEQUIP)/ready

$(MACE)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MACE)
	$(MACE)/bin/pip install --quiet --constraint constraints.txt torch
	$(MACE)/bin/pip install --quiet --constraint constraints.txt --editable '.[mace,report,test]' schedulefree ruff mypy
	touch $@

$(NEQUIP)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(NEQUIP)
	$(NEQUIP)/bin/pip install --quiet --constraint constraints.txt torch
	$(NEQUIP)/bin/pip install --quiet --constraint constraints.txt --editable '.[nequip,report,test]' nequip-allegro schedulefree
	touch $@

lint: $(MACE)/ready
	$(MACE)/bin/ruff check .
	$(MACE)/bin/ruff format --check .
	$(MACE)/bin/mypy

quickstart/ethanol_50.xyz: $(MACE)/ready data/ethanol_gfn2_train.xyz
	mkdir -p quickstart
	$(MACE)/bin/ase convert --force --image-number 0:53 data/ethanol_gfn2_train.xyz $@

# the command of the README, without and with PIWSL, and a report on both
quickstart-mace: quickstart/ethanol_50.xyz
	rm -rf quickstart/mace quickstart/report-mace
	$(MACE)/bin/mace_run_train --config configs/mace/quickstart.yaml --name=baseline --loss=weighted
	$(MACE)/bin/mace_run_train --config configs/mace/quickstart.yaml
	$(MACE)/bin/piwsl-report --quick --data data/ethanol_gfn2_test.xyz --out quickstart/report-mace \
	    --model baseline=quickstart/mace/baseline.model --model piwsl=quickstart/mace/piwsl.model
	$(MACE)/bin/piwsl-report training quickstart/mace/results --out quickstart/report-mace/training

quickstart-nequip: $(NEQUIP)/ready
	rm -rf quickstart/nequip quickstart/report-nequip
	$(NEQUIP)/bin/nequip-train configs/nequip/quickstart_baseline.yaml hydra.run.dir=quickstart/nequip/baseline
	$(NEQUIP)/bin/nequip-train configs/nequip/quickstart.yaml hydra.run.dir=quickstart/nequip/piwsl
	$(NEQUIP)/bin/piwsl-report --quick --data data/ethanol_gfn2_test.xyz --out quickstart/report-nequip \
	    --model baseline=quickstart/nequip/baseline/best.ckpt --model piwsl=quickstart/nequip/piwsl/best.ckpt
	$(NEQUIP)/bin/piwsl-report training quickstart/nequip --out quickstart/report-nequip/training

test-mace: $(MACE)/ready
	$(MACE)/bin/python -m pytest tests/core tests/curvature tests/mace tests/report

test-nequip: $(NEQUIP)/ready
	$(NEQUIP)/bin/python -m pytest tests/core tests/curvature tests/nequip tests/report

clean:
	rm -rf $(MACE) $(NEQUIP) quickstart
