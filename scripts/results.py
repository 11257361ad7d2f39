#!/usr/bin/env python3
"""The figures of the README: teacher, plain DMD and DMDR on test prompts, over training seeds: `make results`.

Trains the config of each arm once a seed into `runs/results/` (what is there already is kept, what was
stopped goes on), measures each with `dmdr eval`, and writes a Markdown table to stdout. Students are given as mean and
deviation over training seeds, the teacher over the seeds of the noise. With `--jobs 2` two runs go side by side, each on
one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DMDR = ROOT / "target/release/dmdr"
RUNS = ROOT / "runs/results"
# Name: config, and the keys that it is given.
ARMS = {
    "DMD": ("configs/dmd.toml", []),
    "DMDR": ("configs/demo.toml", []),
    "DMD2": ("configs/dmd2.toml", []),
    "DMD2-1step": ("configs/dmd2.toml", ["student.num_steps=1"]),
    "DMD2-without": ("configs/dmd2.toml", ["method.dmd2.gan=", "optim.discriminator="]),
    "LCM": ("configs/lcm.toml", []),
}
METRICS = {
    "geneval/overall": "GenEval",
    "world_clip": "World-CLIP",
    "preference_heldout": "held-out preference",
    "preference": "preference (trained on)",
    "diversity": "diversity",
}


def dmdr(threads: int | None, *arguments: str) -> None:
    environment = dict(os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {}))
    subprocess.run([DMDR, "--quiet", *arguments], cwd=ROOT, check=True, env=environment, stdout=subprocess.DEVNULL)


def name(arm: str, seed: int) -> str:
    return f"{arm.lower()}-s{seed}"


def run(arm: str, seed: int, prompts: int, with_teacher: bool, threads: int | None) -> None:
    """One student, trained and measured."""
    folder = RUNS / name(arm, seed)
    path, keys = ARMS[arm]
    overrides = [*(f"--set={key}" for key in [*keys, f"name={folder.name}", f"seed={seed}"])]
    config = subprocess.run(
        [DMDR, "config", "show", path, *overrides], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    has_started = (folder / "config.toml").exists()
    if has_started and (folder / "config.toml").read_text().strip() != config.strip():
        sys.exit(f"{folder} was made with another config than {path} is now; remove it to train it again")
    if not (folder / "student.safetensors").exists():
        dmdr(threads, "train", path, *overrides, f"--root={RUNS}", *(["--resume"] if has_started else []))
    for who in ["student"] + ["teacher"] * with_teacher:
        report = folder / f"eval/{who}-test.json"
        if not report.exists() or json.loads(report.read_text())["num_prompts"] != prompts:
            dmdr(threads, "eval", str(folder), f"--who={who}", "--split=test", f"--num-prompts={prompts}")


def statistic(metric: str, reports: list[dict]) -> str:
    """Over runs, or over the seeds of the noise where there is one run."""
    found = [report["metrics"][metric] for report in reports]
    values = [one["mean"] for one in found] if len(found) > 1 else found[0]["per_seed"]
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["DMD", "DMDR"], metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--seeds", type=int, default=3, help="training seeds an arm")
    parser.add_argument("--prompts", type=int, default=300, help="test prompts")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    arguments = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs) if arguments.jobs > 1 else None
    with ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [
            pool.submit(run, arm, seed, arguments.prompts, seed == 0 and arm == arguments.arms[-1], threads)
            for seed in range(arguments.seeds)
            for arm in arguments.arms
        ]
        for job in jobs:
            job.result()

    def read(folder: str, who: str) -> dict:
        return json.loads((RUNS / folder / f"eval/{who}-test.json").read_text())

    rows = {"teacher": [read(name(arguments.arms[-1], 0), "teacher")]}
    for arm in arguments.arms:
        rows[arm] = [read(name(arm, seed), "student") for seed in range(arguments.seeds)]
    print(f"| | evaluations | {' | '.join(METRICS.values())} |")
    print("|---" * (len(METRICS) + 2) + "|")
    for who, reports in rows.items():
        cells = [statistic(metric, reports) for metric in METRICS]
        print(f"| {who} | {reports[0]['num_evaluations']} | {' | '.join(cells)} |")
    first = rows[arguments.arms[-1]][0]
    print(f"\n{first['num_prompts']} test prompts x {len(first['seeds'])} seeds of noise; {arguments.seeds} training seeds;"
          f" commit {first['commit']}; {first['machine']}")


if __name__ == "__main__":
    main()
