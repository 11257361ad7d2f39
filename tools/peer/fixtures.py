#!/usr/bin/env python3
"""Parity fixtures: small random networks, an input, and what PyTorch makes of it, with gradients.

    make parity

Everything is seeded and in f32 on one thread; a fixture is one safetensors file with the weights under `weights.`, the
inputs and outputs by name, and the sizes as JSON in its metadata.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from models import Dit, WorldClip, adapter_params, inject_lora
from safetensors.torch import save_file
from torch import Tensor, nn

FIXTURES = Path(__file__).resolve().parents[2] / "crates/models/tests/fixtures"


def randomise(net: nn.Module, std: float = 0.08) -> None:
    """No layer may start at zero, or it would hide everything behind it."""
    for param in net.parameters():
        nn.init.normal_(param, std=std)
        if param.dim() == 1:
            param.data += 0.05


def write(name: str, net_weights: dict[str, Tensor], values: dict[str, Tensor], config: dict) -> None:
    tensors = {f"weights.{key}": value for key, value in net_weights.items()}
    tensors |= values
    path = FIXTURES / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    metadata = {"config": json.dumps(config), "torch": torch.__version__.split("+")[0]}
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, path, metadata=metadata)
    print(f"{path.relative_to(FIXTURES.parents[3])}: {path.stat().st_size // 1024} KiB")


def dit() -> None:
    """The diffusion transformer with an adapter: output, gradients with respect to the input and one LoRA pair."""
    torch.manual_seed(1)
    config = dict(image_size=8, channels=3, patch=2, dim=32, depth=2, heads=2, context_dim=12, pooled_dim=10)
    net = Dit(**config)
    randomise(net)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    loras = inject_lora(net, ["blocks.*"], rank=3, alpha=6.0)
    for lora in loras.values():
        nn.init.normal_(lora.lora_b, std=0.1)
    adapters = adapter_params(loras)
    x_t = torch.randn(3, 3, 8, 8, requires_grad=True)
    t = torch.tensor([0.05, 0.5, 1.0])
    tokens, pooled, cotangent = torch.randn(3, 5, 12), torch.randn(3, 10), torch.randn(3, 3, 8, 8)
    values = dict(x_t=x_t, t=t, tokens=tokens, pooled=pooled, cotangent=cotangent)
    values["output"] = net(x_t, t, tokens, pooled)
    for lora in loras.values():
        lora.scale = 0.75
    output = net(x_t, t, tokens, pooled)
    values["output_lora"] = output
    pair = [f"blocks.0.attn.qkv.lora_{kind}.weight" for kind in "AB"]
    gradients = torch.autograd.grad(output, [x_t] + [adapters[name] for name in pair], cotangent)
    values |= dict(zip(["grad.x_t"] + [f"grad.{name}" for name in pair], gradients, strict=True))
    values |= {f"lora.{key}": value for key, value in adapters.items()}
    write("dit", weights, values, config | dict(prediction="flow"))


def world_clip() -> None:
    """Both towers: score, token features, pooled text, gradient of the score with respect to the images."""
    torch.manual_seed(2)
    text = dict(vocabulary=20, max_tokens=7, end_token=2, dim=16, depth=2, heads=2)
    image = dict(image_size=8, patch=4, dim=24, depth=2, heads=2)
    net = WorldClip(text, image, embed=12)
    randomise(net)
    ids = torch.tensor([[1, 5, 9, 2, 0, 0, 0], [1, 19, 3, 4, 5, 6, 2]])
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    tokens, pooled = net.text(ids)
    score = net.score(images, ids)
    (gradient,) = torch.autograd.grad(score.sum(), [images])
    values = dict(ids=ids.float(), images=images, tokens=tokens, pooled=pooled, score=score)
    values["grad.images"] = gradient
    write("world_clip", net.state_dict(), values, dict(text=text, image=image, embed_dim=12))


if __name__ == "__main__":
    torch.set_num_threads(1)
    dit()
    world_clip()
