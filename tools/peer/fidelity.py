#!/usr/bin/env python3
"""Parity fixtures of the FID family: part of `make parity`.

The reference is torch-fidelity: its Inception at full size with weights from a formula, its distance between Gaussians,
its precision and recall, on features from the same formula.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from unittest import mock

import torch
from backbones import list_shapes
from fixtures import FIXTURES as MODELS
from rewards import chirp, whole, write
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

EVAL = MODELS.parents[2] / "eval/tests/fixtures"
SEVEN = 7  # the channels of sFID


def fresh() -> nn.Module:
    """The network with random weights: it is made from a file of its own."""
    with mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "none.pth"
        torch.save({}, path)
        return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))


def fill(net: nn.Module) -> None:
    """Weights by name: products keep the size of what passes through, norms scale by about one."""
    names = sorted(name for name in net.state_dict() if not name.startswith("fc.") and "num_batches" not in name)
    for salt, name in enumerate(names):
        param = net.get_parameter(name) if name in dict(net.named_parameters()) else net.get_buffer(name)
        values = whole(list(param.shape), salt)
        if param.dim() > 1:
            values = values * math.sqrt(6 / param[0].numel())
        elif name.endswith(("bn.weight", "bn.running_var")):
            values = 1 + 0.1 * values
        else:
            values = 0.1 * values
        param.data.copy_(values)


def inception() -> None:
    """Features of pictures that are enlarged and reduced to the network's 299 pixels."""
    net = fresh()
    fill(net)
    spatial: list[Tensor] = []
    net.Mixed_6d.branch1x1.register_forward_hook(lambda _, __, output: spatial.append(output[:, :SEVEN].flatten(1)))
    found = {}
    for height, width in [(64, 64), (427, 310)]:
        image = (chirp(height, width) * 255).round().byte()
        found[f"pooled.{height}x{width}"] = net(torch.cat([image, image.flip(-1)]))[0]
        found[f"spatial.{height}x{width}"] = spatial.pop()
    write(MODELS / "inception.safetensors", found)


def statistics() -> None:
    """Distance, precision and recall of 300 and 200 features: more than their 24 dimensions, then fewer than 64."""
    found = {}
    for dims, (a, b) in {24: (300, 200), 64: (40, 50)}.items():
        generated = whole([a, dims], 3).double()
        true = whole([b, dims], 5).double() * torch.linspace(0.6, 1.1, dims, dtype=torch.float64) + 0.05
        both = [fid_features_to_statistics(features) for features in (generated, true)]
        found[f"distance.{dims}"] = fid_statistics_to_metric(*both, verbose=False)["frechet_inception_distance"]
        options = dict(prc_neighborhood=3, prc_batch_size=64, verbose=False)
        for save_cpu_ram in (False, True):
            shares = prc_features_to_metric(generated, true, save_cpu_ram=save_cpu_ram, **options)
        found |= {f"{name}.{dims}": shares[name] for name in ("precision", "recall")}
    write(EVAL / "fidelity.safetensors", {key: torch.tensor([value]) for key, value in found.items()})
    print(found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    inception()
    statistics()
    list_shapes("inception", fresh)
