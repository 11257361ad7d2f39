"""Mask2Former's queries as transformers reads them: fixtures for crates/detector, and models to run ours on.

`fixtures()` writes random queries with the instances of `post_process_instance_segmentation`, and a small picture with
the inputs of `Mask2FormerImageProcessor`. `answering()` is an ONNX graph that gives fixed logits whatever it sees; `tiny()`
a small network of random weights, exported as tools/mask2former_onnx.py does it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image
from torch import Tensor
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    Mask2FormerImageProcessorPil,
    SwinConfig,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
FIXTURES = ROOT / "crates/detector/tests/fixtures"
NUM_CLASSES = 80


def instances(classes: Tensor, masks: Tensor, size: tuple[int, int]) -> list[dict]:
    """transformers' instances of one picture of that height and width, by falling score."""
    outputs = SimpleNamespace(class_queries_logits=classes[None], masks_queries_logits=masks[None])
    processor = Mask2FormerImageProcessor()
    options = {"threshold": 0.0, "target_sizes": [size], "return_binary_maps": True}
    (result,) = processor.post_process_instance_segmentation(outputs, **options)
    found = []
    for info in result["segments_info"]:
        mask = result["segmentation"][info["id"]].numpy() > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        found.append({"label": info["label_id"], "score": info["score"], "box": box, "mask": mask})
    return sorted(found, key=lambda one: -one["score"])


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs, outside first, row by row."""
    flat = np.concatenate([[0], mask.ravel().astype(int), [-1]])
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], edges])).tolist()


def blobs(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth random logits, so that masks have an inside; one query has none."""
    coarse = torch.randn(1, count, 4, 4, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")[0] * 6
    masks[-1] = -masks[-1].abs() - 0.5
    return masks


def queries_fixture(generator: torch.Generator) -> None:
    """Seven queries, five classes."""
    classes = (torch.randn(7, 6, generator=generator) * 2).round(decimals=2)
    masks = blobs(7, (6, 8), generator).round(decimals=2)
    pictures = []
    for size in [(10, 13), (24, 7), (1, 1), (19, 19)]:
        found = instances(classes, masks, size)
        for one in found:
            one["runs"] = runs(one.pop("mask"))
        pictures.append({"size": size, "instances": found})
    write("queries", {"size": [6, 8], "classes": classes.tolist(), "masks": masks.flatten(1).tolist(), "pictures": pictures})


def write(name: str, value: dict) -> None:
    def plain(value: object, decimals: int = 6) -> object:
        if isinstance(value, float):
            return round(value, decimals)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item, 4) for item in value] if isinstance(value, (list, tuple)) else value

    path = FIXTURES / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(value), separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.1f} KiB")


def pixels_fixture(generator: torch.Generator) -> None:
    """A random picture made smooth, larger and smaller than the inputs."""
    coarse = torch.rand(1, 3, 5, 4, generator=generator) * 255
    picture = torch.nn.functional.interpolate(coarse, size=(13, 21), mode="bicubic").clamp(0, 255)[0]
    picture = picture.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    inputs = []
    for config in [
        {"size": {"height": 8, "width": 8}, "size_divisor": 4},
        {"size": {"shortest_edge": 6, "longest_edge": 12}, "size_divisor": 4},
        {"size": {"height": 20, "width": 10}, "size_divisor": 0, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.4, 0.3]},
    ]:
        processor = Mask2FormerImageProcessor(**config)
        pixels = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"][0]
        inputs.append({"config": config, "size": list(pixels.shape[-2:]), "pixels": pixels.flatten().tolist()})
    write("pixels", {"size": picture.shape[:2], "picture": picture.flatten().tolist(), "inputs": inputs})


def fixtures() -> None:
    generator = torch.Generator().manual_seed(22)
    queries_fixture(generator)
    pixels_fixture(generator)


def random_queries(count: int) -> tuple[Tensor, Tensor]:
    """`[count, 81]` and `[count, 96, 96]`, some of them confident."""
    generator = torch.Generator().manual_seed(23)
    classes = torch.randn(count, NUM_CLASSES + 1, generator=generator) * 3
    return classes, blobs(count, (96, 96), generator)


def answering(path: Path, classes: Tensor, masks: Tensor, picture_mask: bool = False) -> None:
    """A graph with the ports of an export that answers with these logits."""
    names = ["class_queries_logits", "masks_queries_logits"]
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"])]
    if picture_mask:
        inputs.append(helper.make_tensor_value_info("pixel_mask", TensorProto.INT64, ["batch", "height", "width"]))
    values = [classes[None].numpy(), masks[None].numpy()]
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_value"], [name]) for name in names],
        "queries",
        inputs,
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *value.shape[1:]])
            for name, value in zip(names, values)
        ],
        [onnx.numpy_helper.from_array(value, f"{name}_value") for name, value in zip(names, values)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def tiny() -> Mask2FormerForUniversalSegmentation:
    """Random weights, whose classes are made confident."""
    torch.manual_seed(0)
    backbone = SwinConfig(
        image_size=64,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 4],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=20,
        num_labels=NUM_CLASSES,
    )
    model = Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():
        model.class_predictor.weight *= 20
    return model


def run(model: Mask2FormerForUniversalSegmentation, picture: Image.Image, config: dict) -> list[dict]:
    """The whole of transformers' pipeline, with PIL's resizing; torchvision's differs by a step of 255 in some pixels."""
    pixels = Mask2FormerImageProcessorPil(**config)(picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        outputs = model(pixel_values=pixels)
    size = (picture.height, picture.width)
    return instances(outputs.class_queries_logits[0], outputs.masks_queries_logits[0], size)
