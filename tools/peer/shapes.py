#!/usr/bin/env python3
"""DMD updates of published networks in plain PyTorch, by their shapes, with random weights: the peer of `scripts/gpu-check`.

    shapes.py CONFIG.json --size PIXELS --batch-size N --updates N [--device cuda] [--compile] [--bf16]

CONFIG is a `config.json` of diffusers: of `SD3Transformer2DModel` (SD3-Medium, SD3.5-Large) or `UNet2DConditionModel` (SDXL).
The networks are written from these sizes alone. What is computed is what `dmdr bench` measures of its config: two adapters
on one frozen base, a rollout of four steps in which each quarter of the batch stops at its own, one update of the fake
score and one of the student, guidance in one batch, blocks recomputed. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

TIMES = [1.0, 0.9, 0.75, 0.5]  # four steps at shift 3
GUIDANCE = 7.0
RANKS = {"student": (64, 2.0), "fake": (32, 1.0)}  # rank, alpha / rank


class Active:
    """Which adapter the layers use."""

    name: str | None = None


class LoraLinear(nn.Module):
    """A frozen layer with both adapters."""

    def __init__(self, into: int, out: int, bias: bool = True) -> None:
        super().__init__()
        self.base = nn.Linear(into, out, bias)
        self.down = nn.ModuleDict({name: nn.Linear(into, rank, False) for name, (rank, _) in RANKS.items()})
        self.up = nn.ModuleDict({name: nn.Linear(rank, out, False) for name, (rank, _) in RANKS.items()})

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if Active.name:
            y = y + RANKS[Active.name][1] * self.up[Active.name](self.down[Active.name](x))
        return y


def sinusoids(t: Tensor, width: int) -> Tensor:
    half = width // 2
    angles = t[:, None].float() * torch.exp(-math.log(10000) / half * torch.arange(half, device=t.device))[None]
    return torch.cat([angles.cos(), angles.sin()], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def mlp(width: int, inner: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, width))


class JointBlock(nn.Module):
    """SD3: image and text tokens attend together."""

    def __init__(self, width: int, heads: int, is_last: bool, norms: bool) -> None:
        super().__init__()
        self.heads, self.is_last = heads, is_last
        self.norms = nn.ModuleList(nn.RMSNorm(width // heads, 1e-6) for _ in range(4)) if norms else None
        self.image_mod = nn.Linear(width, 6 * width)
        self.text_mod = nn.Linear(width, (2 if is_last else 6) * width)
        self.qkv = nn.ModuleList(LoraLinear(width, width) for _ in range(6))
        self.out = nn.ModuleList(LoraLinear(width, width) for _ in range(1 if is_last else 2))
        self.mlps = nn.ModuleList(mlp(width, 4 * width) for _ in range(1 if is_last else 2))

    def forward(self, x: Tensor, c: Tensor, emb: Tensor) -> tuple[Tensor, Tensor]:
        def norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
            return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]

        emb = F.silu(emb)
        image = self.image_mod(emb).chunk(6, -1)
        text = self.text_mod(emb).chunk(2 if self.is_last else 6, -1)
        a, b = norm(x, image[0], image[1]), norm(c, text[0], text[1])
        def projected(index: int) -> Tensor:
            found = [self.qkv[index](a), self.qkv[index + 3](b)]
            if self.norms and index < 2:
                by_head = [x.unflatten(-1, (self.heads, -1)) for x in found]
                found = [self.norms[2 * index + j](x).flatten(2) for j, x in enumerate(by_head)]
            return torch.cat(found, 1)

        q, k, v = (projected(index) for index in range(3))
        both = attend(q, k, v, self.heads)
        x = x + image[2][:, None] * self.out[0](both[:, : x.shape[1]])
        x = x + image[5][:, None] * self.mlps[0](norm(x, image[3], image[4]))
        if not self.is_last:
            c = c + text[2][:, None] * self.out[1](both[:, x.shape[1] :])
            c = c + text[5][:, None] * self.mlps[1](norm(c, text[3], text[4]))
        return x, c


class Sd3(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        heads, patch = config["num_attention_heads"], config["patch_size"]
        width = heads * config["attention_head_dim"]
        self.channels, self.patch = config["in_channels"], patch
        self.text = (config["joint_attention_dim"], config["pooled_projection_dim"])
        self.embed = nn.Conv2d(self.channels, width, patch, patch)
        self.context = nn.Linear(self.text[0], width)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled = nn.Sequential(nn.Linear(self.text[1], width), nn.SiLU(), nn.Linear(width, width))
        count = config["num_layers"]
        norms = config.get("qk_norm") is not None
        self.blocks = nn.ModuleList(JointBlock(width, heads, i == count - 1, norms) for i in range(count))
        self.final = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, patch * patch * self.channels)

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        b, c, h, w = x_t.shape
        x = self.embed(x_t).flatten(2).transpose(1, 2)
        emb = self.time(sinusoids(1000 * t, 256).to(x.dtype)) + self.pooled(pooled)
        text = self.context(tokens)
        for block in self.blocks:
            x, text = checkpoint(block, x, text, emb, use_reentrant=False) if torch.is_grad_enabled() else block(x, text, emb)
        shift, scale = self.final(F.silu(emb)).chunk(2, -1)
        x = self.out(F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None])
        p = self.patch
        x = x.reshape(b, h // p, w // p, p, p, c)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


class Resnet(nn.Module):
    def __init__(self, into: int, out: int, time: int, groups: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(groups, into, 1e-5), nn.GroupNorm(groups, out, 1e-5)])
        self.convs = nn.ModuleList([nn.Conv2d(into, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)])
        self.time = nn.Linear(time, out)
        self.skip = nn.Conv2d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor) -> Tensor:
        y = self.convs[0](F.silu(self.norms[0](x))) + self.time(F.silu(emb))[:, :, None, None]
        return self.skip(x) + self.convs[1](F.silu(self.norms[1](y)))


class Attention(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.out = LoraLinear(width, width, False), LoraLinear(width, width)
        self.k, self.v = LoraLinear(context, width, False), LoraLinear(context, width, False)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.out(attend(self.q(x), self.k(c), self.v(c), self.heads))


class Transformer(nn.Module):
    """SDXL: `depth` blocks of attention on themselves and on the text."""

    def __init__(self, width: int, context: int, heads: int, depth: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, 1e-6)
        self.into, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
            parts = [norms, Attention(width, width, heads), Attention(width, context, heads)]
            self.layers.append(nn.ModuleList([*parts, nn.Linear(width, 8 * width), nn.Linear(4 * width, width)]))

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.into(self.norm(x).flatten(2).transpose(1, 2))
        for norms, own, cross, up, down in self.layers:
            a = norms[0](y)
            y = y + own(a, a)
            y = y + cross(norms[1](y), tokens)
            value, gate = up(norms[2](y)).chunk(2, -1)
            y = y + down(value * F.gelu(gate))
        return x + self.out(y).transpose(1, 2).reshape(b, c, h, w)


class Sdxl(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        widths, groups = config["block_out_channels"], config["norm_num_groups"]
        context, depths = config["cross_attention_dim"], config["transformer_layers_per_block"]
        heads, per_block = config["attention_head_dim"], config["layers_per_block"]
        attends = ["CrossAttn" in kind for kind in config["down_block_types"]]
        self.channels, self.sizes = config["in_channels"], config["addition_time_embed_dim"]
        projected, time = config["projection_class_embeddings_input_dim"], 4 * widths[0]
        self.text = (context, projected - 6 * self.sizes)
        self.width = widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], time), nn.SiLU(), nn.Linear(time, time))
        self.added = nn.Sequential(nn.Linear(projected, time), nn.SiLU(), nn.Linear(time, time))
        self.into = nn.Conv2d(self.channels, widths[0], 3, padding=1)

        def part(into: int, out: int, stage: int) -> nn.ModuleList:
            parts = nn.ModuleList([Resnet(into, out, time, groups)])
            if attends[stage]:
                parts.append(Transformer(out, context, heads[stage], depths[stage], groups))
            return parts

        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for stage, out in enumerate(widths):
            for _ in range(per_block):
                self.downs.append(part(width, out, stage))
                width = out
                skips.append(width)
            if stage < len(widths) - 1:
                self.downs.append(nn.ModuleList([nn.Conv2d(width, width, 3, 2, 1)]))
                skips.append(width)
        last = len(widths) - 1
        transformer = Transformer(width, context, heads[last], depths[last], groups)
        self.middle = nn.ModuleList([Resnet(width, width, time, groups), transformer, Resnet(width, width, time, groups)])
        for stage in reversed(range(len(widths))):
            for _ in range(per_block + 1):
                self.ups.append(part(width + skips.pop(), widths[stage], stage))
                width = widths[stage]
            if stage:
                self.ups.append(nn.ModuleList([nn.Conv2d(width, width, 3, padding=1)]))
        self.norm, self.out = nn.GroupNorm(groups, width, 1e-5), nn.Conv2d(width, self.channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        x = self.into(x_t)
        sizes = sinusoids(torch.ones(6, device=x.device), self.sizes).reshape(1, -1).expand(len(x), -1)
        emb = self.time(sinusoids(1000 * t, self.width).to(x.dtype)) + self.added(torch.cat([pooled, sizes.to(x.dtype)], -1))

        def run(part: nn.Module, x: Tensor) -> Tensor:
            return checkpoint(part, x, emb, tokens, use_reentrant=False) if torch.is_grad_enabled() else part(x, emb, tokens)

        kept = [x]
        for parts in self.downs:
            for one in parts:
                x = one(x) if isinstance(one, nn.Conv2d) else run(one, x)
            kept.append(x)
        for one in self.middle:
            x = run(one, x)
        for parts in self.ups:
            if isinstance(parts[0], nn.Conv2d):
                x = parts[0](F.interpolate(x, scale_factor=2.0, mode="nearest"))
                continue
            x = torch.cat([x, kept.pop()], 1)
            for one in parts:
                x = run(one, x)
        return self.out(F.silu(self.norm(x)))


class Peer:
    """Updates of DMD on one base with two adapters."""

    def __init__(self, net: nn.Module, side: int, tokens: int, batch: int, device: str, dtype: torch.dtype) -> None:
        self.net, self.batch, self.device, self.dtype = net, batch, device, dtype
        self.shape = (net.channels, side, side)
        trained: dict[str, list[nn.Parameter]] = {name: [] for name in RANKS}
        for name, parameter in net.named_parameters():
            parts = name.split(".")
            adapter = next((part for part in RANKS if part in parts), None)
            parameter.requires_grad_(adapter is not None)
            if adapter:
                trained[adapter].append(parameter)
                if "up" in parts:
                    nn.init.zeros_(parameter)
            else:
                parameter.data = parameter.data.to(dtype)
        self.trained = trained
        self.optimizers = {name: torch.optim.AdamW(group, lr=1e-5, fused=True) for name, group in trained.items()}
        width, pooled = net.text
        self.cond = tuple(torch.randn(batch, *shape, device=device, dtype=dtype) for shape in ((tokens, width), (pooled,)))
        self.null = tuple(torch.randn(1, *shape, device=device, dtype=dtype) for shape in ((tokens, width), (pooled,)))

    def x0(self, x_t: Tensor, t: Tensor, cond: tuple, adapter: str | None) -> Tensor:
        Active.name = adapter
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            velocity = self.net(x_t.to(self.dtype), t, *cond).float()
        return x_t - t[:, None, None, None] * velocity

    @staticmethod
    def noised(x0: Tensor, t: Tensor) -> Tensor:
        t = t[:, None, None, None]
        return (1 - t) * x0 + t * torch.randn_like(x0)

    def rollout(self) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.randn(self.batch, *self.shape, device=self.device)
        inputs, times, clean = [], [], []
        with torch.no_grad():
            for index, t in enumerate(TIMES):
                here, on = (self.batch * (4 - index - k) // 4 for k in (0, 1))
                times_here = torch.full((here,), t, device=self.device)
                x0 = self.x0(x, times_here, tuple(c[:here] for c in self.cond), "student")
                inputs.insert(0, x[on:])
                times.insert(0, times_here[on:])
                clean.insert(0, x0[on:])
                if on:
                    x = self.noised(x0[:on], torch.full((on,), (TIMES + [0.0])[index + 1], device=self.device))
        return torch.cat(inputs), torch.cat(times), torch.cat(clean)

    def step(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        Active.name = name  # blocks are computed again on the way back
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained[name], 1.0)
        self.optimizers[name].step()

    def times(self) -> Tensor:
        return torch.rand(self.batch, device=self.device).clamp(0.02, 0.98)

    def update(self) -> None:
        x_in, t_in, clean = self.rollout()
        t = self.times()
        x0 = self.x0(self.noised(clean, t), t, self.cond, "fake")
        self.step("fake", ((x0 - clean).square().mean((1, 2, 3)) / t.clamp_min(0.05).square()).mean())
        x0 = self.x0(x_in, t_in, self.cond, "student")
        with torch.no_grad():
            t = self.times()
            x_t = self.noised(x0, t)
            both = tuple(torch.cat([c, n.expand_as(c)]) for c, n in zip(self.cond, self.null, strict=True))
            conditional, unconditional = self.x0(torch.cat([x_t, x_t]), torch.cat([t, t]), both, None).chunk(2)
            real = unconditional + GUIDANCE * (conditional - unconditional)
            fake = self.x0(x_t, t, self.cond, "fake")
            target = x0 - (fake - real) / (x0 - real).abs().mean((1, 2, 3), keepdim=True)
        self.step("student", 0.5 * (x0 - target).square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    config = json.loads(args.config.read_text(encoding="utf-8"))
    with torch.device(args.device):
        net = {"SD3Transformer2DModel": Sd3, "UNet2DConditionModel": Sdxl}[config["_class_name"]](config)
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    peer = Peer(net, args.size // 8, args.tokens, args.batch_size, args.device, dtype)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if args.compile:  # by block: blocks of one form are compiled once, for each adapter, with and without graph
        torch._dynamo.config.recompile_limit = 64
        for module in net.modules():
            if isinstance(module, (JointBlock, Resnet, Transformer)):
                module.compile()

    def wait() -> None:
        if args.device == "cuda":
            torch.cuda.synchronize()

    seconds = []
    for _ in range(2 + args.updates):
        wait()
        started = time.perf_counter()
        peer.update()
        wait()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if args.device == "cuda" else None
    print(json.dumps({"seconds": seconds[2:], "first": seconds[0], "peak_bytes": peak}))


if __name__ == "__main__":
    main()
