#!/usr/bin/env python3
"""Fixtures of one DMD generator step and one fake-score step on the tiny backbones: part of `make parity`.

Written from the formulas (arXiv 2511.13649, Eq. 1; DynaDG; the denoising loss of the fake score, of velocities or of noise)
with no regard to the Rust code, except that times and noise are drawn from the same generator in the same order. The networks
are those of `backbones.py` and `sdxl.py`, which have to run first; the student's weights are nine tenths of the teacher's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import diffusers
import torch
from fixtures import FIXTURES as MODELS
from models import adapter_params, inject_lora
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sdxl import TARGETS as SDXL_TARGETS
from sdxl import timesteps, unet_conditions, unet_forward
from sit import Sit
from torch import Tensor, nn

FIXTURES = MODELS.parents[2] / "methods/tests/fixtures"
GUIDANCE, REAL_SCALE, FAKE_SCALE = 3.0, 0.4, 1.5
# Of a longer gradient only the first numbers are kept.
MAX_NUMBERS = 400
Forward = Callable[..., Tensor]


class Flow:
    """The rectified flow: `x_t = (1 - t) x0 + t eps`, networks predict `eps - x0`."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def x0(self, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
        return x_t - t * output

    def error(self, t: Tensor, x0_hat: Tensor, x0: Tensor, output: Tensor, eps: Tensor) -> Tensor:
        return (x0_hat - x0) / t.clamp(min=0.05)


class ScaledLinear:
    """SDXL's schedule, whose networks predict `eps`."""

    def __init__(self) -> None:
        self.alpha_bar = diffusers.DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear").alphas_cumprod

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha_bar = self.alpha_bar[timesteps(t)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def x0(self, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
        alpha, sigma = self.coefficients(t)
        return (x_t - sigma * output) / alpha

    def error(self, t: Tensor, x0_hat: Tensor, x0: Tensor, output: Tensor, eps: Tensor) -> Tensor:
        return output - eps


def reseed(word: int) -> None:
    """The state behind `reseed(&[word])`: one round of splitmix64."""
    mask = (1 << 64) - 1
    golden = 0x9E3779B97F4A7C15
    state = ((golden ^ word) + golden) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    torch.manual_seed((state ^ (state >> 31)) >> 1)


def write(
    name: str,
    base: nn.Module,
    forward: Forward,
    targets: list[str],
    inputs: dict,
    cond: dict,
    null: dict,
    schedule: Flow | ScaledLinear,
) -> None:
    def x0_of(net: nn.Module, x_t: Tensor, t: Tensor, cond: dict) -> Tensor:
        return schedule.x0(x_t, t[:, None, None, None], forward(net, x_t, t, **cond))

    def renoise(x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A uniform time per sample, the schedule's state there, and its noise."""
        t = torch.rand(len(x0)).clamp(0.02, 0.98)
        alpha, sigma = schedule.coefficients(t[:, None, None, None])
        eps = torch.randn_like(x0)
        return alpha * x0 + sigma * eps, t, eps

    student = copy.deepcopy(base)
    params = {key: value for key, value in student.named_parameters() if value.requires_grad}  # fixed positions stay
    for param in params.values():
        param.data *= 0.9
    loras = inject_lora(base, targets, rank=2, alpha=4.0)
    for lora in loras.values():
        nn.init.normal_(lora.lora_b, std=0.1)
    adapters = adapter_params(loras)

    def at(scale: float) -> nn.Module:
        for lora in loras.values():
            lora.scale = scale
        return base

    found = {f"lora.{key}": value.clone() for key, value in adapters.items()}

    reseed(1)
    x0 = x0_of(student, inputs["x_t"], inputs["t"], cond)
    with torch.no_grad():
        x_t, t, _ = renoise(x0)
        fake = x0_of(at(FAKE_SCALE), x_t, t, cond)
        conditional, unconditional = x0_of(at(REAL_SCALE), x_t, t, cond), x0_of(at(REAL_SCALE), x_t, t, null)
        real = unconditional + GUIDANCE * (conditional - unconditional)
        gradient = (fake - real) / (x0 - real).abs().mean(dim=(1, 2, 3), keepdim=True)
    loss = 0.5 * (x0 - (x0 - gradient).detach()).square().mean()
    found |= {"generator.x_t": x_t, "generator.t": t, "generator.loss": loss}
    gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True, materialize_grads=True)
    found |= {f"grad.student.{key}": value.flatten()[:MAX_NUMBERS] for key, value in zip(params, gradients, strict=True)}

    reseed(2)
    x_t, t, eps = renoise(inputs["x0"])
    output = forward(at(FAKE_SCALE), x_t, t, **cond)
    level = t[:, None, None, None]
    loss = schedule.error(level, schedule.x0(x_t, level, output), inputs["x0"], output, eps).square().mean()
    found |= {"score.x_t": x_t, "score.t": t, "score.loss": loss}
    gradients = torch.autograd.grad(loss, list(adapters.values()))
    found |= {f"grad.lora.{key}": value.flatten()[:MAX_NUMBERS] for key, value in zip(adapters, gradients, strict=True)}

    tensors = found | inputs | cond | {f"null.{key}": value for key, value in null.items()}
    path = FIXTURES / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    metadata = dict(torch=torch.__version__.split("+")[0], diffusers=diffusers.__version__)
    save_file({key: value.detach().float().contiguous() for key, value in tensors.items()}, path, metadata=metadata)
    print(f"{name}: {path.stat().st_size // 1024} KiB")


def rollout(*shape: int) -> dict[str, Tensor]:
    """Student inputs at two grid times and samples for the fake score, as a rollout hands them on."""
    return dict(x_t=torch.randn(2, *shape), t=torch.tensor([0.5, 1.0]), x0=torch.randn(2, *shape))


def sit() -> None:
    torch.manual_seed(11)
    path = MODELS / "sit_repa.safetensors"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    del config["interpolant"]
    net = Sit(**config)
    weights = {key.removeprefix("weights."): value for key, value in load_file(path).items()}
    net.load_state_dict({key: weights[key] for key in net.state_dict()})

    def forward(net: nn.Module, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return net(x_t, t, labels.expand(len(x_t)))

    cond, null = dict(labels=torch.tensor([3, 1])), dict(labels=torch.tensor([5]))
    write("sit", net, forward, ["blocks.*.attn.*"], rollout(4, 8, 8), cond, null, Flow())


def sd3() -> None:
    torch.manual_seed(12)
    net = diffusers.SD3Transformer2DModel.from_pretrained(MODELS / "sd3_qk_norm")

    def forward(net: nn.Module, x_t: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        tokens, pooled = tokens.expand(len(x_t), -1, -1), pooled.expand(len(x_t), -1)
        return net(x_t, tokens, pooled, 1000 * t, return_dict=False)[0]

    cond = dict(tokens=torch.randn(2, 5, 12), pooled=torch.randn(2, 10))
    null = dict(tokens=torch.randn(1, 5, 12), pooled=torch.randn(1, 10))
    write("sd3", net, forward, ["transformer_blocks.*.attn*"], rollout(4, 6, 8), cond, null, Flow())


def sdxl() -> None:
    torch.manual_seed(13)
    net = diffusers.UNet2DConditionModel.from_pretrained(MODELS / "sdxl")

    cond, null = unet_conditions()
    write("sdxl", net, unet_forward, SDXL_TARGETS, rollout(4, 6, 10), cond, null, ScaledLinear())


if __name__ == "__main__":
    torch.set_num_threads(1)
    sit()
    sd3()
    sdxl()
