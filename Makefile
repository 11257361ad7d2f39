# One line per target; the logic is in scripts/. Variables: QUICK=1 (short demo), PYTHON (default python3).
PYTHON ?= python3
export PYTHON
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo test check bench results parity setup setup-cuda cargo peer

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: cargo setup ## distil and reinforce a small model on emoji scenes, then show the report (QUICK=1: short)
	@scripts/demo.sh

test: cargo setup ## all tests
	@scripts/test.sh

check: cargo setup ## format, lints, layers, sizes, documentation, tests of the scripts
	@scripts/check.sh

bench: cargo setup peer ## seconds per update, ours and plain PyTorch's in turns
	@cargo build --release --quiet
	@$(PYTHON) scripts/bench.py

results: cargo setup ## the figures of the README: teacher, DMD and DMDR over three training seeds (hours)
	@cargo build --release --quiet
	@$(PYTHON) scripts/results.py

parity: cargo setup peer ## compare with PyTorch, diffusers and transformers (DMDR_PROMPTS=FOLDER: more prompts)
	@.venv-peer/bin/python tools/peer/fixtures.py
	@.venv-peer/bin/python tools/peer/backbones.py
	@.venv-peer/bin/python tools/peer/sdxl.py
	@.venv-peer/bin/python tools/peer/schedulers.py
	@.venv-peer/bin/python tools/peer/dmd.py
	@.venv-peer/bin/python tools/peer/text.py
	@.venv-peer/bin/python tools/peer/rewards.py
	@.venv-peer/bin/python tools/peer/tokenizer_files.py
	@.venv-peer/bin/python tools/peer/fidelity.py
	@.venv-peer/bin/python tools/peer/pictures.py
	@.venv-peer/bin/python tools/peer/geneval.py
	@.venv-peer/bin/python tools/peer/dpg.py
	@cargo build --release --quiet -p dmdr-rewards --example token_ids
	@.venv-peer/bin/python tools/peer/vocabularies.py
	@cargo build --release --quiet
	@.venv-peer/bin/python tools/peer/export.py
	@.venv-peer/bin/python tools/peer/adapters.py
	@.venv-peer/bin/python tools/peer/hub.py
	@.venv-peer/bin/python tools/peer/detector.py

setup: ## put libtorch into .libtorch, once (LIBTORCH or LIBTORCH_USE_PYTORCH=1 brings your own)
	@$(PYTHON) scripts/setup-libtorch.py

setup-cuda: ## put libtorch with CUDA into .libtorch-cuda, once (Linux, 2.5 GB to download)
	@$(PYTHON) scripts/setup-libtorch.py --cuda

peer: .venv-peer/installed

.venv-peer/installed: tools/peer/requirements.txt
	@$(PYTHON) -m venv .venv-peer
	@.venv-peer/bin/pip install --quiet --requirement $<
	@touch $@

cargo:
	@scripts/need-cargo.sh
