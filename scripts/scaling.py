"""A simulation of one training update on many processes, and what it predicts.

    python3 scripts/scaling.py table                        the tables of docs/scaling.md
    python3 scripts/scaling.py validate --dmdr PROGRAM      two processes on this machine: predicted and measured
    python3 scripts/scaling.py check --dmdr PROGRAM         operations by formula beside those that `dmdr bench` counts

The simulation is of events. A process computes, comes to an exchange, waits for it, goes on. The link takes exchanges
in their order: one begins when all have come to it and the one before is over. Times are seconds, sizes bytes.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import scaling_runs as runs
import scaling_work

# Bytes of gradients that are exchanged together, as in `crates/tensor/src/ranks.rs`.
BUCKET = 25 << 20
# A divided base is gathered in so many parts of many layers each, so that a simulation takes seconds.
PIECES = 8


class Link(NamedTuple):
    """What connects processes: bytes a second that one of them sends, and seconds of a message."""

    bandwidth: float
    latency: float
    # Between nodes of `node` processes each, if those are connected otherwise.
    outer: Link | None = None
    node: int = 8

    def all_reduce(self, size: float, processes: int) -> float:
        """Seconds until all have the sum: a ring, or a ring in each node and rings between them, each with its part."""
        if self.outer and processes > self.node:
            between = self.outer.all_reduce(size / self.node, processes // self.node)
            return self.all_reduce(size, self.node) + between
        share = (processes - 1) / processes
        return 2 * share * size / self.bandwidth + 2 * (processes - 1) * self.latency

    def all_gather(self, size: float, processes: int) -> float:
        """Seconds until all have the whole of `size`, of which each holds a part."""
        if self.outer and processes > self.node:
            # Each gets its own part of a node's from the other nodes, then the node shares them.
            between = self.outer.all_gather(size / self.node, processes // self.node)
            return self.all_gather(size, self.node) + between
        return (processes - 1) / processes * size / self.bandwidth + (processes - 1) * self.latency


# One that takes no time.
NOTHING = Link(math.inf, 0.0)


class Stage(NamedTuple):
    """One step of an optimiser: what is computed before the way back, the way back, the optimiser."""

    forward: float
    backward: float
    optimiser: float
    # Bytes of each bucket of gradients, in the order in which the way back has them.
    buckets: tuple[float, ...] = ()
    # Calls of the network forwards and backwards, for each of which a divided base is gathered.
    uses: tuple[int, int] = (1, 2)


class Plan(NamedTuple):
    """Updates on several processes."""

    stages: tuple[Stage, ...]
    processes: int
    link: Link
    updates: int = 4
    # Whether a bucket is exchanged while the way back goes on, and weights while the piece before is computed.
    overlap: bool = False
    # Standard deviation of the logarithm of each phase's time, by process; the mean stays.
    sigma: float = 0.0
    # Processes that are always slower, and by what factor.
    slow: dict[int, float] = {}
    # Bytes of the frozen weights and their layers, if they are divided among processes and gathered for each use.
    base: float = 0.0
    layers: int = PIECES
    # Seconds for which the first process samples or measures after every so many updates.
    watch: float = 0.0
    watch_every: int = 1
    seed: int = 0


class Result(NamedTuple):
    """What a simulation found."""

    # From the first update's begin to the last one's end, with what is watched.
    total: float
    # Of each update on the first process, from its begin to its end, as `time/update_s` of a run has it.
    updates: list[float]
    # Seconds for which the link was busy, and for which the first process computed.
    exchange: float
    compute: float

    @property
    def mean(self) -> float:
        """Seconds of an update with all that it waits for."""
        return self.total / len(self.updates)


class Events:
    """A clock that goes from event to event."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Calls `then` so many seconds from now."""
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), then))

    def run(self) -> None:
        """Until nothing is left."""
        while self._queue:
            self.now, _, then = heapq.heappop(self._queue)
            then()


