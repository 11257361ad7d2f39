#!/usr/bin/env python3
"""One update of the teacher and one of DMD in plain PyTorch, timed: the peer of `make bench`.

    steps.py teacher|dmd --batch-size N [--bf16] [--compile] [--checkpoint]

The same networks, sizes and order of work as `dmdr pretrain` and `dmdr train` without rewards; the text is encoded and
the scenes are drawn beforehand, which only the peer is spared. It stays and waits: for each number on a line of stdin it
does so many updates, and prints the seconds of each and then the peak of its memory in bytes, in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch
import torch.utils.checkpoint
from models import Dit, inject_lora
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
SIZES = dict(image_size=32, channels=3, patch=4, dim=192, depth=6, heads=3, context_dim=128, pooled_dim=128)
TOKENS = 16
STEPS = [1.0, 0.75, 0.5, 0.25]
GUIDANCE = 3.0


def teacher() -> Dit:
    net = Dit(**SIZES)
    weights = load_file(ROOT / "assets/teacher.safetensors")
    net.load_state_dict({key: value.float() for key, value in weights.items()})
    return net


class Again(torch.nn.Module):
    """A block that computes its activations again for the gradient."""

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Tensor) -> Tensor:
        return torch.utils.checkpoint.checkpoint(self.block, *args, use_reentrant=False)


def checkpointed(net: Dit) -> None:
    net.blocks = torch.nn.ModuleList([Again(block) for block in net.blocks])


def condition(batch: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, TOKENS, SIZES["context_dim"]), torch.randn(batch, SIZES["pooled_dim"])


def add_noise(x0: Tensor, t: Tensor) -> Tensor:
    t = t[:, None, None, None]
    return (1 - t) * x0 + t * torch.randn_like(x0)


def flow_loss(x0_hat: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    return ((x0_hat.float() - x0).square().mean(dim=(1, 2, 3)) / t.clamp_min(0.05).square()).mean()


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()


def average(target: list[Tensor], source: list[Tensor], decay: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(target, source, 1 - decay)


class TeacherStep:
    """Flow matching with an x0-predicting network."""

    def __init__(self, batch: int) -> None:
        self.net, self.batch = teacher(), batch
        self.params = list(self.net.parameters())
        self.ema = [param.detach().clone() for param in self.params]
        self.optimizer = torch.optim.AdamW(self.params, lr=1e-5, betas=(0.9, 0.99), fused=True)
        self.cond = condition(batch)

    def networks(self) -> list[Dit]:
        return [self.net]

    def __call__(self) -> None:
        x0 = torch.rand(self.batch, 3, 32, 32) * 2 - 1
        t = torch.randn(self.batch).sigmoid()
        step(self.optimizer, flow_loss(self.net(add_noise(x0, t), t, *self.cond), x0, t))
        average(self.ema, self.params, 0.999)


class DmdStep:
    """Three rollouts with fake-score steps, then one generator step: TTUR 3."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.base, self.student = teacher().requires_grad_(False), teacher()
        self.loras = list(inject_lora(self.base, ["blocks.*"], rank=16, alpha=16.0).values())
        adapters = [param for lora in self.loras for param in (lora.lora_a, lora.lora_b)]
        options = dict(betas=(0.0, 0.99), fused=True)
        self.score_optimizer = torch.optim.AdamW(adapters, lr=4e-5, **options)
        self.params = list(self.student.parameters())
        self.optimizer = torch.optim.AdamW(self.params, lr=1e-5, **options)
        self.ema = [param.detach().clone() for param in self.params]
        self.cond, self.null = condition(batch), condition(1)

    def networks(self) -> list[Dit]:
        return [self.base, self.student]

    def at(self, scale: float) -> Dit:
        for lora in self.loras:
            lora.scale = scale
        return self.base

    def rollout(self) -> tuple[Tensor, Tensor, Tensor]:
        """Each quarter of the batch stops at its own step, so that step i evaluates the samples that go on."""
        x = torch.randn(self.batch, 3, 32, 32)
        inputs, times, clean = [], [], []
        with torch.no_grad():
            for index, t in enumerate(STEPS):
                here, on = (self.batch * (4 - index - k) // 4 for k in (0, 1))
                times_here = torch.full((here,), t)
                x0 = self.student(x, times_here, *(c[:here] for c in self.cond)).float()
                inputs.insert(0, x[on:])
                times.insert(0, times_here[on:])
                clean.insert(0, x0[on:])
                if on:
                    x = add_noise(x0[:on], torch.full((on,), STEPS[index + 1]))
        return torch.cat(inputs), torch.cat(times), torch.cat(clean)

    def __call__(self) -> None:
        for _ in range(3):
            x_in, t_in, clean = self.rollout()
            t = torch.rand(self.batch).clamp(0.02, 0.98)
            x0_hat = self.at(1.0)(add_noise(clean, t), t, *self.cond)
            step(self.score_optimizer, flow_loss(x0_hat, clean, t))
        x0 = self.student(x_in, t_in, *self.cond).float()
        with torch.no_grad():
            t = torch.rand(self.batch).clamp(0.02, 0.98)
            x_t = add_noise(x0, t)
            both = [torch.cat([c, n.expand_as(c)]) for c, n in zip(self.cond, self.null, strict=True)]
            real = self.at(0.0)(torch.cat([x_t, x_t]), torch.cat([t, t]), *both).float()
            conditional, unconditional = real.chunk(2)
            real = unconditional + GUIDANCE * (conditional - unconditional)
            fake = self.at(1.0)(x_t, t, *self.cond).float()
            gradient = (fake - real) / (x0 - real).abs().mean(dim=(1, 2, 3), keepdim=True)
            target = x0 - gradient
        step(self.optimizer, 0.5 * (x0 - target).square().mean())
        average(self.ema, self.params, 0.98)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["teacher", "dmd"])
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--checkpoint", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    one = {"teacher": TeacherStep, "dmd": DmdStep}[args.what](args.batch_size)
    for net in one.networks():
        if args.checkpoint:
            checkpointed(net)
        if args.compile:
            net.compile()
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                one()
            seconds.append(time.perf_counter() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
