#!/usr/bin/env python3
"""Export a Mask2Former of transformers to ONNX, for `dmdr eval geneval --detector`. Needs torch, transformers, onnx and onnxruntime.

    python3 tools/mask2former_onnx.py facebook/mask2former-swin-small-coco-instance mask2former/model.onnx

The model is a folder or a name on the Hugging Face hub. `preprocessor_config.json` is written beside the ONNX file:
`dmdr` prepares pictures by it. The input has the size that it names. The script runs both models on noise and compares
them.

PyTorch's older exporter is used. It makes one constant of `torch.linspace` f64, which ONNX Runtime's `GridSample` does
not take: such constants and casts are made f32.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from transformers import AutoImageProcessor, Mask2FormerForUniversalSegmentation

OUTPUTS = ["class_queries_logits", "masks_queries_logits"]
NUM_CLASSES = 80


class Queries(nn.Module):
    """The two outputs that are read."""

    def __init__(self, model: Mask2FormerForUniversalSegmentation):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(pixel_values=pixel_values)
        return found.class_queries_logits, found.masks_queries_logits


def single_precision(path: Path) -> None:
    """f32 wherever the graph computes in f64."""
    model = onnx.load(path)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type == TensorProto.DOUBLE:
                value = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(value))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
    onnx.save(model, path)


def export(model: Mask2FormerForUniversalSegmentation, path: Path, size: tuple[int, int]) -> float:
    """Writes `path` for inputs of that height and width; returns by how much the two differ at most."""
    if model.config.num_labels != NUM_CLASSES:
        raise SystemExit(f"expected COCO's {NUM_CLASSES} classes of instances, found {model.config.num_labels}")
    # The exporter brings back the mode of what it is given: the whole must be out of training.
    net = Queries(model).eval()
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["pixel_values"], "output_names": OUTPUTS}
        torch.onnx.export(net, (pixels,), str(path), dynamo=False, opset_version=17, **names)
        expected = net(pixels)
    single_precision(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(OUTPUTS, {"pixel_values": pixels.numpy()})
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder, or a name on the hub")
    parser.add_argument("output", type=Path, help="the ONNX file")
    parser.add_argument("--height", type=int, help="of the input; without it as in preprocessor_config.json")
    parser.add_argument("--width", type=int, help="of the input; without it as in preprocessor_config.json")
    args = parser.parse_args()
    processor = AutoImageProcessor.from_pretrained(args.model)
    height, width = args.height or processor.size.get("height"), args.width or processor.size.get("width")
    if not height or not width:
        raise SystemExit(f"the size of pictures is {dict(processor.size)}: give --height and --width")
    processor.size = {"height": height, "width": width}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    model = Mask2FormerForUniversalSegmentation.from_pretrained(args.model)
    apart = export(model, args.output, (height, width))
    processor.save_pretrained(args.output.parent)
    if apart > 1e-2:
        raise SystemExit(f"{args.output}: logits differ from PyTorch's by {apart:.1e}, more than 0.01")
    print(f"{args.output}: input {height} x {width}; logits differ from PyTorch's by at most {apart:.1e}")


if __name__ == "__main__":
    main()
