# Common tasks. `make` lists them; each runs in the current virtual environment.
.DEFAULT_GOAL := help
.PHONY: help setup test test-all lint docs bench ci oldest release

help:  ## list these tasks
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup:  ## install for development, in the versions that CI uses
	python -m pip install -e '.[dev]' -c constraints.txt

test:  ## the fast tests; PART=tests/search for some
	pytest $(PART)

test-all:  ## all tests, also those that train networks or start servers
	pytest -m '' -n auto --dist loadfile --refuse-skips $(PART)

lint:  ## style, format and types, as CI checks them
	ruff check .
	ruff format --check .
	mypy
	mypy --config-file tests/mypy.ini tests

docs:  ## generate the reference pages and build the site into site/
	python docs/generate.py
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

bench:  ## measure all goals, half an hour on two quiet cores, and renew docs/goals.md
	python -m benchmarks --json docs/goals.json; python docs/generate.py

ci:  ## everything that CI runs, in a virtual environment of its own
	bash .ci/run

oldest:  ## fast tests with the oldest supported versions of direct requirements, in a virtual environment of its own
	bash .ci/oldest

release:  ## check, build, install and try a release, and tag it: make release VERSION=0.2.0
	python .ci/release.py $(VERSION)
