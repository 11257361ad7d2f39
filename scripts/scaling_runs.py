"""Runs of one and of two processes on this machine, which `scaling.py validate` compares with its predictions.

Each case has two parts. In one two runs go on at once, each by itself with a thread of its own: what one computes
while another one wants the same memory. In the other the two are processes of one run. Other programs may want the
processors too. So each update knows which share of them somebody else had meanwhile, and those under load do not count.
"""

from __future__ import annotations

import fnmatch
import json
import math
import os
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# Updates of a run of two processes that are not counted: memory is taken in them.
WARM_UP = 2
UPDATES = 16
LORA = 'student.tuning={ lora = { rank = 16, alpha = 16.0, targets = ["blocks.*"] } }'
QUIET = ["events.sample_every=0", "events.evaluate_every=100000", "events.checkpoint_every=100000"]
# Somebody else may have this share of the processors during an update that counts; ticks are too coarse for less.
OTHERS = 0.08


class Case(NamedTuple):
    """A config with settings, of which two processes share the batches."""

    name: str
    config: str
    is_lora: bool
    batch: int
    ttur: int
    # Of the fake score's adapter.
    rank: int
    more: tuple[str, ...] = ()

    def settings(self) -> list[str]:
        """Values for `--set`."""
        method = [f"method.dmdr.batch_size={self.batch}", f"method.dmdr.ttur={self.ttur}"]
        length = [f"method.dmdr.num_updates={UPDATES}", f"fake_score.rank={self.rank}"]
        student = [LORA] if self.is_lora else []
        return [*QUIET, *method, *length, *student, *(self.more or ["method.dmdr.rl.weight=0.3"])]

    def gradients(self) -> tuple[int, int]:
        """Bytes of the gradients of the fake score and of the student, in f32."""
        shapes = teacher_shapes()
        adapter = sum(sum(s) for name, s in shapes.items() if len(s) == 2 and fnmatch.fnmatch(name, "blocks.*.weight"))
        student = 16 * adapter if self.is_lora else sum(math.prod(s) for s in shapes.values())
        return 4 * self.rank * adapter, 4 * student


# One step and no reward: hardly any computation, so that the exchange is most of what a second process adds.
BARE = ("method.dmdr.rl.weight=0.0", "student.num_steps=1", "teacher.guidance=1.0")
# These two tell the rate and the latency of the exchange; no prediction is made of them.
LINK = [Case("link, small", "smoke", True, 1, 3, 4, BARE), Case("link, large", "smoke", False, 1, 3, 64, BARE)]
CASES = [
    Case("smoke, full", "smoke", False, 4, 1, 4),
    Case("smoke, full", "smoke", False, 8, 3, 4),
    Case("smoke, LoRA", "smoke", True, 16, 1, 4),
    Case("demo, full", "demo", False, 4, 1, 16),
    Case("demo, full", "demo", False, 4, 3, 16),
    Case("demo, full", "demo", False, 8, 1, 16),
    Case("demo, full", "demo", False, 16, 1, 16),
    Case("demo, LoRA", "demo", True, 4, 3, 16),
    Case("demo, LoRA", "demo", True, 8, 1, 16),
]


def key(case: Case) -> str:
    """A name that no other case has."""
    return f"{case.name}, batch {case.batch}, ttur {case.ttur}"


def teacher_shapes() -> dict[str, list[int]]:
    """Shapes of the emoji world's teacher by name, from its file's header."""
    with (ROOT / "assets/teacher.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def ticks(pids: list[int]) -> tuple[float, float]:
    """Seconds that all processors were busy since the start, and those of these processes."""
    hertz = os.sysconf("SC_CLK_TCK")
    words = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    own = 0
    for pid in pids:
        try:
            own += sum(map(int, Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[11:13]))
        except OSError:
            pass  # It has just ended.
    return (sum(words) - words[3] - words[4]) / hertz, own / hertz


def wait_for_quiet(until: float) -> None:
    """Until the processors have had nothing to do for a second, but not longer than `until`."""
    while time.monotonic() < until:
        (before, _), _ = ticks([]), time.sleep(1.0)
        if (ticks([])[0] - before) / (os.cpu_count() or 1) <= OTHERS:
            return


def at_once(
    commands: list[tuple[list[str], dict]], metrics: Path | None = None
) -> list[tuple[float, int, float, float]]:
    """Runs commands at once. Every now and then: the time, the lines of `metrics`, and what `ticks` says."""
    thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    seen = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        children = [
            subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **thread, **more}, stdout=subprocess.DEVNULL, stderr=errors
            )
            for command, more in commands
        ]
        pids = [child.pid for child in children]
        while any(child.poll() is None for child in children):
            lines = metrics.read_bytes().count(b"\n") if metrics and metrics.exists() else 0
            seen.append((time.monotonic(), lines, *ticks(pids)))
            time.sleep(0.03)
        if any(child.returncode for child in children):
            errors.seek(0)
            raise SystemExit(f"{' '.join(commands[0][0])}: {errors.read()}")
    return seen