class Line:
    """The link at work: exchanges in the order in which all processes have come to them."""

    def __init__(self, events: Events, processes: int) -> None:
        self.events, self.processes = events, processes
        self.busy = 0.0
        self._free_at = 0.0
        self._came: dict[tuple, int] = {}
        self._over: set[tuple] = set()
        self._waiting: dict[tuple, list[Callable[[], None]]] = {}

    def come(self, name: tuple, seconds: float) -> None:
        """A process comes to an exchange that takes `seconds` once all are there. It goes on; see `wait`."""
        self._came[name] = self._came.get(name, 0) + 1
        if self._came[name] == self.processes:
            del self._came[name]
            self.busy += seconds
            self._free_at = max(self._free_at, self.events.now) + seconds
            self.events.after(self._free_at - self.events.now, lambda: self._end(name))

    def wait(self, name: tuple, then: Callable[[], None]) -> None:
        """Calls `then` when the exchange is over."""
        if name in self._over:
            then()
        else:
            self._waiting.setdefault(name, []).append(then)

    def _end(self, name: tuple) -> None:
        self._over.add(name)
        for then in self._waiting.pop(name, []):
            self.events.after(0.0, then)


def process(rank: int, plan: Plan, line: Line, updates: list[float], computed: list[float]) -> Iterator[float | tuple]:
    """What one process does: yields seconds that it computes for, or the name of an exchange that it waits for."""
    draws = random.Random(plan.seed * 1_000_003 + rank)
    events, link, many = line.events, plan.link, plan.processes > 1
    small = link.all_reduce(0.0, plan.processes) if many else 0.0

    def factor() -> float:
        drawn = math.exp(plan.sigma * draws.gauss(0.0, 1.0) - plan.sigma**2 / 2)
        return drawn * plan.slow.get(rank, 1.0)

    def compute(seconds: float) -> float:
        if rank == 0:
            computed[0] += seconds
        return seconds

    def way(place: tuple, seconds: float, uses: int, buckets: tuple[float, ...] = ()) -> Iterator[float | tuple]:
        """A way through the network: pieces, each behind its weights, and buckets as their gradients are there."""
        gathers = PIECES * uses if plan.base and many else 0
        gather = plan.layers / PIECES * link.all_gather(plan.base / plan.layers, plan.processes)
        marks = [((index + 1) / len(buckets) if plan.overlap else 1.0, 0, index) for index in range(len(buckets))]
        marks += [(index / gathers, 1, index) for index in range(gathers)]
        done = 0.0
        for at, is_gather, index in [*sorted(marks), (1.0, 2, 0)]:
            if at > done:
                yield compute(seconds * (at - done))
                done = at
            if is_gather == 0:
                line.come((*place, "bucket", index), link.all_reduce(buckets[index], plan.processes))
            elif is_gather == 1:
                if index == 0 or not plan.overlap:
                    line.come((*place, "weights", index), gather)
                yield (*place, "weights", index)
                if plan.overlap and index + 1 < gathers:
                    line.come((*place, "weights", index + 1), gather)

    for update in range(plan.updates):
        if many:
            # The first process says whether it goes on.
            line.come((update, "begin"), small)
            yield (update, "begin")
        begun = events.now
        for number, stage in enumerate(plan.stages):
            there, back, rest = stage.forward * factor(), stage.backward * factor(), stage.optimiser * factor()
            place, buckets = (update, number), stage.buckets if many else ()
            yield from way((*place, "forward"), there, stage.uses[0])
            yield from way((*place, "backward"), back, stage.uses[1], buckets)
            if buckets:
                yield (*place, "backward", "bucket", len(buckets) - 1)
            yield compute(rest)
        if many:
            # The numbers for the log.
            line.come((update, "end"), small)
            yield (update, "end")
        if rank == 0:
            updates.append(events.now - begun)
            if plan.watch and (update + 1) % plan.watch_every == 0:
                yield plan.watch


def simulate(plan: Plan) -> Result:
    """Runs the plan."""
    events = Events()
    line = Line(events, plan.processes)
    updates: list[float] = []
    computed = [0.0]

    def go_on(steps: Iterator[float | tuple]) -> None:
        step = next(steps, None)
        if isinstance(step, tuple):
            line.wait(step, lambda: go_on(steps))
        elif step is not None:
            events.after(step, lambda: go_on(steps))

    for rank in range(plan.processes):
        go_on(process(rank, plan, line, updates, computed))
    events.run()
    return Result(events.now, updates, line.busy, computed[0])


