#!/usr/bin/env python3
"""Parity fixtures of the published backbones, and lists of the full-size models' parameters: part of `make parity`.

The references are diffusers' own classes, and for SiT the module of `sit.py`. A fixture is a small random network as
diffusers saves it (or, for SiT, one weight file) and beside it a file of values: inputs, outputs plain, with an adapter
and guided, and gradients with respect to the input and the adapter. Guided values come from two separate calls. The
output of the reference wholly in bf16 is there as a measure of what that precision costs the network. Gradients are of
the conditional output and of the guided prediction, in which both halves have their part.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import shutil
from collections.abc import Callable

import diffusers
import torch
from fixtures import FIXTURES, randomise
from models import adapter_params, inject_lora
from safetensors.torch import save_file
from sit import Sit
from torch import Tensor, nn

SHAPES = FIXTURES.parent / "shapes"
SCALE, GUIDANCE = 0.75, 3.0
STD = 0.25  # of the weights: 1 / sqrt(width), so that no part of a network fades beside another
Forward = Callable[..., Tensor]

SD3_MEDIUM = dict(
    sample_size=128,
    patch_size=2,
    in_channels=16,
    out_channels=16,
    num_layers=24,
    attention_head_dim=64,
    num_attention_heads=24,
    joint_attention_dim=4096,
    caption_projection_dim=1536,
    pooled_projection_dim=2048,
    pos_embed_max_size=192,
)
SD3_FULL = {
    "sd3_medium": SD3_MEDIUM,
    "sd35_medium": SD3_MEDIUM
    | dict(pos_embed_max_size=384, qk_norm="rms_norm", dual_attention_layers=tuple(range(13))),
    "sd35_large": SD3_MEDIUM
    | dict(num_layers=38, num_attention_heads=38, caption_projection_dim=2432, qk_norm="rms_norm"),
}
SIT_XL_2 = dict(
    input_size=32,
    patch_size=2,
    in_channels=4,
    hidden_size=1152,
    depth=28,
    num_heads=16,
    num_classes=1000,
    learn_sigma=True,
)


def flow_x0(x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
    return x_t - t[:, None, None, None] * v


def inject_pairs(net: nn.Module, targets: list[str]) -> dict[str, Tensor]:
    """LoRA beside the weights of the targeted layers, at the scale of the tests."""
    loras = inject_lora(net, targets, rank=2, alpha=4.0)
    for lora in loras.values():
        nn.init.normal_(lora.lora_b, std=0.1)
        lora.scale = SCALE
    return adapter_params(loras)


def inject_behind(net: nn.Module, targets: list[str]) -> dict[str, Tensor]:
    """Pairs behind queries and values of all attentions: `q + s q A B` with `s = alpha / rank` times the scale."""
    adapters = {}
    for name, attention in net.named_modules():
        if not name.endswith(".attn"):
            continue
        width = attention.proj.in_features
        pairs = {}
        for part in "QV":
            pairs[part] = a, b = torch.randn(width, 2, requires_grad=True), torch.randn(2, width, requires_grad=True)
            b.data *= 0.1
            adapters |= {f"{name}.lora.lora_{part}A": a, f"{name}.lora.lora_{part}B": b}

        def behind(_module, _inputs, qkv: Tensor, pairs=pairs) -> Tensor:
            q, k, v = qkv.chunk(3, dim=-1)
            q, v = (x + 2.0 * SCALE * (x @ a @ b) for x, (a, b) in ((q, pairs["Q"]), (v, pairs["V"])))
            return torch.cat([q, k, v], dim=-1)

        attention.qkv.register_forward_hook(behind)
    return adapters


def values(
    net: nn.Module,
    forward: Forward,
    x_t: Tensor,
    cond: dict,
    null: dict,
    targets: list[str],
    to_x0: Callable[[Tensor, Tensor, Tensor], Tensor] = flow_x0,
    inject: Callable[..., dict[str, Tensor]] = inject_pairs,
) -> dict:
    """What a test compares; `forward(net, x_t, t, **cond)` is the network in the convention of the Rust trait."""
    t = torch.tensor([0.3, 0.9])
    found = {"x_t": x_t.clone(), "t": t, "cotangent": torch.randn_like(x_t), "output": forward(net, x_t, t, **cond)}
    half_cond = {key: value.bfloat16() if value.is_floating_point() else value for key, value in cond.items()}
    found["output_bf16"] = forward(copy.deepcopy(net).bfloat16(), x_t.bfloat16(), t, **half_cond).float()
    adapters = inject(net, targets)
    x_t.requires_grad_()
    conditional, unconditional = forward(net, x_t, t, **cond), forward(net, x_t, t, **null)
    found["output_lora"] = conditional
    found["guided_x0"] = to_x0(x_t, t, unconditional + GUIDANCE * (conditional - unconditional))
    names = ["x_t"] + [f"lora.{name}" for name in adapters]
    for head, output in [("grad", conditional), ("grad_guided", found["guided_x0"])]:
        inputs = [x_t, *adapters.values()]
        gradients = torch.autograd.grad(output, inputs, found["cotangent"], retain_graph=True)
        found |= dict(zip([f"{head}.{name}" for name in names], gradients, strict=True))
    return found | {f"lora.{name}": value for name, value in adapters.items()}


def write_values(name: str, tensors: dict[str, Tensor], **metadata: str) -> None:
    path = FIXTURES / f"{name}.safetensors"
    metadata |= dict(torch=torch.__version__.split("+")[0], diffusers=diffusers.__version__)
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, path, metadata=metadata)
    size = path.stat().st_size + sum(file.stat().st_size for file in path.with_suffix("").glob("*"))
    print(f"{name}: {size // 1024} KiB")


def save_folder(name: str, net: diffusers.ModelMixin, max_shard_size: str = "1GB") -> None:
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    net.save_pretrained(folder, max_shard_size=max_shard_size)


def sd3(name: str, seed: int, max_shard_size: str = "1GB", **options) -> None:
    """Three blocks of width 16 on latents that are no square, so that a transposed or shifted crop shows."""
    torch.manual_seed(seed)
    net = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=10,
        pos_embed_max_size=6,
        **options,
    )
    randomise(net, STD)
    save_folder(name, net, max_shard_size)

    def forward(net: nn.Module, x_t: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        tokens, pooled = tokens.expand(len(x_t), -1, -1), pooled.expand(len(x_t), -1)
        return net(x_t, tokens, pooled, 1000 * t, return_dict=False)[0]

    cond = dict(tokens=torch.randn(2, 5, 12), pooled=torch.randn(2, 10))
    null = dict(tokens=torch.randn(1, 5, 12), pooled=torch.randn(1, 10))
    found = values(net, forward, torch.randn(2, 4, 6, 8), cond, null, ["transformer_blocks.*.attn*"])
    write_values(name, found | cond | {f"null.{key}": value for key, value in null.items()})


def sit(name: str, seed: int, learn_sigma: bool, data_at_one: bool, inject=inject_pairs) -> None:
    """`data_at_one`: the official checkpoints' time and sign, else those of REPA and of DMDR's demo."""
    torch.manual_seed(seed)
    config = SIT_XL_2 | dict(input_size=8, hidden_size=16, depth=2, num_heads=2, num_classes=5, learn_sigma=learn_sigma)
    net = Sit(**config)
    start = net.pos_embed.clone()
    randomise(net, STD)
    net.pos_embed.data = start
    weights = {f"weights.{key}": value.clone() for key, value in net.state_dict().items()}

    def forward(net: nn.Module, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        labels = labels.expand(len(x_t))
        return -net(x_t, 1 - t, labels) if data_at_one else net(x_t, t, labels)

    labels, null = torch.tensor([3, 1]), torch.tensor([5])
    targets = ["blocks.*.attn.*"]
    found = values(net, forward, torch.randn(2, 4, 8, 8), dict(labels=labels), dict(labels=null), targets, inject=inject)
    config["interpolant"] = "data_at_one" if data_at_one else "data_at_zero"
    write_values(name, weights | found | {"labels": labels.float()}, config=json.dumps(config))


def z_image(name: str, seed: int) -> None:
    """Captions of 5 and 33 tokens: padded to 32 and 64, which moves the image; its 6 patches are padded to 32."""
    torch.manual_seed(seed)
    net = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=12,
        axes_dims=[4, 2, 2],
        axes_lens=[80, 8, 8],
    )
    net.t_embedder.mlp = nn.Sequential(nn.Linear(256, 12), nn.SiLU(), nn.Linear(12, 16))  # 1024 in the original
    randomise(net, STD)
    save_folder(name, net)

    def forward(net: nn.Module, x_t: Tensor, t: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        tokens, lengths = tokens.expand(len(x_t), -1, -1), lengths.expand(len(x_t))
        captions = [caption[:length] for caption, length in zip(tokens, lengths.tolist(), strict=True)]
        frames = net(list(x_t[:, :, None]), 1 - t, captions, return_dict=False)[0]
        return -torch.stack(frames)[:, :, 0]

    cond = dict(tokens=torch.randn(2, 33, 12), lengths=torch.tensor([5, 33]))
    null = dict(tokens=torch.randn(1, 33, 12), lengths=torch.tensor([3]))
    found = values(net, forward, torch.randn(2, 4, 4, 6), cond, null, ["layers.*.attention.*"])
    inputs = cond | {f"null.{key}": value for key, value in null.items()}
    write_values(name, found | {key: value.float() for key, value in inputs.items()})


def list_shapes(name: str, build: Callable[[], nn.Module]) -> None:
    """One line for each parameter and buffer; layers that differ only in their number share a line as `{first..last}`."""
    with torch.device("meta"):
        tensors = build().state_dict()
    groups: dict[tuple, list[int]] = {}
    for key, tensor in tensors.items():
        shape = " ".join(map(str, tensor.shape))
        split = re.fullmatch(r"(.*(?:blocks?|layers|refiner)\.)(\d+)(\..*)", key)
        head, index, tail = split.groups() if split else (key, "", "")
        groups.setdefault((head, tail, shape), []).append(int(index) if index else -1)
    lines = []
    for (head, tail, shape), indices in groups.items():
        for _, run in itertools.groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
            run = [index for _, index in run]
            number = "" if run[0] < 0 else f"{{{run[0]}..{run[-1]}}}"
            lines.append(f"{head}{number}{tail} {shape}".rstrip())
    SHAPES.mkdir(exist_ok=True)
    path = SHAPES / f"{name}.txt"
    path.write_text("\n".join(lines) + "\n")
    total = sum(tensor.numel() for tensor in tensors.values())
    print(f"{name}: {len(tensors)} tensors, {total} numbers, {path.stat().st_size} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sd3("sd3_plain", 1)
    sd3("sd3_qk_norm", 2, qk_norm="rms_norm")
    sd3("sd3_dual", 3, max_shard_size="60KB", qk_norm="rms_norm", dual_attention_layers=(0, 1))
    sit("sit_official", 4, learn_sigma=True, data_at_one=True)
    sit("sit_repa", 5, learn_sigma=False, data_at_one=False)
    sit("sit_output_lora", 7, learn_sigma=False, data_at_one=False, inject=inject_behind)
    z_image("z_image", 6)
    for name, config in SD3_FULL.items():
        list_shapes(name, lambda config=config: diffusers.SD3Transformer2DModel(**config))
    list_shapes("sit_xl_2", lambda: Sit(**SIT_XL_2))
    list_shapes("z_image", diffusers.ZImageTransformer2DModel)
