#!/usr/bin/env python3
"""Run two versions of dmdr side by side and say where a number differs: the net under a refactoring.

    python3 scripts/loss_compare.py BASE        (a git revision; the other side is the working tree)

Ten updates of each case in `loss_compare_cases.py`, on one thread, so that the same code gives the same bits. Compared are
all numbers of `metrics.jsonl` but times and memory, each tensor of the last checkpoint and of the results (name, dtype,
shape, SHA-256 of its bytes), the sample sheets, and the results of laboratories. Exit status 1 if something differs.

`target/loss-compare/` keeps BASE's binary by commit, the tiny pipelines, and the runs of cases that differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import NamedTuple

from loss_compare_cases import CASES, PROMPTS, Case

# Old names to new ones, for the side of a BASE that has the old ones: a refactoring adds what it renames. A name is whole, or a part of one that ends
# before `.`, `/` or `=`. Cases have the new keys, commands and files; BASE gets the old ones.
RENAMES = {
    "config": {
        "optim.generator": "optim.student",
        "optim.score": "optim.fake_score",
        "method.dmdr.score": "method.dmdr.fake_score",
        "num_steps": "num_updates",
    },
    "records": {"score": "train"},
    "metrics": {
        "loss/score": "loss/fake_score",
        "grad_norm/generator": "grad_norm/student",
        "grad_norm/score": "grad_norm/fake_score",
        "lr/generator": "lr/student",
        "lr/score": "lr/fake_score",
    },
    # Parts of a checkpoint and results, without `.safetensors`.
    "files": {
        "generator": "student",
        "generator.ema": "student.average",
        "score.adapter": "fake_score",
        "optim.generator": "optim.student",
        "optim.score": "optim.fake_score",
        "model.ema": "model.average",
    },
    "tensors": {},  # names within these files
}
SAME_NAMES: dict = {kind: {} for kind in RENAMES}

# What only one side has, on purpose: (case, name) to the reason. Both may be patterns; the name is as reported. A case that
# only one side can run is named "run".
EXPECTED: dict = {
    ("lcm", "run"): "versions before it lack the method",
    ("dmd2", "run"): "versions before it lack the method",
    ("rl_*", "*fake?score*"): "reinforcement learning alone trains no fake score",
    ("rl_*", "*rl/weight"): "it is logged for every method that has one",
}

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target/loss-compare"
# These differ from run to run.
NO_RESULT = ("time/*", "memory/*", "system/*")
MAX_LINES = 12


class Side(NamedTuple):
    """A program with the tree that it runs in."""

    name: str
    binary: Path
    tree: Path


def rename(name: str, table: dict) -> str:
    """`name` with the longest old name that begins it replaced."""
    for old in sorted(table, key=len, reverse=True):
        if name == old or (name.startswith(old) and name[len(old)] in "./="):
            return table[old] + name[len(old) :]
    return name


def inverse(table: dict) -> dict:
    """New names to old ones."""
    swapped = {new: old for old, new in table.items()}
    if len(swapped) != len(table):
        raise ValueError(f"two old names have one new name: {table}")
    return swapped


def numbers(value, name: str = "") -> dict:
    """All numbers within a JSON value, by path, as text that tells every bit."""
    if isinstance(value, bool) or value is None:
        return {}
    if isinstance(value, (int, float)) or value in ("NaN", "inf", "-inf"):
        return {name: repr(float(value))}
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {}
    found = {}
    for key, inner in items:
        found.update(numbers(inner, f"{name}.{key}" if name else str(key)))
    return found


def metrics(text: str, names: dict) -> dict:
    """The numbers of `metrics.jsonl` that are results, under their new names."""
    found = {}
    for line in text.splitlines():
        record = json.loads(line)
        kind = rename(record["kind"], names["records"])
        done = record["update"] if "update" in record else record["step"]  # as it was called
        for name, value in record["values"].items():
            if not any(fnmatchcase(name, pattern) for pattern in NO_RESULT):
                found[f"{kind} {done}: {rename(name, names['metrics'])}"] = repr(float(value))
    return found


def tensors(data: bytes) -> dict:
    """What the bytes of a safetensors file hold: dtype, shape and hash, by name."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header.pop("__metadata__", None)
    found = {}
    for name in sorted(header):
        start, stop = header[name]["data_offsets"]
        digest = hashlib.sha256(data[end + start : end + stop]).hexdigest()
        found[name] = f"{header[name]['dtype']} {header[name]['shape']} {digest[:16]}"
    return found


