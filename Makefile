PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Without a GPU of NVIDIA, PyTorch's build for CPUs: a tenth of the size.
CPU := $(if $(shell command -v nvidia-smi),,--retries 1 --extra-index-url https://download.pytorch.org/whl/cpu)

.PHONY: demo test check docs pictures drills bench format reproduce release clean

# The built-in judge on built-in pictures: terminal table and runs/demo/report.html.
demo: $(READY)
	$(BIN)/lad-reasoner demo

# The whole suite. Page tests use a Chromium that is already there, or install Debian's where that is allowed.
test: $(READY)
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  echo "no Chromium: the page tests will be skipped" >&2
	$(BIN)/pytest -n 2 --dist worksteal

# Faults and attacks, in their short form: tried, survived, lost (SECURITY.md says what each one shows).
drills: $(READY)
	$(BIN)/python benchmarks/drills.py all

# Speed, every ratio measured side by side, into docs/performance.md: an hour on two cores that do nothing else.
# `make bench ARGS=--quick` tries it.
bench: $(READY)
	$(BIN)/python benchmarks/bench.py $(ARGS)

# The paper in miniature: SFT, GRPO, both ablations, Table 1; under an hour on two cores, and resumes where it stopped.
# `make reproduce ARGS=--quick` tries the chain.
reproduce: $(READY)
	$(BIN)/python benchmarks/reproduce.py $(ARGS)

# Lint, format, types, that imports between rooms only go down, and that the documentation has no broken link.
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The documentation site: open build/site/index.html.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The pictures of the README and the docs, from the product as it is; look at them before you commit them.
pictures: $(READY)
	$(BIN)/python .ci/pictures.py

# Wheel and sdist in dist/, both tried in a fresh environment: install, then `lad-reasoner demo`.
release: $(READY)
	$(BIN)/python .ci/release.py $(ARGS)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv runs build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# One environment for everything, rebuilt only when what it is built from changes. torch goes first and alone, so
# that a CPU build that is already there serves all that asks for torch.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(CPU) torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,hf,teacher,data,figures,train,serve,plant,ocr,heic,ray,docs,inspect]'
	@touch $@
