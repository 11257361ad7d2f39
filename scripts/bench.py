#!/usr/bin/env python3
"""Seconds and memory of an update, ours and plain PyTorch's, in turns on the same machine: `make bench`.

Each row is measured in `--rounds` turns of `dmdr`, PyTorch as it is (eager) and PyTorch with `torch.compile`, so that a slow
spell of the machine hits all. The median update of a turn counts, without the first ones. Ratios are PyTorch's time over ours.
Memory is the peak of the whole process, each in a process of its own. Tables go to stdout, progress to stderr.
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
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DMDR = ROOT / "target/release/dmdr"
PEER = ROOT / ".venv-peer/bin/python"
WARM_UP = 2


class Step(NamedTuple):
    """An update, as each side knows it."""

    name: str
    command: str
    config: str
    key: str
    what: str
    batch: int


TEACHER = Step("teacher update, batch 64", "pretrain", "configs/teacher-base.toml", "num_updates", "teacher", 64)
DMD = Step("DMD update, TTUR 3, batch 16", "train", "configs/dmd.toml", "method.dmdr.num_updates", "dmd", 16)
# Batch, and whether our blocks are computed again.
MEMORY = [(16, False), (128, True)]


def ours(step: Step, updates: int, precision: str, *sets: str) -> tuple[list[float], int]:
    """Seconds of each update, and the peak of the process in bytes."""
    with tempfile.TemporaryDirectory() as root:
        quiet = ["events.sample_every=0", "events.checkpoint_every=0", "events.log_every=1"]
        if step.command == "train":
            quiet.append("events.evaluate_every=0")
        all_sets = [f"{step.key}={updates}", "name=bench", f"precision={precision}", *quiet, *sets]
        arguments = [DMDR, "--quiet", step.command, step.config, "--root", root, *(f"--set={item}" for item in all_sets)]
        process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{arguments} failed")
        lines = (Path(root) / "bench/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    seconds = [record["values"]["time/update_s"] for record in records if record["kind"] == "train"]
    return seconds, usage.ru_maxrss * 1024


class Peer:
    """A process of PyTorch that does updates when it is asked."""

    def __init__(self, step: Step, precision: str, *flags: str, batch: int | None = None) -> None:
        arguments = [PEER, "tools/peer/steps.py", step.what, f"--batch-size={batch or step.batch}", *flags]
        if precision == "bf16":
            arguments.append("--bf16")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(arguments, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def __call__(self, updates: int) -> tuple[list[float], int]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{updates}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the peer failed")
        found = json.loads(line)
        return found["seconds"], found["peak_bytes"]

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def median(seconds: list[float]) -> float:
    return statistics.median(seconds[WARM_UP:])


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def row_of_times(step: Step, precision: str, is_compiled: bool, rounds: int, updates: int) -> str:
    """Seconds of ours and of the peers, and the ratios."""
    peers = [Peer(step, precision)]
    if is_compiled:
        started = time.monotonic()
        peers.append(Peer(step, precision, "--compile"))
        peers[1](WARM_UP)
        say(f"{step.name}, {precision}: compiled in {time.monotonic() - started:.0f} s")
    turns = []
    for number in range(rounds):
        say(f"{step.name}, {precision}: round {number + 1} of {rounds}")
        turns.append([median(ours(step, updates, precision)[0]), *(median(peer(updates)[0]) for peer in peers)])
    for peer in peers:
        peer.end()
    mine = [turn[0] for turn in turns]
    cells = [spread(mine, 3)]
    for side in range(1, len(peers) + 1):
        cells += [spread([turn[side] for turn in turns], 3), spread([turn[side] / turn[0] for turn in turns], 2)]
    cells += [""] * (5 - len(cells))
    return f"| {step.name} | {precision} | {' | '.join(cells)} |"


def row_of_memory(batch: int, is_again: bool) -> str:
    """Peaks of a DMD update: ours, PyTorch's as it is, and with its own checkpointing."""
    say(f"memory, batch {batch}")
    again = "true" if is_again else "false"
    _, mine = ours(DMD, 3, "f32", f"method.dmdr.batch_size={batch}", f"gradient_checkpointing={again}")
    peaks = []
    for flags in ([], ["--checkpoint"]):
        peer = Peer(DMD, "f32", *flags, batch=batch)
        peaks.append(peer(3)[1])
        peer.end()
    cells = [f"{peak / 2**20:.0f} | {mine / peak:.2f}" for peak in peaks]
    return f"| {batch} | {'computed again' if is_again else 'kept'} | {mine / 2**20:.0f} | {' | '.join(cells)} |"


def machine() -> str:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = next(line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} threads"


def prefers_bf16() -> bool:
    """Whether `precision = "auto"` is bf16 here; elsewhere it takes twice as long as f32, or many times."""
    doctor = subprocess.run([DMDR, "doctor", DMD.config], cwd=ROOT, capture_output=True, text=True)
    return "products   BFloat16" in doctor.stdout


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="updates of a turn")
    args = parser.parse_args()
    started = time.monotonic()
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    print(f"{machine()}; commit {commit.stdout.strip()}; {args.rounds} rounds of {args.steps} updates\n")
    print("Seconds an update, median (range):\n")
    print("| update | precision | dmdr | eager | eager / dmdr | compiled | compiled / dmdr |\n|---|---|---|---|---|---|---|")
    # To compile in bf16 takes minutes.
    rows = [(DMD, "f32", True), (TEACHER, "f32", True)] + [(DMD, "bf16", False)] * prefers_bf16()
    for step, precision, is_compiled in rows:
        print(row_of_times(step, precision, is_compiled, args.rounds, args.steps), flush=True)
    print("\nPeak memory of the process in a DMD update, f32, MiB:\n")
    print("| batch | our activations | dmdr | PyTorch | ratio | PyTorch, checkpointed | ratio |\n|---|---|---|---|---|---|---|")
    for batch, is_again in MEMORY:
        print(row_of_memory(batch, is_again), flush=True)
    say(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