def outcome(folder: Path, names: dict) -> dict:
    """Everything below `folder` that should be the same, by name, metrics first."""
    found = {}
    for path in sorted(folder.rglob("metrics.jsonl")):
        found.update(metrics(path.read_text(encoding="utf-8"), names))
    for path in sorted(folder.rglob("seed-*.json")):
        unit = path.relative_to(folder).with_suffix("").as_posix()
        values = numbers(json.loads(path.read_text(encoding="utf-8")))
        found.update({f"{unit}: {name}": value for name, value in values.items()})
    checkpoints = sorted(folder.glob("*/checkpoints/[!.]*-*"))[-1:]
    for place in [*checkpoints, *sorted(folder.glob("*"))]:
        what = "checkpoint" if place in checkpoints else "result"
        for path in sorted(place.glob("*.safetensors")):
            part = rename(path.stem, names["files"])
            for name, value in tensors(path.read_bytes()).items():
                found[f"{what} {part}: {rename(name, names['tensors'])}"] = value
    for path in sorted(folder.rglob("samples/*.png")):
        found[f"sheet {path.stem.rpartition('-')[2]}"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return found


def differences(case: str, base: dict, here: dict, expected: dict) -> list:
    """A line for each name that differs, in their order; without what is expected on one side only."""
    found = []
    for name in [*here, *(name for name in base if name not in here)]:
        if name in base and name in here:
            if base[name] != here[name]:
                found.append(f"{name}: BASE {base[name]}, here {here[name]}")
        elif not is_expected(case, name, expected):
            found.append(f"{name}: only here" if name in here else f"{name}: only in BASE")
    return found


def is_expected(case: str, name: str, expected: dict) -> bool:
    return any(fnmatchcase(case, a) and fnmatchcase(name, b) for a, b in expected)


def run(side: Side, case: Case, folder: Path, config: dict, more: list) -> str | None:
    """Runs a case into `folder`, with the overrides under the names that `config` maps to; returns why it was refused."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pipeline = WORK / "pipelines" / (case.family or "")
    places = (("{pipeline}", pipeline), ("{cache}", folder / "cache"))
    sets = [reduce(lambda text, place: text.replace(place[0], str(place[1])), places, text) for text in case.overrides]
    sets = [f"--set={rename(text, config)}" for text in [*sets, *(more if sets else [])]]
    arguments = [rename(word, config) for word in case.command]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    program = [side.binary]
    lab = side.binary.with_name("dmdr-lab")
    if arguments[0] == "lab" and lab.exists():  # the studies' own program; it was a command of `dmdr`
        program, arguments = [lab], arguments[1:]
    command = [*program, "--quiet", *arguments, *sets, "--root", folder]
    process = subprocess.run(command, cwd=side.tree, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if process.returncode == 0:
        return None
    return process.stderr.decode("utf-8", "replace").strip() or f"status {process.returncode}"


def names_in(tree: Path) -> dict:
    """What has other names in `tree`: all of the table, or nothing."""
    is_old = "[optim.generator]" in (tree / "configs/demo.toml").read_text(encoding="utf-8")
    return RENAMES if is_old else SAME_NAMES


def compare(case: Case, base: Side, here: Side, more: list) -> tuple:
    """A verdict and the lines below it; what differs is kept for a look."""
    names = names_in(base.tree)
    of_base = [] if names is RENAMES else case.here
    folders = [WORK / "runs" / case.name / side.name for side in (base, here)]
    began = time.monotonic()
    refused = [
        run(base, case, folders[0], inverse(names["config"]), of_base),
        run(here, case, folders[1], {}, [*case.here, *more]),
    ]
    seconds = time.monotonic() - began
    if any(refused):
        lines = [f"{side} refuses: {why}" for side, why in zip(("BASE", "here"), refused) if why]
        if all(refused):
            return "refused by both", lines, seconds
        verdict = "only here" if refused[0] else "only in BASE"
        if is_expected(case.name, "run", EXPECTED):
            return f"{verdict}, as expected", [], seconds
        return verdict, lines, seconds
    outcomes = [outcome(folders[0], names), outcome(folders[1], SAME_NAMES)]
    lines = differences(case.name, *outcomes, EXPECTED)
    if case.command[0] != "lab" and not any(name.startswith("checkpoint ") for name in outcomes[1]):
        lines.append("there is no checkpoint to compare")
    if not lines:
        shutil.rmtree(folders[0].parent)
        return f"same, {len(outcomes[1])} values", [], seconds
    return f"{len(lines)} of {len({*outcomes[0], *outcomes[1]})} values DIFFER", lines, seconds


def call(*command, **options) -> str:
    process = subprocess.run(command, stdout=subprocess.PIPE, check=True, **options)
    return process.stdout.decode("utf-8").strip()


def cargo(tree: Path, *arguments: str) -> None:
    """Cargo in `tree`, with this repository's libtorch and target folder, so that other crates are built once."""
    env = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target")}
    if "LIBTORCH_USE_PYTORCH" not in env:
        env.setdefault("LIBTORCH", str(ROOT / ".libtorch"))
    subprocess.run(["cargo", *arguments], cwd=tree, env=env, check=True)


def base_side(revision: str, binary: Path | None) -> Side:
    """BASE in a work tree of its own, which the caller removes; built unless that was done before."""
    commit = call("git", "rev-parse", "--short=12", f"{revision}^{{commit}}", cwd=ROOT)
    folder = WORK / commit
    tree = folder / "tree"
    remove(tree)
    folder.mkdir(parents=True, exist_ok=True)
    call("git", "worktree", "add", "--quiet", "--detach", tree, commit, cwd=ROOT)
    kept = folder / "dmdr"
    if binary is None and not kept.is_file():
        print(f"building {revision}, {commit}", file=sys.stderr)
        cargo(tree, "build", "--release", "--quiet")
        shutil.copy2(ROOT / "target/release/dmdr", kept)
    return Side("base", (binary or kept).resolve(), tree)


def remove(tree: Path) -> None:
    """Removes a work tree, if it is there, and what a killed run left of one."""
    command = ["git", "worktree", "remove", "--force", tree]
    subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(tree, ignore_errors=True)


def here_side(binary: Path | None) -> Side:
    if binary is None:
        print("building the working tree", file=sys.stderr)
        cargo(ROOT, "build", "--release", "--quiet")
    return Side("here", (binary or ROOT / "target/release/dmdr").resolve(), ROOT)


def make_pipelines(cases: list) -> None:
    """The tiny pipelines of the cases, by the working tree's example, unless they are there."""
    for family in sorted({case.family for case in cases} - {None}):
        folder = WORK / "pipelines" / family
        if (folder / "prompts.txt").is_file():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        cargo(ROOT, "run", "--release", "--quiet", "--example", "tiny_pipeline", "--", str(folder), family)
        (folder / "prompts.txt").write_text(PROMPTS, encoding="utf-8")


def main() -> int:
    names = ", ".join(case.name for case in CASES)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=f"Cases: {names}.")
    parser.add_argument("base", metavar="BASE", help="a git revision")
    parser.add_argument("--only", metavar="NAME", action="append", help="a case, or a pattern; may be repeated")
    parser.add_argument("--base-binary", metavar="FILE", type=Path, help="BASE's dmdr, instead of building it")
    parser.add_argument("--binary", metavar="FILE", type=Path, help="the working tree's dmdr, instead of building it")
    only_here = "an override for the working tree's side only, to see that a difference is found"
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=only_here)
    args = parser.parse_args()
    cases = [case for case in CASES if any(fnmatchcase(case.name, only) for only in args.only or ["*"])]
    if not cases:
        parser.error(f"no case is named {args.only}; there are {names}")
    base = base_side(args.base, args.base_binary)
    try:
        here = here_side(args.binary)
        make_pipelines(cases)
        failed = 0
        for case in cases:
            verdict, lines, seconds = compare(case, base, here, args.set)
            print(f"{case.name:24}{seconds:6.1f} s  {verdict}", flush=True)
            for line in lines[:MAX_LINES]:
                print(f"    {line}")
            if len(lines) > MAX_LINES:
                print(f"    and {len(lines) - MAX_LINES} more; the runs are in {WORK / 'runs' / case.name}")
            failed += bool(lines)
    finally:
        remove(base.tree)
    print(f"{len(cases) - failed} of {len(cases)} cases are the same")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
