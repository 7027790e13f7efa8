# Two commands do all the set-up:  make quickstart   and   make test
# mace-torch and nequip pin different e3nn versions, so each has an environment of its own.

PYTHON ?= python3
MACE := .venv-mace
NEQUIP := .venv-nequip
# two cores are enough for everything here; threads of two processes would get in each other's way
export OMP_NUM_THREADS ?= 1
export MPLBACKEND := Agg

.PHONY: quickstart quickstart-mace quickstart-nequip test test-mace test-nequip lint environments clean

quickstart: quickstart-mace quickstart-nequip

test: test-mace test-nequip

environments: $(MACE)/ready $(NEQUIP)/ready

$(MACE)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MACE)
	$(MACE)/bin/pip install --quiet --constraint constraints.txt torch
	$(MACE)/bin/pip install --quiet --constraint constraints.txt --editable '.[mace,report,test]' schedulefree ruff mypy
	touch $@

$(NEQUIP)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(NEQUIP)
	$(NEQUIP)/bin/pip install --quiet --constraint constraints.txt torch
	$(NEQUIP)/bin/pip install --quiet --constraint constraints.txt --editable '.[nequip,report,test]' nequip-allegro
	touch $@

lint: $(MACE)/ready
	$(MACE)/bin/ruff check .
	$(MACE)/bin/ruff format --check .
	$(MACE)/bin/mypy

test-mace: $(MACE)/ready
	$(MACE)/bin/python -m pytest tests/core tests/mace tests/report

test-nequip: $(NEQUIP)/ready
	$(NEQUIP)/bin/python -m pytest tests/core tests/nequip

clean:
	rm -rf $(MACE) $(NEQUIP) quickstart
