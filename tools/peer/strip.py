#!/usr/bin/env python3
"""The strip of the front page: teacher, DMD and DMDR on the same prompts and noise.

Takes two finished runs of the emoji world and draws the first test prompts, one of each of GenEval's
six kinds, from the noise of seed 0; nothing is chosen by eye:

    dmdr train configs/demo.toml --set name=dmdr
    dmdr train configs/dmd.toml --set name=dmd
    .venv-peer/bin/python tools/peer/strip.py runs/dmdr runs/dmd docs/img/strip.png
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
DMDR = ROOT / "target/release/dmdr"
NUM_PROMPTS, SIDE, GAP, LEFT, BELOW = 6, 192, 8, 240, 100
PAPER, INK = "#ffffff", "#1f2328"


def dmdr(*arguments: str) -> None:
    subprocess.run([DMDR, "--quiet", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_prompts(run: Path) -> list[str]:
    """The first ones of the test split: an evaluation of them keeps their captions."""
    dmdr("eval", str(run), "--who=student", "--split=test", f"--num-prompts={NUM_PROMPTS}", "--seeds=0")
    scores = json.loads((run / "scores/student-test.json").read_text())["scores"]
    return [score["caption"] for score in scores]


def drawn(run: Path, who: str, prompts: list[str]) -> list[Image.Image]:
    with tempfile.TemporaryDirectory() as scratch:
        asked = [argument for prompt in prompts for argument in ("--prompt", prompt)]
        images = Path(scratch) / "images"
        output = Path(scratch) / "sheet.png"
        where = ["--images", str(images), "--output", str(output)]
        dmdr("sample", str(run), *asked, "--count=1", "--seed=0", f"--who={who}", *where)
        files = sorted(images.rglob("*.png"))
        assert len(files) == len(prompts), files
        return [Image.open(file).convert("RGB") for file in files]


def main() -> None:
    joint, alone, output = (Path(argument).absolute() for argument in sys.argv[1:])
    prompts = test_prompts(joint)
    rows = {
        "teacher\n50 evaluations": drawn(joint, "teacher", prompts),
        "DMD\n4 evaluations": drawn(alone, "student", prompts),
        "DMDR\n4 evaluations": drawn(joint, "student", prompts),
    }
    size = (LEFT + len(prompts) * (SIDE + GAP), len(rows) * (SIDE + GAP) + BELOW)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    label, caption = ImageFont.load_default(28), ImageFont.load_default(22)
    for row, (name, images) in enumerate(rows.items()):
        top = row * (SIDE + GAP)
        pen.multiline_text((LEFT - 16, top + SIDE / 2), name, INK, label, anchor="rm", align="right", spacing=8)
        for column, image in enumerate(images):
            large = image.resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(large, (LEFT + column * (SIDE + GAP), top))
    for column, prompt in enumerate(prompts):
        words = "\n".join(textwrap.wrap(prompt.removeprefix("a photo of "), 16))
        place = (LEFT + column * (SIDE + GAP) + SIDE / 2, len(rows) * (SIDE + GAP) + 4)
        pen.multiline_text(place, words, INK, caption, anchor="ma", align="center", spacing=6)
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, optimize=True)


if __name__ == "__main__":
    main()
