#!/usr/bin/env python3
"""Seconds per update, ours and plain PyTorch's, in turns on the same machine: `make bench`.

Each row is run `--rounds` times in turns, so that a slow spell of the machine hits both; the median update of each round
counts, without the first ones. The ratio is PyTorch's time over ours. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DMDR = ROOT / "target/release/dmdr"
PEER = ROOT / ".venv-peer/bin/python"
WARM_UP = 2

# Name, our config, our overrides, the peer's name for it, batch.
STEPS = [
    ("teacher update", "pretrain", "configs/teacher-base.toml", "num_updates", "teacher", 64),
    ("DMD update, TTUR 3", "train", "configs/dmd.toml", "method.dmdr.num_updates", "dmd", 16),
]


def ours(command: str, config: str, key: str, steps: int, precision: str) -> list[float]:
    with tempfile.TemporaryDirectory() as root:
        quiet = ["events.sample_every=0", "events.checkpoint_every=0", "events.log_every=1"]
        if command == "train":
            quiet.append("events.evaluate_every=0")
        sets = [f"{key}={steps}", "name=bench", f"precision={precision}", *quiet]
        arguments = [DMDR, "--quiet", command, config, "--root", root, *(f"--set={item}" for item in sets)]
        subprocess.run(arguments, cwd=ROOT, check=True)
        lines = (Path(root) / "bench/metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record["values"]["time/update_s"] for record in records if record["kind"] == "train"]


def peer(what: str, batch: int, steps: int, precision: str) -> list[float]:
    arguments = [PEER, "tools/peer/steps.py", what, f"--batch-size={batch}", f"--steps={steps}"]
    if precision == "bf16":
        arguments.append("--bf16")
    output = subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [float(line) for line in output.split()]


def median(seconds: list[float]) -> float:
    return statistics.median(seconds[WARM_UP:])


def machine() -> str:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
        name = next(line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    print(f"{machine()}; commit {commit.stdout.strip()}; {args.rounds} rounds of {args.steps} updates; seconds an update, median (range)\n")
    print("| update | precision | dmdr | PyTorch | ratio |\n|---|---|---|---|---|")
    for name, command, config, key, what, batch in STEPS:
        for precision in ("f32", "bf16"):
            rounds = []
            for number in range(args.rounds):
                print(f"{name}, {precision}: round {number + 1} of {args.rounds}", file=sys.stderr)
                a = median(ours(command, config, key, args.steps, precision))
                b = median(peer(what, batch, args.steps, precision))
                rounds.append((a, b))
            a, b = ([pair[side] for pair in rounds] for side in (0, 1))
            ratios = [theirs / mine for mine, theirs in rounds]
            cells = [f"{statistics.median(x):.3f} ({min(x):.3f}-{max(x):.3f})" for x in (a, b)]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"| {name}, batch {batch} | {precision} | {cells[0]} | {cells[1]} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