def in_buckets(size: float) -> tuple[float, ...]:
    """`size` bytes of gradients in buckets."""
    count = max(1, math.ceil(size / BUCKET))
    return (size / count,) * count


def stages_of(case: runs.Case, found: runs.Found) -> tuple[Stage, ...]:
    """The stages of an update whose phases were measured on one process."""
    phases, (fake, student) = found.phases, case.gradients()
    iteration = (phases["prompts"] + phases["rollout"] + phases["fake score"]) / case.ttur
    alone = sum(phases.get(name, 0.0) for name in ("generator", "views", "decode", "reward", "other"))
    # The way back costs as the way there, and as much again where weights are trained. It is divided accordingly.
    parts = [phases["fake score"], phases["generator"] * (1 if case.is_lora else 2) + phases.get("reward", 0.0)]
    of_fake = phases["backward"] * parts[0] / sum(parts)
    numbers = case.ttur * fake + student
    rest = [phases["optimiser"] * size / numbers for size in (fake, student)]
    return (
        *[Stage(iteration, of_fake / case.ttur, rest[0], in_buckets(fake))] * case.ttur,
        Stage(alone, phases["backward"] - of_fake, rest[1], in_buckets(student)),
    )


def noise(stages: tuple[Stage, ...], spread: float) -> float:
    """The sigma of each phase that gives a whole update this spread."""
    seconds = [part for stage in stages for part in stage[:3]]
    return spread * sum(seconds) / math.sqrt(sum(part**2 for part in seconds))


def predicted(case: runs.Case, found: runs.Found, link: Link, updates: int = 400) -> float:
    """Seconds of the middle update of two processes."""
    stages = stages_of(case, found)
    plan = Plan(stages, 2, link, updates, sigma=noise(stages, found.spread))
    return statistics.median(simulate(plan).updates)


def measured_link(records: Path) -> Link:
    """Rate and latency of the exchange of two processes here, from the two cases of which no prediction is made."""
    rows = []
    for case in runs.LINK:
        found = runs.read(records, case)
        stages = stages_of(case, found)
        exchanges = sum(len(stage.buckets) for stage in stages) + 1
        # What is more than without an exchange, where the slower one is waited for.
        rows.append(
            (exchanges, sum(sum(stage.buckets) for stage in stages), found.two - predicted(case, found, NOTHING))
        )
    (few, small, less), (many, large, more) = rows
    # `exchanges * 2 latency + bytes / bandwidth` of both.
    second = (more * few - less * many) / (large * few - small * many)
    return Link(1 / second, max(0.0, (less - small * second) / (2 * few)))


def validate(args: argparse.Namespace) -> None:
    """Prints predictions beside measurements of this machine."""
    records = args.folder / "records.json"
    if args.minutes > 0:
        runs.measure(args.dmdr, records, args.updates, 60 * args.minutes)
    link = measured_link(records)
    print(f"\nThe exchange: {link.bandwidth / 1e6:.0f} MB/s, {link.latency * 1e3:.2f} ms a message.\n")
    names = ["MB an update", "one process, s", "predicted for two, s", "measured, s", "error", "without exchange"]
    print(f"| run | {' | '.join(names)} | updates |\n{'|---' * 8}|")
    worst = 0.0
    for case in runs.CASES:
        if not all(runs.load(records)[runs.key(case)].values()):
            print(f"| {runs.key(case)} | not measured |")
            continue
        found = runs.read(records, case)
        guess = predicted(case, found, link)
        error = guess / found.two - 1
        worst = max(worst, abs(error) if found.updates else 0.0)
        size = sum(sum(stage.buckets) for stage in stages_of(case, found)) / 1e6
        row = f"{size:.1f} | {found.alone:.3f} | {guess:.3f} | {found.two:.3f} | {error:+.1%}"
        row += f" | {predicted(case, found, NOTHING) / found.two - 1:+.1%}"
        print(f"| {runs.key(case)} | {row} | {found.updates or 'under load'} |")
    print(f"\nThe largest error where updates count is {worst:.1%}.")


