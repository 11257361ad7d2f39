#!/usr/bin/env python3
"""Lists of the names under which ComfyUI looks for an adapter's layers: made from a checkout of it, not part of `make parity`.

    .venv-peer/bin/python tools/peer/comfyui.py PATH_OF_COMFYUI

A line has diffusers' name of a layer and ComfyUI's. SDXL's are those of the original checkpoint, which kohya's scripts
write as well; SD3's are OneTrainer's. The second attention of SD3.5-Medium ComfyUI knows by the original's names only;
that these are its layers is shown by diffusers' conversion of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

LISTS = Path(__file__).parents[2] / "crates/train/tests/comfyui"
SDXL = dict(
    num_res_blocks=[2, 2, 2],
    channel_mult=[1, 2, 4],
    transformer_depth=[0, 0, 2, 2, 10, 10],
    transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10],
    transformer_depth_middle=10,
)
DUAL = range(13)  # blocks of SD3.5-Medium with a second attention


def weights(names: dict) -> dict[str, str]:
    """Layers with a weight, without that ending."""
    end = ".weight"
    tensors = ((name, to if isinstance(to, str) else to[0]) for name, to in names.items())
    return {name.removesuffix(end): to.removesuffix(end) for name, to in tensors if name.endswith(end)}


def second_attentions() -> dict[str, str]:
    pairs = {}
    for block in DUAL:
        ours, theirs = f"transformer_blocks.{block}.attn2", f"joint_blocks.{block}.x_block.attn2"
        pairs |= {f"{ours}.to_{part}": f"{theirs}.qkv" for part in "qkv"} | {f"{ours}.to_out.0": f"{theirs}.proj"}
    return pairs


def confirm(pairs: dict[str, str]) -> None:
    """diffusers turns the original's names into the ones that the pairs say."""
    depth = 24
    checkpoint = {f"model.diffusion_model.{name}.weight": torch.zeros(3, 1) for name in set(pairs.values())}
    checkpoint |= {f"model.diffusion_model.{name}.bias": torch.zeros(3) for name in set(pairs.values())}

    class Rest(dict):
        """Whatever else the conversion asks for is there as well."""

        def __missing__(self, key: str) -> torch.Tensor:
            return torch.zeros(6, 1)

        def pop(self, key: str, *default: object) -> torch.Tensor:
            return super().pop(key, self[key])

    rest = {f"joint_blocks.{block}.x_block.attn.qkv.weight": torch.zeros(3, 1) for block in range(depth)}
    converted = convert_sd3_transformer_checkpoint_to_diffusers(Rest(checkpoint | rest))
    found = {name.removesuffix(".weight") for name in converted if ".attn2.to_" in name and name.endswith(".weight")}
    assert found == set(pairs), found ^ set(pairs)


def write(name: str, pairs: dict[str, str]) -> None:
    lines = sorted(f"{ours} {theirs}\n" for ours, theirs in pairs.items())
    (LISTS / f"{name}.txt").write_text("".join(lines))
    print(f"{name}: {len(lines)} layers")


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    sys.argv[1:] = ["--cpu"]  # ComfyUI reads the command line when it is imported
    from comfy.utils import mmdit_to_diffusers, unet_to_diffusers

    unet = weights(unet_to_diffusers(SDXL)).items()
    write("sdxl", {ours: "lora_unet_" + theirs.replace(".", "_") for ours, theirs in unet})
    for name, depth in [("sd3_medium", 24), ("sd35_large", 38), ("sd35_medium", 24)]:
        layers = weights(mmdit_to_diffusers(dict(depth=depth)))
        pairs = {ours: "lora_transformer_" + ours.replace(".", "_") for ours in layers}
        if name == "sd35_medium":
            second = second_attentions()
            confirm(second)
            pairs |= {ours: f"diffusion_model.{theirs}" for ours, theirs in second.items()}
        write(name, pairs)


if __name__ == "__main__":
    main()