def trained(case: Case, dmdr: str, folder: Path, are_two: bool) -> list[list[float]]:
    """Two runs of the case at once, by themselves or as two processes of one.

    For each update of the first: its seconds, and the share of the processors that somebody else had meanwhile.
    """
    root = folder / f"run-{time.monotonic_ns()}"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
    sets = [word for setting in case.settings() for word in ("--set", setting)]
    commands = []
    for rank in range(2):
        name = "run" if are_two else f"run{rank or ''}"
        command = [
            dmdr,
            "--quiet",
            "train",
            f"configs/{case.config}.toml",
            "--root",
            str(root),
            "--set",
            f"name={name}",
        ]
        commands.append(([*command, *sets], {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} if are_two else {}))
    metrics = root / "run/metrics.jsonl"
    seen = at_once(commands, metrics)
    lines = metrics.read_text(encoding="utf-8").splitlines()
    seconds = [json.loads(line)["values"].get("time/update_s") for line in lines]
    shutil.rmtree(root)
    found = []
    for index, second in enumerate(seconds):
        after = next((sample for sample in seen if sample[1] > index), None)
        if second is None or index < WARM_UP or after is None:
            continue
        before = next((sample for sample in reversed(seen) if sample[0] <= after[0] - second), seen[0])
        others = (after[2] - before[2]) - (after[3] - before[3])
        found.append([second, others / (after[0] - before[0]) / (os.cpu_count() or 1)])
    return found


def phases(case: Case, dmdr: str, folder: Path) -> list[dict[str, float]]:
    """Seconds of the phases of an update of one process, beside another one that does the same."""
    files = [folder / f"bench-{number}.json" for number in range(2)]
    command = [dmdr, "--quiet", "bench", f"configs/{case.config}.toml", "--updates", "1"]
    sets = [word for setting in case.settings() for word in ("--set", setting)]
    at_once([([*command, *sets, "--json", str(file)], {}) for file in files])
    return [json.loads(file.read_text(encoding="utf-8"))["phases"] for file in files]


def load(records: Path) -> dict[str, dict[str, list]]:
    """What was measured of each case."""
    found = json.loads(records.read_text(encoding="utf-8")) if records.exists() else {}
    for case in [*LINK, *CASES]:
        for part in ("alone", "two", "phases"):
            found.setdefault(key(case), {}).setdefault(part, [])
    return found


def measure(dmdr: str, records: Path, updates: int, patience: float, log=print) -> None:
    """Adds to the file `records` until so many updates of each part count, or `patience` seconds are over."""
    records.parent.mkdir(parents=True, exist_ok=True)
    found, until = load(records), time.monotonic() + patience
    todo = [(case, part) for case in [*LINK, *CASES] for part in ("alone", "two")]
    while True:
        case, part = min(todo, key=lambda one: len(quiet(found[key(one[0])][one[1]])))
        own = found[key(case)]
        if len(quiet(own[part])) >= updates:
            return
        wait_for_quiet(until)
        if time.monotonic() > until:
            log("The machine was not quiet for long enough. What was measured is kept: run it again.")
            return
        own[part] += (more := trained(case, dmdr, records.parent, part == "two"))
        if len(own["phases"]) < 4:
            own["phases"] += phases(case, dmdr, records.parent)
        records.write_text(json.dumps(found), encoding="utf-8")
        log(f"{key(case)}, {part}: {len(quiet(more))} of {len(more)} updates count", flush=True)


def quiet(updates: list[list[float]]) -> list[float]:
    """Seconds of the updates during which nobody else had much of the processors."""
    return [seconds for seconds, others in updates if others <= OTHERS]


class Found(NamedTuple):
    """What runs of a case say: medians in seconds."""

    alone: float
    two: float
    # Of an update, by name, with `alone` as their sum.
    phases: dict[str, float]
    # Standard deviation of the logarithm of an update's seconds on one process, from the middle half.
    spread: float
    # Updates of either part that count: 0 if all were under load.
    updates: int


def read(records: Path, case: Case) -> Found:
    """What was measured of a case, by the updates that count; without any, by those under the least load."""
    found = load(records)[key(case)]
    if not all(found.values()):
        raise SystemExit(f"{records}: nothing of {key(case)}; give it more --minutes")
    used = {}
    for part in ("alone", "two"):
        best = sorted(found[part], key=lambda update: update[1])[:4]
        used[part] = quiet(found[part]) or [seconds for seconds, _ in best]
    alone = statistics.median(used["alone"])
    medians = {name: statistics.median(one.get(name, 0.0) for one in found["phases"]) for name in found["phases"][0]}
    scaled = {name: seconds * alone / sum(medians.values()) for name, seconds in medians.items()}
    spread = 0.0
    if len(used["alone"]) > 1:
        low, _, high = statistics.quantiles([math.log(seconds) for seconds in used["alone"]], n=4)
        # Of a normal distribution the middle half is 1.349 deviations wide.
        spread = (high - low) / 1.349
    count = min(len(quiet(found[part])) for part in ("alone", "two"))
    return Found(alone, statistics.median(used["two"]), scaled, spread, count)
