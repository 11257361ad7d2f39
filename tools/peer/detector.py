#!/usr/bin/env python3
"""Peer of `dmdr eval geneval --detector`: each of the three interfaces stated once more in Python. Part of `make parity`.

- mmdeploy: a graph made here finds a red and a blue patch: masks by thresholds on the normalised colours, boxes around
  them, and rows that only fill up. Pictures are resized, padded and mapped back as in mmdetection's test pipeline. Boxes are equal
  to 0.01 pixels, masks but for pixels on their edge.
- YOLOX (yolox.py): a trained model on photographs, if `DMDR_YOLOX` or the first argument names its ONNX file. Boxes are
  equal to 0.5 pixels, scores to 0.001, and the right things are found.
- Mask2Former (mask2former.py): random queries, whose instances are equal to transformers', and a tiny network.

`--fixtures` writes those of crates/detector alone.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mask2former
import numpy as np
import onnx
import onnxruntime
import torch
import yolox
from onnx import TensorProto, helper
from PIL import Image
from pycocotools import mask as coco
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
# COCO's 80 classes; three have other names in GenEval.
CLASSES = [name for name in FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:] if name != "N/A"]
CLASSES = [{"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}.get(n, n) for n in CLASSES]
DOG, CAT = 16, 15
SCORES, LABELS = [0.875, 0.75, 0.0, 0.5], [DOG, CAT, DOG, -1]
PROMPTS = [
    {"tag": "single_object", "include": [{"class": "dog", "count": 1}], "prompt": "a photo of a dog"},
    {
        "tag": "position",
        "include": [{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}],
        "prompt": "a photo of a dog left of a cat",
    },
]


def graph(path: Path, size: tuple[int, int] | None, names: tuple[str, ...] = ("dets", "labels", "masks")) -> None:
    """Red above 1.5 and blue below 0 is a dog, the other way round a cat; the last two rows only fill up."""
    nodes, constants = [], {}

    def const(name: str, value: np.ndarray) -> str:
        constants[name] = value
        return name

    def node(kind: str, *inputs: str, output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def i64(*values: int) -> str:
        return const("i" + "_".join(map(str, values)).replace("-", "m"), np.array(values, np.int64))

    red = node("Gather", "input", const("c0", np.array([0], np.int64)), output="red", axis=1)
    blue = node("Gather", "input", const("c2", np.array([2], np.int64)), output="blue", axis=1)
    high, low = const("high", np.float32(1.5)), const("low", np.float32(0))
    for name, one, other in (("dog", red, blue), ("cat", blue, red)):
        more = node("Greater", one, high, output=f"{name}_more")
        less = node("Less", other, low, output=f"{name}_less")
        node("And", more, less, output=name)
    masks = node("Concat", "dog", "cat", "dog", "dog", output="all_masks", axis=1)  # [1, 4, H, W]
    there = node("Cast", masks, output="mask_numbers", to=TensorProto.FLOAT)
    there = node("ReduceMax", there, output="there", axes=[2, 3], keepdims=0)
    shape = node("Shape", "input", output="shape")
    start, step, edges = const("zero", np.float32(0)), const("one", np.float32(1)), {}
    for name, axis, view in (("y", 2, (1, 1, -1, 1)), ("x", 3, (1, 1, 1, -1))):
        length = node("Gather", shape, const(f"axis{axis}", np.int64(axis)), output=f"length_{name}")
        length = node("Cast", length, output=f"float_{name}", to=TensorProto.FLOAT)
        count = node("Range", start, length, step, output=f"range_{name}")
        first = node("Reshape", count, i64(*view), output=f"first_{name}")
        last = node("Add", first, step, output=f"last_{name}")
        far = node("Where", masks, first, const("far", np.float32(1e4)), output=f"where_{name}")
        near = node("Where", masks, last, start, output=f"last_where_{name}")
        edges[name] = node("ReduceMin", far, output=f"min_{name}", axes=[2, 3], keepdims=0)
        edges[f"{name}_end"] = node("ReduceMax", near, output=f"max_{name}", axes=[2, 3], keepdims=0)
    columns = [edges[name] for name in ("x", "y", "x_end", "y_end")]
    columns.append(node("Mul", there, const("scores", np.array([SCORES], np.float32)), output="confidences"))
    columns = [node("Unsqueeze", column, output=f"{column}_column", axes=[2]) for column in columns]
    node("Concat", *columns, output=names[0], axis=2)
    node("Identity", const("classes", np.array([LABELS], np.int64)), output=names[1])
    node("Identity", masks, output=names[2])
    height, width = size or ("height", "width")
    model = helper.make_graph(
        nodes,
        "patches",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])],
        [
            helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [1, None, 5]),
            helper.make_tensor_value_info(names[1], TensorProto.INT64, [1, None]),
            helper.make_tensor_value_info(names[2], TensorProto.BOOL, [1, None, height, width]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(model, opset_imports=[helper.make_opsetid("", 12)], ir_version=8), path)


def resize(x: Tensor, size: list[int]) -> Tensor:
    return interpolate(x[None], size=size, mode="bilinear", align_corners=False)[0]


def detect(session: onnxruntime.InferenceSession, picture: Image.Image, size: tuple[int, int] | None) -> list[tuple]:
    """Class, box, confidence and mask of every object."""
    pixels = np.array(picture)
    sides = list(pixels.shape[:2])
    if size:
        factor = min(size[0] / sides[0], size[1] / sides[1])
    else:
        factor = min(1333 / max(sides), 800 / min(sides))
    small = [int(side * factor + 0.5) for side in sides]
    whole = size or [math.ceil(side / 32) * 32 for side in small]
    pixels = torch.from_numpy(yolox.resize(pixels, tuple(small))).permute(2, 0, 1).float()
    ready = (pixels - MEAN) / STD
    ready = pad(ready, [0, whole[1] - small[1], 0, whole[0] - small[0]])
    dets, labels, masks = session.run(["dets", "labels", "masks"], {"input": ready[None].numpy()})
    ratio = np.array([small[1] / sides[1], small[0] / sides[0]] * 2, np.float32)
    found = []
    for det, label, mask in zip(dets[0], labels[0], masks[0]):
        if label < 0 or det[4] <= 0:
            continue
        inner = torch.from_numpy(mask[: small[0], : small[1]]).float()
        box = np.clip(det[:4] / ratio, 0, np.array([sides[1], sides[0]] * 2))
        found.append((label, box, det[4], resize(inner[None], sides)[0].numpy() >= 0.5))
    return found


def dmdr(here: Path, *arguments: str, samples: int = 2) -> subprocess.CompletedProcess:
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    command = [ROOT / "target/release/dmdr", "--quiet", "eval", "geneval", "--metadata", "metadata.jsonl"]
    command += ["--images", "images", "--samples", str(samples), "--onnxruntime", library, *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def draw(here: Path) -> dict[str, Image.Image]:
    """Of each prompt's two pictures the second has no dog."""
    sizes, found = [(512, 512), (333, 500), (640, 427), (97, 41)], {}
    for number, (width, height) in enumerate(sizes):
        pixels = np.full((height, width, 3), 120, np.uint8)
        top, bottom = height // 5, height * 3 // 4
        if number % 2 == 0:
            pixels[top:bottom, width // 10 : width // 3] = [250, 10, 10]
        pixels[top + 3 : bottom, width * 3 // 5 : width - 7] = [10, 10, 250]
        name = f"{number // 2:05}/samples/{number % 2:04}.png"
        (here / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        found[name] = Image.fromarray(pixels)
        found[name].save(here / "images" / name)
    return found


def compare(here: Path, pictures: dict[str, Image.Image], size: tuple[int, int] | None) -> None:
    path = here / f"{'fixed' if size else 'open'}.onnx"
    graph(path, size)
    output = dmdr(here, "--detector", path.name)
    assert output.returncode == 0, output.stderr
    assert "single_object    0.5000" in output.stdout and "position         0.5000" in output.stdout, output.stdout
    session = onnxruntime.InferenceSession(path)
    lines = [json.loads(line) for line in (here / "images/detections.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == list(pictures)
    apart, objects = 0, 0
    for line, picture in zip(lines, pictures.values()):
        expected, got = detect(session, picture, size), line["detections"]
        assert len(got) == len(expected), line["image"]
        for one, (label, box, score, mask) in zip(got, expected):
            assert one["class"] == {DOG: "dog", CAT: "cat"}[label] and one["score"] == score
            assert np.abs(np.array(one["box"]) - box).max() < 1e-2, (one["box"], box)
            ours = coco.decode(one["mask"]).astype(bool)
            assert ours.shape == mask.shape and ours.any()
            wrong, rim = (ours != mask).sum(), 2 * sum(mask.shape)
            assert wrong <= rim // 100, f"{line['image']}: {wrong} pixels of the mask differ"
            apart, objects = apart + wrong, objects + 1
    print(f"detector, {path.stem} size: {objects} objects equal, {apart} pixels of their masks differ")


def kept(here: Path, pictures: dict[str, Image.Image]) -> None:
    """A rerun looks at nothing, a picture that changed is looked at again, and other detectors' findings do not pass."""
    file, scores = here / "images/detections.jsonl", here / "images/scores.json"
    before, modified = file.read_text(), file.stat().st_mtime_ns
    assert dmdr(here, "--detector", "fixed.onnx").returncode == 0
    assert file.stat().st_mtime_ns == modified, "written again"
    assert json.loads(scores.read_text())["detector"]["sha256"] == json.loads(before.splitlines()[0])["source"]["detector"]
    name = next(iter(pictures))
    pictures[name].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(here / "images" / name)
    assert dmdr(here, "--detector", "fixed.onnx").returncode == 0
    after = file.read_text()
    assert [a == b for a, b in zip(before.splitlines(), after.splitlines())] == [False, True, True, True]
    graph(here / "boxes.onnx", None, ("boxes", "labels", "masks"))
    output = dmdr(here, "--detector", "boxes.onnx")
    assert output.returncode != 0 and "expected `dets` [1, ?, 5] of f32, found `boxes`" in output.stderr, output.stderr
    print("detector: findings are kept by picture and detector, another interface is refused")


def prompts_of(here: Path, pictures: dict[str, Image.Image], wanted: dict[str, int | None]) -> list[str]:
    """One prompt a picture, for its thing, or for a dog where it has none; names of the images."""
    lines, names = [], []
    for number, (name, picture) in enumerate(pictures.items()):
        thing = CLASSES[DOG if wanted[name] is None else wanted[name]]
        include = [{"class": thing, "count": 1}]
        lines.append(json.dumps({"tag": "single_object", "include": include, "prompt": f"{thing} of {name}"}))
        names.append(f"{number:05}/samples/0000.png")
        (here / "images" / names[-1]).parent.mkdir(parents=True, exist_ok=True)
        picture.save(here / "images" / names[-1])
    (here / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return names


def found_by(here: Path, model: Path | str, names: list[str]) -> tuple[list[list[dict]], str]:
    """What the binary finds in each image, and what it prints; the record is whole."""
    output = dmdr(here, "--detector", str(model), samples=1)
    assert output.returncode == 0, output.stderr
    lines = [json.loads(line) for line in (here / "images/detections.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == names
    record = json.loads((here / "images/scores.json").read_text())["detector"]
    for line in lines:
        assert line["source"]["detector"] == record["sha256"] and line["source"]["settings"] == record["settings"]
    return [line["detections"] for line in lines], output.stdout


def compare_yolox(here: Path, source: Path) -> None:
    pictures = yolox.photographs()
    names = prompts_of(here, pictures, yolox.PHOTOGRAPHS)
    yolox.decoded(source, here / "pixels.onnx")
    session = onnxruntime.InferenceSession(source)
    expected = [yolox.detect(session, picture) for picture in pictures.values()]
    right = sum(label is not None for label in yolox.PHOTOGRAPHS.values())
    for path, boxes in ((source, "cells"), (here / "pixels.onnx", "pixels")):
        found, text = found_by(here, path, names)
        assert f"({right} of {len(names)})" in text, text
        settings = json.loads((here / "images/scores.json").read_text())["detector"]["settings"]
        assert (settings["interface"], settings["boxes"]) == ("yolox", boxes), settings
        print(f"YOLOX, boxes in {boxes}: GenEval finds {right} of {right} things, and none where there is none")
        print(f"  {'photograph':<22}{'expected':<12}{'found':<12}{'score':>6}{'objects':>9}{'box, px':>9}{'score by':>10}")
        for (name, label), ours, (theirs, _) in zip(yolox.PHOTOGRAPHS.items(), found, expected):
            assert len(ours) == len(theirs), (name, len(ours), len(theirs))
            box = score = 0.0
            for one, (their_label, their_box, their_score) in zip(ours, theirs):
                assert one["class"] == CLASSES[their_label], (name, one, CLASSES[their_label])
                box = max(box, float(np.abs(np.array(one["box"]) - their_box).max()))
                score = max(score, abs(one["score"] - float(their_score)))
            assert box < 0.5 and score < 1e-3, (name, box, score)
            first = ours[0] if ours else {"class": "-", "score": 0.0}
            assert label is None or first["class"] == CLASSES[label], (name, first)
            thing = "-" if label is None else CLASSES[label]
            print(
                f"  {name:<22}{thing:<12}{first['class']:<12}{first['score']:>6.3f}{len(ours):>9}{box:>9.3f}{score:>10.1e}"
            )
    across = sum(len(theirs) - left for theirs, left in expected)
    print(f"YOLOX: suppression across classes, as in its demo, would leave out {across} objects more")


def compare_instances(found: list[list[dict]], expected: list[list[dict]], names: list[str], close: float) -> str:
    """Labels and boxes equal, masks where GenEval keeps them, scores as close as that."""
    objects, masks, widest = 0, 0, 0.0
    for ours, theirs, name in zip(found, expected, names):
        assert len(ours) == len(theirs), (name, len(ours), len(theirs))
        for one, other in zip(ours, theirs):
            assert one["class"] == CLASSES[other["label"]] and one["box"] == other["box"], (name, one, other)
            widest, objects = max(widest, abs(one["score"] - other["score"])), objects + 1
            if "mask" in one:
                assert (coco.decode(one["mask"]).astype(bool) == other["mask"]).all(), (name, one)
                masks += 1
    assert widest < close and masks, widest
    return f"{objects} objects, {masks} masks equal; scores differ by at most {widest:.1e}"


def compare_queries(here: Path) -> None:
    sizes = [(512, 512), (333, 500), (97, 41), (768, 640), (384, 384), (1, 1)]
    pictures = {str(size): Image.new("RGB", size, (90, 120, 150)) for size in sizes}
    names = prompts_of(here, pictures, dict.fromkeys(pictures))
    classes, masks = mask2former.random_queries(100)
    expected = [mask2former.instances(classes, masks, (height, width)) for width, height in sizes]
    for picture_mask in (False, True):
        mask2former.answering(here / "queries.onnx", classes, masks, picture_mask)
        found, _ = found_by(here, "queries.onnx", names)
        # A picture's size in a graph of fixed logits changes nothing but the masks' last step.
        print(f"Mask2Former, random queries: {compare_instances(found, expected, names, 1e-5)}")


def compare_network(here: Path) -> None:
    """Random weights make rough masks: a logit near 0 may fall on the other side."""
    from mask2former_onnx import export

    model, config = mask2former.tiny(), {"size": {"height": 96, "width": 128}, "size_divisor": 32}
    pictures = yolox.photographs()
    pictures = {name: pictures[name].convert("RGB") for name in ("astronaut.png", "chelsea.png", "coffee.png")}
    names = prompts_of(here, pictures, yolox.PHOTOGRAPHS)
    apart = export(model, here / "tiny.onnx", (96, 128))
    assert apart < 1e-4, apart
    (here / "preprocessor_config.json").write_text(json.dumps(config))
    found, _ = found_by(here, "tiny.onnx", names)
    objects, same, widest = 0, 1.0, 0.0
    for ours, (name, picture) in zip(found, pictures.items()):
        theirs = mask2former.run(model, picture, config)
        assert len(ours) == len(theirs), (name, len(ours), len(theirs))
        for one, other in zip(ours, theirs):
            assert one["class"] == CLASSES[other["label"]], (name, one, other)
            widest, objects = max(widest, abs(one["score"] - other["score"])), objects + 1
            if "mask" in one:
                same = min(same, float((coco.decode(one["mask"]).astype(bool) == other["mask"]).mean()))
    assert widest < 1e-4 and same > 0.999, (widest, same)
    print(
        f"Mask2Former, a tiny network: its export's logits differ by {apart:.1e}; {objects} objects in photographs, scores "
        f"differ by at most {widest:.1e}, at least {same:.2%} of a mask's pixels equal"
    )


def main() -> None:
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    mask2former.fixtures()
    if arguments == ["--fixtures"]:
        return
    for check in (compare_queries, compare_network):
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder))
    source = arguments[0] if arguments else os.environ.get("DMDR_YOLOX")
    if source:
        with tempfile.TemporaryDirectory() as folder:
            compare_yolox(Path(folder), Path(source).resolve())
    else:
        print("YOLOX: skipped, since neither `DMDR_YOLOX` nor an argument names an ONNX file")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "metadata.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS))
        pictures = draw(here)
        compare(here, pictures, None)
        compare(here, pictures, (320, 448))
        kept(here, pictures)


if __name__ == "__main__":
    main()
