"""YOLOX's demo stated once more around Python's ONNX Runtime, and the photographs that it is compared on.

After demo/ONNXRuntime/onnx_inference.py, `preproc` of yolox/data/data_augment.py and yolox/utils/demo_utils.py. The demo
suppresses across classes by default; ours within a class, as its evaluation does. The difference is counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import skimage
from onnx import helper
from PIL import Image

STRIDES, SCORE, OVERLAP = (8, 16, 32), 0.1, 0.45
PERSON, CAT, CUP, MOTORCYCLE = 0, 15, 41, 3
# Photographs of scikit-image, and what is on them; on the rocket's start there is nothing of COCO's classes.
PHOTOGRAPHS = {
    "astronaut.png": PERSON,
    "camera.png": PERSON,  # grey
    "chelsea.png": CAT,
    "coffee.png": CUP,
    "motorcycle_left.png": MOTORCYCLE,
    "motorcycle_right.png": MOTORCYCLE,
    "rocket.jpg": None,
}


def photographs() -> dict[str, Image.Image]:
    folder = Path(skimage.__file__).parent / "data"
    return {name: Image.open(folder / name) for name in PHOTOGRAPHS}


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`[H, W, 3]` in 8 bits at another size: OpenCV's INTER_LINEAR in whole numbers. Equal to cv2's of 4.14 and 5.0."""

    def places(source: int, target: int, ends: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        center = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
        first = np.floor(center).astype(int)
        part = center - first.astype(np.float32)
        if ends:
            part[(first < 0) | (first >= source - 1)] = 0
        weights = np.rint(np.stack([np.float32(1) - part, part]) * np.float32(2048)).astype(np.int64)
        first = np.clip(first, 0, source - 1) if ends else first
        return np.clip(first, 0, source - 1), np.clip(first + 1, 0, source - 1), weights[..., None]

    left, right, across = places(picture.shape[1], size[1], True)
    above, below, down = places(picture.shape[0], size[0], False)
    rows = picture.astype(np.int64)
    rows = rows[:, left] * across[0] + rows[:, right] * across[1]
    down = down[..., None]
    both = ((down[0] * (rows[above] >> 4)) >> 16) + ((down[1] * (rows[below] >> 4)) >> 16)
    return ((both + 2) >> 2).astype(np.uint8)


def prepare(picture: Image.Image, size: list[int]) -> tuple[np.ndarray, float]:
    """`[1, 3, H, W]`, and the pixels of the input for one of the picture."""
    pixels = np.array(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    ratio = min(size[0] / height, size[1] / width)
    small = (int(height * ratio), int(width * ratio))
    padded = np.full((1, 3, *size), 114, np.float32)
    padded[0, :, : small[0], : small[1]] = resize(pixels, small)[:, :, ::-1].transpose(2, 0, 1)
    return padded, ratio


def grid(size: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each cell, and its stride."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full((cells[-1].shape[0], 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def suppress(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    left, top, right, bottom = boxes.T
    areas, order, kept = (right - left + 1) * (bottom - top + 1), scores.argsort()[::-1], []
    while order.size:
        first, order = order[0], order[1:]
        kept.append(first)
        width = np.maximum(0, np.minimum(right[first], right[order]) - np.maximum(left[first], left[order]) + 1)
        height = np.maximum(0, np.minimum(bottom[first], bottom[order]) - np.maximum(top[first], top[order]) + 1)
        both = width * height
        order = order[both / (areas[first] + areas[order] - both) <= OVERLAP]
    return kept


def detect(session: onnxruntime.InferenceSession, picture: Image.Image) -> tuple[list[tuple], int]:
    """Class, box and score of every object by falling score; how many would stay if classes suppressed each other."""
    port = session.get_inputs()[0]
    pixels, ratio = prepare(picture, port.shape[2:])
    rows = session.run(None, {port.name: pixels})[0][0]
    cells, strides = grid(port.shape[2:])
    center, sides = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides
    boxes = np.concatenate([center - sides / 2, center + sides / 2], axis=1) / ratio
    scores = rows[:, 4:5] * rows[:, 5:]
    classes, scores = scores.argmax(1), scores.max(1)
    boxes, classes, scores = (values[scores > SCORE] for values in (boxes, classes, scores))
    found = []
    for label in np.unique(classes):
        ours = np.flatnonzero(classes == label)
        found += [ours[place] for place in suppress(boxes[ours], scores[ours])]
    boxes = np.clip(boxes, 0, np.array(picture.size * 2))
    found.sort(key=lambda place: -scores[place])
    return [(classes[place], boxes[place], scores[place]) for place in found], len(suppress(boxes, scores))


def decoded(source: Path, path: Path) -> None:
    """The same model with boxes in pixels, as `--decode_in_inference` exports it."""
    model = onnx.load(source)
    graph = model.graph
    (output,) = graph.output
    size = [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[2:]]
    cells, strides = grid(size)
    constants = {"cells": cells[None], "strides": strides[None], "first": np.array([2, 2, 81], np.int64)}
    graph.initializer.extend(onnx.numpy_helper.from_array(value, f"decode_{name}") for name, value in constants.items())
    raw = output.name
    output.name = "decoded"
    graph.node.extend([
        helper.make_node("Split", [raw, "decode_first"], ["offsets", "logs", "decode_scores"], axis=2),
        helper.make_node("Add", ["offsets", "decode_cells"], ["places"]),
        helper.make_node("Mul", ["places", "decode_strides"], ["centers"]),
        helper.make_node("Exp", ["logs"], ["sides_in_strides"]),
        helper.make_node("Mul", ["sides_in_strides", "decode_strides"], ["sides"]),
        helper.make_node("Concat", ["centers", "sides", "decode_scores"], ["decoded"], axis=2),
    ])
    for opset in model.opset_import:
        opset.version = max(opset.version, 13)
    onnx.save(model, path)
