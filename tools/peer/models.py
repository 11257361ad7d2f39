"""The emoji world's networks in plain PyTorch, as a researcher would write them.

They read the same weight files as the Rust networks. `fixtures.py` makes the parity fixtures from them and `steps.py`
times them as the peer of `make bench`.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sincos_positions(side: int, dim: int) -> Tensor:
    """Fixed 2-D positions `[side * side, dim]`: half the channels encode the row, half the column."""
    quarter = dim // 4
    frequencies = torch.exp(torch.arange(quarter) * (-math.log(10_000) / quarter))
    angles = torch.arange(side)[:, None] * frequencies[None]
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None].expand(side, side, dim // 2)
    columns = axis[None].expand(side, side, dim // 2)
    return torch.cat([rows, columns], dim=2).reshape(side * side, dim)


def timestep_features(t: Tensor, dim: int = 256) -> Tensor:
    half = dim // 2
    frequencies = torch.exp(torch.arange(half) * (-math.log(10_000) / half))
    angles = t[:, None] * 1000 * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def patchify(x: Tensor, patch: int) -> Tensor:
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // patch, patch, w // patch, patch).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, (h // patch) * (w // patch), c * patch * patch)


def unpatchify(tokens: Tensor, patch: int, channels: int) -> Tensor:
    b, n, _ = tokens.shape
    side = math.isqrt(n)
    x = tokens.reshape(b, side, side, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, channels, side * patch, side * patch)


class Lora(nn.Module):
    """A linear layer or convolution with a low-rank adapter (PEFT's convention) that is applied at `scale`."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int, alpha: float) -> None:
        super().__init__()
        self.layer = layer
        outputs, *inputs = layer.weight.shape
        self.lora_a = nn.Parameter(torch.empty(rank, *inputs))
        self.lora_b = nn.Parameter(torch.zeros(outputs, rank, *[1] * (len(inputs) - 1)))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.scaling = alpha / rank
        self.scale = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        if self.scale == 0:
            return y
        if isinstance(self.layer, nn.Conv2d):
            low = F.conv2d(x, self.lora_a, stride=self.layer.stride, padding=self.layer.padding)
            return y + F.conv2d(low, self.lora_b) * (self.scale * self.scaling)
        return y + F.linear(F.linear(x, self.lora_a), self.lora_b) * (self.scale * self.scaling)


def inject_lora(net: nn.Module, targets: list[str], rank: int, alpha: float) -> dict[str, Lora]:
    """Adapters on the layers of `net` whose names match one of the glob patterns `targets`, by name."""
    found = {}
    for prefix, parent in list(net.named_modules()):
        for child_name, child in list(parent.named_children()):
            name = f"{prefix}.{child_name}" if prefix else child_name
            if isinstance(child, (nn.Linear, nn.Conv2d)) and any(fnmatchcase(name, target) for target in targets):
                found[name] = Lora(child, rank, alpha)
                setattr(parent, child_name, found[name])
    return found


def adapter_params(loras: dict[str, Lora]) -> dict[str, nn.Parameter]:
    """The parameters of `loras` under PEFT's names."""
    params = {}
    for name, lora in loras.items():
        params |= {f"{name}.lora_A.weight": lora.lora_a, f"{name}.lora_B.weight": lora.lora_b}
    return params


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Attention(nn.Module):
    """Self-attention, with extra context keys and values and query-key norms where `context_dim` is given."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.context_kv = nn.Linear(context_dim, 2 * dim) if context_dim else None
        if context_dim:
            self.norm_q = nn.RMSNorm(dim // heads, eps=1e-6)
            self.norm_k = nn.RMSNorm(dim // heads, eps=1e-6)

    def forward(self, x: Tensor, context: Tensor | None = None, causal: bool = False) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).unbind(2)
        if self.context_kv is not None:
            context_k, context_v = self.context_kv(context).reshape(b, -1, 2, self.heads, d // self.heads).unbind(2)
            k, v = torch.cat([k, context_k], dim=1), torch.cat([v, context_v], dim=1)
            q, k = self.norm_q(q), self.norm_k(k)
            q, k = q.to(v.dtype), k.to(v.dtype)
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.proj(y.transpose(1, 2).reshape(b, n, d))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (scale + 1) + shift


class DitBlock(nn.Module):
    def __init__(self, dim: int, heads: int, context_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(dim, heads, context_dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.mlp = Mlp(dim, 4 * dim)
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(self, x: Tensor, c: Tensor, context: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1), context)
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    def __init__(self, dim: int, patch_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.modulation, self.linear = nn.Linear(dim, 2 * dim), nn.Linear(dim, patch_dim)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=-1)
        return self.linear(modulate(self.norm(x), shift, scale))


class Dit(nn.Module):
    """Raw output for `x_t [B, C, H, W]`, `t [B]`, text tokens `[B, L, context_dim]` and pooled text `[B, pooled_dim]`."""

    def __init__(
        self,
        image_size: int,
        channels: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        context_dim: int,
        pooled_dim: int,
    ) -> None:
        super().__init__()
        self.patch, self.channels = patch, channels
        patch_dim = channels * patch * patch
        self.x_embedder = nn.Linear(patch_dim, dim)
        self.register_buffer("positions", sincos_positions(image_size // patch, dim), persistent=False)
        self.t_embedder = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.pooled_embedder = nn.Linear(pooled_dim, dim)
        self.blocks = nn.ModuleList(DitBlock(dim, heads, context_dim) for _ in range(depth))
        self.final_layer = FinalLayer(dim, patch_dim)

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        c = F.silu(self.t_embedder(timestep_features(t)) + self.pooled_embedder(pooled))
        x = self.x_embedder(patchify(x_t, self.patch)) + self.positions
        for block in self.blocks:
            x = block(x, c, tokens)
        return unpatchify(self.final_layer(x, c), self.patch, self.channels)


class ClipBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.attn(self.norm1(x), causal=causal)
        return x + self.mlp(self.norm2(x))


class TextTower(nn.Module):
    def __init__(self, vocabulary: int, max_tokens: int, end_token: int, dim: int, depth: int, heads: int, embed: int) -> None:
        super().__init__()
        self.end_token = end_token
        self.token_embedding = nn.Embedding(vocabulary, dim)
        self.position_embedding = nn.Embedding(max_tokens, dim)
        self.blocks = nn.ModuleList(ClipBlock(dim, heads) for _ in range(depth))
        self.norm, self.projection = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, embed)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token features `[B, L, dim]` and the projected feature of the first end token `[B, embed]`."""
        x = self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, causal=True)
        x = self.norm(x)
        end = (ids == self.end_token).int().argmax(dim=1)
        return x, self.projection(x[torch.arange(len(ids)), end])


class ImageTower(nn.Module):
    def __init__(self, image_size: int, patch: int, dim: int, depth: int, heads: int, embed: int) -> None:
        super().__init__()
        self.patch = patch
        self.patch_embedding = nn.Linear(3 * patch * patch, dim)
        self.register_buffer("positions", sincos_positions(image_size // patch, dim), persistent=False)
        self.blocks = nn.ModuleList(ClipBlock(dim, heads) for _ in range(depth))
        self.norm, self.projection = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, embed)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embedding(patchify(images * 2 - 1, self.patch)) + self.positions
        for block in self.blocks:
            x = block(x, causal=False)
        return self.projection(self.norm(x).mean(dim=1))


class WorldClip(nn.Module):
    """Image and text tower; `score` is the cosine of each image with its own caption."""

    def __init__(self, text: dict, image: dict, embed: int) -> None:
        super().__init__()
        self.text = TextTower(**text, embed=embed)
        self.image = ImageTower(**image, embed=embed)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def score(self, images: Tensor, ids: Tensor) -> Tensor:
        image = F.normalize(self.image(images), dim=-1, eps=1e-6)
        text = F.normalize(self.text(ids)[1], dim=-1, eps=1e-6)
        return (image * text).sum(dim=-1)
