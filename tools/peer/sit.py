"""SiT (arXiv 2401.08740) in plain PyTorch, written from the paper's and DiT's (2212.09748) formulas.

Parameters carry the names of the published checkpoints; the network is class-conditional and takes raw times.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from models import Attention, Mlp, modulate
from torch import Tensor, nn


def positions(side: int, dim: int) -> Tensor:
    """`[1, side * side, dim]`: the first half of the channels encodes the column, the second the row (MAE's routine)."""
    quarter = dim // 4
    frequencies = 10_000 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    index = torch.arange(side * side)
    parts = []
    for coordinate in (index % side, index // side):
        angles = coordinate[:, None] * frequencies
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float()[None]


def time_features(t: Tensor, dim: int = 256) -> Tensor:
    half = dim // 2
    angles = t[:, None] * torch.exp(torch.arange(half) * (-math.log(10_000) / half))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class PatchEmbed(nn.Module):
    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class TimeEmbedder(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(time_features(t).to(self.mlp[0].weight.dtype))


class LabelEmbedder(nn.Module):
    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, dim)  # the last row is the null class

    def forward(self, labels: Tensor) -> Tensor:
        return self.embedding_table(labels)


def adaln(dim: int, parts: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(dim, parts * dim))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.mlp = Mlp(dim, 4 * dim)
        self.adaLN_modulation = adaln(dim, 6)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1))
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(dim, width)
        self.adaLN_modulation = adaln(dim, 2)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, dim=-1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


class Sit(nn.Module):
    """Velocity for `x [B, C, H, W]`, `t [B]`, `labels [B]`; of a head that also learns the variance, the first half."""

    def __init__(
        self,
        input_size: int,
        patch_size: int,
        in_channels: int,
        hidden_size: int,
        depth: int,
        num_heads: int,
        num_classes: int,
        learn_sigma: bool,
    ) -> None:
        super().__init__()
        self.patch, self.channels, self.learn_sigma = patch_size, in_channels, learn_sigma
        side = input_size // patch_size
        self.pos_embed = nn.Parameter(positions(side, hidden_size), requires_grad=False)
        self.x_embedder = PatchEmbed(in_channels, hidden_size, patch_size)
        self.t_embedder = TimeEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size)
        self.blocks = nn.ModuleList(Block(hidden_size, num_heads) for _ in range(depth))
        outputs = in_channels * (2 if learn_sigma else 1)
        self.final_layer = FinalLayer(hidden_size, patch_size * patch_size * outputs)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        b, _, height, width = x.shape
        c = self.t_embedder(t) + self.y_embedder(labels)
        tokens = self.x_embedder(x) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens, c)
        pixels = self.final_layer(tokens, c)
        pixels = pixels.reshape(b, height // self.patch, width // self.patch, self.patch, self.patch, -1)
        pixels = torch.einsum("bhwpqc->bchpwq", pixels).reshape(b, -1, height, width)
        return pixels[:, : self.channels]
