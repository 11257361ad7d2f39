#!/usr/bin/env python3
"""Peer of `dmdr_benchmarks::geneval`: GenEval's rules (arXiv 2310.11513) stated once more, in plain Python without packages.

Writes `crates/benchmarks/tests/fixtures/geneval.jsonl`: a first line with the prompts and the reasons, then one line for
each of 2,000 random sets of detections: prompt, detections as [class, left, top, right, bottom, score / 100, colour],
and the place of the verdict among the reasons (0 is correct). Run once beside the official `evaluate` (djghosh13/geneval,
`evaluation/evaluate_images.py`, with a stable sort), verdicts and reasons were equal on all of them.
"""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path

FIXTURE = Path(__file__).resolve().parents[2] / "crates/benchmarks/tests/fixtures/geneval.jsonl"
COLORS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]
RELATIONS = ["left of", "right of", "above", "below"]
CLASSES = ["cow", "dog", "tv remote", "wine glass"]


def f32(value: float) -> float:
    """Rounds to single precision. Sums, products, quotients and roots of singles are exact in double before this."""
    return struct.unpack("f", struct.pack("f", value))[0]


def relations(a: list[float], b: list[float]) -> list[str]:
    offset, kept = [], []
    for axis in (0, 1):
        middle = [f32(f32(box[axis] + box[axis + 2]) / 2) for box in (a, b)]
        size = [abs(f32(box[axis + 2] - box[axis])) for box in (a, b)]
        offset.append(f32(middle[0] - middle[1]))
        rest = f32(abs(offset[axis]) - f32(f32(0.1) * f32(size[0] + size[1])))
        kept.append(math.copysign(max(rest, 0.0), offset[axis]))
    if all(abs(length) < 1e-3 for length in kept):
        return []
    norm = f32(math.sqrt(f32(f32(offset[0] * offset[0]) + f32(offset[1] * offset[1]))))
    dx, dy = (f32(length / norm) for length in kept)
    return [name for name, holds in zip(RELATIONS, (dx < -0.5, dx > 0.5, dy < -0.5, dy > 0.5)) if holds]


def confident(tag: str, detections: list[dict]) -> dict[str, list[dict]]:
    """By class, most confident first, of equals the later one, at most 16."""
    threshold = f32(0.9 if tag == "counting" else 0.3)
    by_class: dict[str, list[dict]] = {}
    for place in sorted(range(len(detections)), key=lambda place: (-f32(detections[place]["score"]), -place)):
        if f32(detections[place]["score"]) > threshold:
            by_class.setdefault(detections[place]["class"], []).append(detections[place])
    return {name: found[:16] for name, found in by_class.items()}


def reasons(metadata: dict, detections: list[dict]) -> list[str]:
    """Why an image is wrong; nothing if it is right."""
    by_class, groups, wrong = confident(metadata["tag"], detections), [], []
    for clause in metadata["include"]:
        name, count = clause["class"], clause["count"]
        chosen, why = by_class.get(name, [])[:count], None
        if len(chosen) < count:
            why = f"expected {name}>={count}, found {len(chosen)}"
        if why is None and "color" in clause:
            color, seen = clause["color"], [one["color"] for one in chosen]
            if seen.count(color) < count:
                census = ", ".join(f"{seen.count(other)} {other}" for other in COLORS if other in seen)
                why = f"expected {color} {name}>={count}, found {seen.count(color)} {color}; and {census}"
        if why is None and "position" in clause:
            relation, target = clause["position"]
            if groups[target] is None:
                why = f"no target for {name} to be {relation}"
            else:
                pairs = [relations(one["box"], other["box"]) for one in chosen for other in groups[target]]
                false = [pair for pair in pairs if relation not in pair]
                if false:
                    why = f"expected {name} {relation} target, found {' and '.join(false[0])} target"
        groups.append(chosen if why is None else None)
        wrong += [why] if why else []
    for clause in metadata.get("exclude", []):
        found = len(by_class.get(clause["class"], []))
        if found >= clause["count"]:
            wrong.append(f"expected {clause['class']}<{clause['count']}, found {found}")
    return wrong


def prompts(random: random.Random) -> list[dict]:
    """Clauses in all combinations, more than the official prompts have."""

    def include(place: int, color: bool, position: bool) -> dict:
        clause = {"class": random.choice(CLASSES), "count": random.choice([1, 1, 1, 2, 3])}
        if color:
            clause["color"] = random.choice(COLORS[:3])
        if position and place:
            clause["position"] = [random.choice(RELATIONS), random.randrange(place)]
        return clause

    made = []
    for number in range(60):
        tag = ["single_object", "two_object", "counting", "colors", "position", "color_attr"][number % 6]
        clauses = 1 if tag in ("single_object", "counting", "colors") else random.choice([2, 2, 3])
        color = tag in ("colors", "color_attr") or random.random() < 0.1
        position = tag == "position" or random.random() < 0.1
        metadata = {"tag": tag, "include": [include(place, color, position) for place in range(clauses)]}
        if tag == "counting":
            count = random.choice([1, 2, 3, 4, 17])
            metadata["include"][0]["count"] = count
            metadata["exclude"] = [{"class": metadata["include"][0]["class"], "count": count + 1}]
        elif random.random() < 0.2:
            metadata["exclude"] = [{"class": random.choice(CLASSES), "count": random.choice([1, 2])}]
        made.append({**metadata, "prompt": f"prompt {number}"})
    return made


def draw(random: random.Random, metadata: dict) -> list[list[int]]:
    """Detections that often, but not always, fit: on a coarse grid, so that edges of the rules are met exactly."""
    rows = []
    wanted = [(clause["class"], clause["count"], clause.get("color")) for clause in metadata["include"]]
    crowd = random.random() < 0.04
    for name, count, color in wanted:
        number = random.randint(15, 20) if crowd and name == wanted[0][0] else max(0, count + random.choice([-1, 0, 0, 0, 1]))
        for _ in range(min(number, 20)):
            left, top = random.randrange(0, 90, 5), random.randrange(0, 90, 5)
            right, bottom = left + random.choice([5, 10, 20]), top + random.choice([5, 10, 20])
            score = random.choice([29, 30, 31, 60, 89, 90, 91, 91, 95, 95, 99])
            fits = color is not None and random.random() < 0.75
            rows.append([CLASSES.index(name), left, top, right, bottom, score, COLORS.index(color) if fits else random.randrange(10)])
    if random.random() < 0.3:
        rows.append([random.randrange(4), 0, 0, 50, 50, random.choice([20, 40, 92]), random.randrange(10)])
    random.shuffle(rows)
    return rows


def main() -> None:
    rng = random.Random(9)
    made, known, lines = prompts(rng), {"": 0}, []
    for number in range(2000):
        place = number % len(made)
        rows = draw(rng, made[place])
        detections = [
            {"class": CLASSES[row[0]], "box": row[1:5], "score": row[5] / 100, "color": COLORS[row[6]]} for row in rows
        ]
        why = "\n".join(reasons(made[place], detections))
        lines.append([place, rows, known.setdefault(why, len(known))])
    head = {"classes": CLASSES, "prompts": made, "reasons": list(known)}
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [head, *lines])
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(text, encoding="utf-8")
    right = sum(line[2] == 0 for line in lines)
    print(f"{FIXTURE.name}: {len(text) // 1024} KiB, {right} of {len(lines)} correct, {len(known)} verdicts")


if __name__ == "__main__":
    main()