class Card(NamedTuple):
    """An accelerator by its datasheet: operations and bytes of memory a second; and the share of operations assumed."""

    name: str
    operations: float
    memory: float
    used: float


# NVIDIA H100 SXM5: 989 TFLOP/s of bf16 without sparsity, 3.35 TB/s, NVLink of 900 GB/s, half in each direction.
H100 = Card("H100 SXM", 989e12, 3.35e12, 0.4)
# InfiniBand NDR: 400 Gbit/s, a port for each card as in a DGX H100. Latencies are assumed.
FAST = Link(450e9, 5e-6, Link(50e9, 10e-6))
# What was measured on the machine of docs/scaling.md: Gloo over TCP on the loopback, copies included.
GLOO = Link(0.26e9, 0.5e-3)
CARDS = (1, 8, 64, 512)
SIGMA = 0.02
# Bytes that the optimiser moves for a number: weight and moments, read and written; the gradient, and to clip it.
MOVED = 36


def stages_for(model: scaling_work.Model, work: scaling_work.Work, card: Card) -> tuple[Stage, ...]:
    """The stages of an update on a card that reaches the share of its rate that is assumed."""
    rate = card.operations * card.used
    fake, student = work.gradients

    def stage(ways: tuple[float, float], size: int, uses: tuple[int, int]) -> Stage:
        optimiser = MOVED * size / scaling_work.F32 / card.memory
        return Stage(ways[0] / rate, ways[1] / rate, optimiser, in_buckets(size), uses)

    # Calls: the rollout's steps and the fake score; the student and both scores. On the way back each layer is used
    # twice, as activations are computed again.
    iteration = stage(work.iteration, fake, (model.steps + 1, 2))
    return (*[iteration] * model.ttur, stage(work.student, student, (3, 2)))


def cells(plan: Plan, alone: float) -> list[str]:
    """Seconds of an update and its share of work on each number of cards."""
    found = []
    for count in CARDS:
        mean = simulate(plan._replace(processes=count, updates=2 if count > 64 else 6)).mean if count > 1 else alone
        found.append(f"{mean:.1f} ({alone / mean:.0%})")
    return found


def rows(head: list[str], body: list[list[str]]) -> None:
    """Prints a table."""
    for row in [head, ["---"] * len(head), *body]:
        print("| " + " | ".join(row) + " |" if row[0] != "---" else "|" + "---|" * len(row))


