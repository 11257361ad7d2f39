#!/usr/bin/env python3
"""Check the arrows of docs/architecture.md: which crate of the workspace may depend on which, and who may name libtorch.

The table below is the rule. A new arrow is a decision: change it here and in docs/architecture.md, in one commit.
Dev-dependencies may point anywhere, except that a torch-free crate stays so in its tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

TORCH_FREE = ["config", "events", "world", "report", "image", "prompts", "remote", "benchmarks", "detector"]
# Each crate may use the ones before it in this chain, and what is listed for it below.
CHAIN = ["tensor", "diffusion", "models", "rewards", "methods", "train"]
EXTRA = {
    "config": [],
    "events": ["config"],
    "image": [],
    "world": ["config", "image"],
    "batches": ["config", "events", "image", "world", "tensor"],
    "report": ["config", "events"],
    "prompts": ["config", "events"],
    "remote": ["events"],
    "benchmarks": ["events", "prompts"],
    "detector": ["image"],
    **{crate: ["config", "events"] for crate in CHAIN},
    # A reward scores images against prompts, so the prompt batch is part of its contract.
    # The world's judge is a reward.
    "rewards": ["config", "events", "image", "remote", "batches", "tensor", "models", "world"],
    "methods": ["config", "events", "batches"],
    # The periodic evaluation runs inside the loop, with the averaged weights.
    # Prompt files of published models are read by the crate that holds all their formats.
    "train": ["config", "events", "image", "world", "prompts", "batches", "eval"],
    "eval": ["config", "events", "image", "world", "batches", "tensor", "diffusion", "models", "rewards"],
    # What the programs share.
    "console": ["events", "tensor", "train"],
    "cli": [*TORCH_FREE, *CHAIN, "batches", "eval", "console"],
    "studies": [*TORCH_FREE, *CHAIN, "batches", "eval", "console"],
    # A method of another program: what such a program needs.
    "toy": [*TORCH_FREE, *CHAIN],
}
ALLOWED = {name: {*extra, *CHAIN[: CHAIN.index(name) if name in CHAIN else 0]} for name, extra in EXTRA.items()}
# The engine behind the tensors. `torch-sys` in the binary is for the rpath alone.
ENGINE = {"tch": {"tensor"}, "torch-sys": {"tensor", "cli"}}


def violations(packages: list[dict]) -> list[str]:
    """Arrows that the table does not allow, from the packages of `cargo metadata`."""
    crate_of = {package["name"]: Path(package["manifest_path"]).parent.name for package in packages}
    found = []
    for package in packages:
        crate = crate_of[package["name"]]
        if crate not in ALLOWED:
            found.append(f"`{crate}` is not in the table of {Path(__file__).name}")
            continue
        for dependency in package["dependencies"]:
            name, is_dev = dependency["name"], dependency["kind"] == "dev"
            if name in ENGINE and crate not in ENGINE[name]:
                found.append(f"`{crate}` names `{name}`; only {' and '.join(sorted(ENGINE[name]))} may")
            other = crate_of.get(name)
            if other is None or other in ALLOWED[crate] or (is_dev and crate not in TORCH_FREE):
                continue
            if not is_dev or other not in TORCH_FREE:
                found.append(f"`{crate}` depends on `{other}`; it may use {', '.join(sorted(ALLOWED[crate])) or 'none'}")
    return found


def main() -> int:
    args = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    out = subprocess.run(args, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = violations(json.loads(out.stdout)["packages"])
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
