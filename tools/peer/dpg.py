#!/usr/bin/env python3
"""Peer of `dmdr_benchmarks::dpg`: DPG-Bench's scores (arXiv 2403.05135) stated once more, in plain Python without packages.

Writes `crates/benchmarks/tests/fixtures/dpg.jsonl`: 2,000 random benchmarks, each a line [items, official, meant]. An item is
[questions, images]; a question [number, category, parent, ...] in the order of the file; an image the answers, `y` or `n`, by
the order of its item's questions without repetition. Expected scores are [overall, items, entity, attribute, relation] in
millionths, -1 where there is none, or null where no item is left or the questions are refused. Run once beside the official
script (TencentQQGYLab/ELLA, `dpg_bench/compute_dpg_bench.py`), `official` was equal on all of them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

FIXTURE = Path(__file__).resolve().parents[2] / "crates/benchmarks/tests/fixtures/dpg.jsonl"
CATEGORIES = ["entity - whole", "entity - part", "attribute - color", "relation - spatial"]
BROAD = ["entity", "attribute", "relation"]


class Defect(Exception):
    """The questions contradict themselves."""


def image_scores(questions: dict[int, list], said: dict[int, bool], by_file: bool) -> dict[int, bool]:
    """What counts of an image's answers."""
    counts = dict(said)
    if not by_file:
        # A question counts if a walk up from it meets only yes.
        def holds(number: int, seen: frozenset) -> bool:
            return said[number] and all(p in seen or holds(p, seen | {p}) for p in questions[number][1:] if p != 0)

        return {number: holds(number, frozenset([number])) for number in questions}
    for number, (_, *parents) in questions.items():
        for parent in parents:
            if parent == 0:
                continue
            if parent not in counts:
                raise Defect
            if not counts[parent]:
                counts[number] = False
                break
    return counts


def benchmark(items: list, official: bool) -> list[int] | None:
    """All scores, or nothing if the questions are refused."""
    sums, spoken = [], {name: [] for name in BROAD}
    for place, (rows, images) in enumerate(items):
        order = list(dict.fromkeys(row[0] for row in rows))
        kept = rows[1:] if official and place == 0 else rows
        questions = {number: rest for number, *rest in kept}  # the later of two, in the place of the earlier
        if not official:
            known = set(questions)
            if len(known) < len(kept) or any(p not in known for _, _, *ps in kept for p in ps if p != 0):
                return None
        said = [{number: image[order.index(number)] == "y" for number in questions} for image in images]
        try:
            parts = [image_scores(questions, one, official) for one in said]
        except Defect:
            continue
        if not questions:
            continue
        sums.append(sum(sum(part.values()) / len(part) for part in parts) / len(parts))
        for one in said[-1:] if official else said:
            for number, yes in one.items():
                spoken[CATEGORIES[questions[number][0]].split(" - ")[0]].append(yes)
    if not sums:
        return None
    means = [sum(sums) / len(sums)] + [sum(said) / len(said) if said else None for said in spoken.values()]
    overall, *broad = [-1 if mean is None else round(mean * 1e6) for mean in means]
    return [overall, len(sums), *broad]


def draw(random: random.Random) -> list:
    items = []
    for _ in range(random.choice([1, 2, 2])):
        numbers = list(range(1, random.randint(1, 5) + 1))
        if random.random() < 0.2:
            random.shuffle(numbers)  # a no then meets questions that come before their parents
        rows = []
        for number in numbers:
            earlier = [other for other in numbers if other < number]
            parents = random.sample(earlier, min(len(earlier), random.choice([0, 1, 1, 2]))) or [0]
            rows.append([number, random.randrange(len(CATEGORIES)), *parents])
        if random.random() < 0.05:
            rows[-1].append(random.choice([9, rows[0][0], rows[-1][0]]))  # nobody, a ring, itself
        if random.random() < 0.03:
            rows.append([rows[0][0], 0, 0])  # the first number again
        length = len(dict.fromkeys(row[0] for row in rows))
        share = random.choice([0.4, 0.8, 0.95])
        images = ["".join("y" if random.random() < share else "n" for _ in range(length)) for _ in range(random.choice([1, 2, 2, 4]))]
        items.append([rows, images])
    return items


def main() -> None:
    rng, lines = random.Random(10), []
    for _ in range(2000):
        items = draw(rng)
        lines.append([items, benchmark(items, True), benchmark(items, False)])
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(text, encoding="utf-8")
    refused = [sum(line[mode] is None for line in lines) for mode in (1, 2)]
    print(f"{FIXTURE.name}: {len(text) // 1024} KiB, refused {refused}, differ {sum(a != b for _, a, b in lines)}")


if __name__ == "__main__":
    main()