def table(_: argparse.Namespace) -> None:
    """Prints the tables of docs/scaling.md."""
    work, models = scaling_work.work, scaling_work.MODELS
    body = []
    for model in models:
        net = scaling_work.backbone(model)
        kinds = (work(model), work(model, reward=True), work(model, full=True))
        numbers = [kind.operations(model.ttur) / 1e15 for kind in kinds]
        body.append(
            [model.name, f"{net.parameters / 1e9:.2f}", f"{net.forward / 1e12:.1f}", *[f"{n:.1f}" for n in numbers]]
        )
    print("Computed:\n")
    rows(
        ["model", "10^9 weights", "TFLOP an evaluation", "PFLOP an update", "with rewards", "all weights trained"], body
    )
    body = []
    for model in models:
        adapter, full = work(model), work(model, full=True)
        sizes = [(model.ttur * kind.gradients[0] + kind.gradients[1]) / 1e9 for kind in (adapter, full)]
        stages = stages_for(model, adapter, H100)
        uses, seconds = sum(sum(stage.uses) for stage in stages), sum(sum(stage[:3]) for stage in stages)
        # Of eight processes, each of which sends 2 (N - 1) / N of what there is.
        rates = [1.75 * size / (0.05 * seconds) for size in sizes]
        body.append([model.name, *[f"{size:.2f}" for size in sizes], *[f"{rate:.0f}" for rate in rates]])
        body[-1] += [f"{adapter.frozen / 1e9:.1f}", f"{uses}", f"{uses * adapter.frozen / 1e9:.0f}"]
    print("\nSent:\n")
    names = [
        "GB, adapters",
        "GB, all weights",
        "GB/s, adapters",
        "GB/s, all weights",
        "GB of the base",
        "calls",
        "GB gathered",
    ]
    rows(["model", *names], body)
    for title, full, divided, links in (
        ("Adapters", False, False, (("Gloo", GLOO), ("fast", FAST))),
        ("All weights", True, False, (("Gloo", GLOO), ("fast", FAST))),
        ("Adapters, base divided", False, True, (("fast", FAST),)),
    ):
        print(f"\n{title}:\n")
        body = []
        for model in models:
            one = work(model, full=full)
            stages = stages_for(model, one, H100)
            alone = sum(sum(stage[:3]) for stage in stages)
            for (name, link), overlap in itertools.product(links, (False, True)):
                plan = Plan(stages, 1, link, overlap=overlap, sigma=SIGMA)
                if divided:
                    plan = plan._replace(base=one.frozen, layers=one.layers)
                body.append([model.name, name, "yes" if overlap else "no", *cells(plan, alone)])
        rows(["model", "link", "overlap", *[f"{count}" for count in CARDS]], body)
    print("\nStragglers, SD3-Medium with adapters on the fast link:\n")
    model = models[0]
    stages = stages_for(model, work(model), H100)
    alone = sum(sum(stage[:3]) for stage in stages)
    uneven = [
        ("none", 0.0, {}),
        ("each phase by 2 %", 0.02, {}),
        ("each phase by 10 %", 0.1, {}),
        ("one card slower by 20 %", 0.0, {0: 1.2}),
    ]
    rows(
        ["spread", *[f"{n}" for n in CARDS]],
        [[t, *cells(Plan(stages, 1, FAST, sigma=s, slow=w), alone)] for t, s, w in uneven],
    )
    print("\n192 prompts an update in all, adapters on the fast link:\n")
    body = []
    for model in models:
        found, whole = [], 24 * sum(sum(stage[:3]) for stage in stages_for(model, work(model), H100))
        for batch in (8, 3, 1):
            plan = Plan(stages_for(model, work(model._replace(batch=batch)), H100), 192 // batch, FAST, 3, sigma=SIGMA)
            mean = simulate(plan).mean
            found.append(f"{mean:.1f} ({whole / (192 // batch) / mean:.0%})")
        body.append([model.name, *found])
    rows(["model", "24 cards", "64", "192"], body)
    print("\nThe first process measures 64 images every 200 updates, eight cards:\n")
    body = []
    for model in models:
        stages = stages_for(model, work(model), H100)
        image = (
            model.steps * scaling_work.backbone(model).forward
            + scaling_work.decoder(model.vae, model.size // 8).forward
        )
        watch = 64 * image / (H100.operations * H100.used)
        found = simulate(Plan(stages, 8, FAST, 200, watch=watch, watch_every=200))
        body.append([model.name, f"{watch:.1f}", f"{watch / found.total:.2%}"])
    rows(["model", "seconds", "share of the time of all"], body)


def check(args: argparse.Namespace) -> None:
    """Prints operations by formula beside those that are counted."""
    print("| update | GFLOP by formula | counted | error |\n|---|---|---|---|")
    for name, by_formula, counted in scaling_work.differences(args.dmdr):
        print(
            f"| {name} | {by_formula / 1e9:.1f} | {counted / 1e9:.1f} | {by_formula / counted - 1:+.1%} |", flush=True
        )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True)
    commands.add_parser("table", help=table.__doc__).set_defaults(run=table)
    counts = commands.add_parser("check", help=check.__doc__)
    pairs = commands.add_parser("validate", help=validate.__doc__)
    for command, run in ((counts, check), (pairs, validate)):
        command.add_argument(
            "--dmdr", default="target/release/dmdr", type=lambda path: str(Path(path).resolve()), help="the program"
        )
        command.set_defaults(run=run)
    pairs.add_argument(
        "--folder",
        type=lambda path: Path(path).resolve(),
        default=runs.ROOT / "target/scaling",
        help="for what is measured; kept",
    )
    pairs.add_argument("--updates", type=int, default=28, help="of each part of a case that count")
    pairs.add_argument("--minutes", type=float, default=30.0, help="to measure for at most; 0 takes what is there")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
