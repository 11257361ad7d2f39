#!/usr/bin/env python3
"""Adapters of other tools through `dmdr import`: PEFT's, diffusers' and kohya's products are ours. Part of `make parity`.

For tiny networks of SD3, SD3.5-Medium and SDXL, PEFT makes adapters whose alpha is not their rank, with patterns and
rank-stabilised, and saves them; diffusers saves the same with its header, and reads it again; kohya's layout is written as
its scripts do, SD3's queries, keys and values in one layer. What `dmdr import` makes of each file is multiplied out and
compared with what the tool adds to each weight. The same files without their alpha have to mean something else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import diffusers
import peft
import torch
from export import CASES, DMDR, Case, write_base, write_config
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn

TOLERANCE = 1e-6
RANK, ALPHA = 4, 6.0  # the config's, which are those of no file
TARGETS = '["*attn*.to_q", "*attn*.to_k", "*attn*.to_v"]'
MODULES = r".*attn\d?\.to_[qkv]"  # the same as PEFT's pattern
PEFTS_PREFIX = "base_model.model."
Products = dict[str, torch.Tensor]


def settings(case: Case) -> dict[str, dict]:
    """Fields of PEFT's config: plain, rank-stabilised, and by layer, with names and a pattern."""
    one, some = {
        "sd3": ("transformer_blocks.0.attn.to_q", r"transformer_blocks\.1\.attn\.to_[qk]"),
        "sdxl": ("attentions.0.transformer_blocks.0.attn1.to_q", r"up_blocks\..*\.attn2\.to_[qk]"),
    }[case.family]
    plain = dict(r=2, lora_alpha=8)
    by_layer = dict(rank_pattern={one: 3, "to_v": 1}, alpha_pattern={some: 5, "to_v": 7, one: 11})
    return {
        "alpha": plain,
        "rslora": plain | dict(use_rslora=True),
        "patterns": plain | by_layer,
        "both": plain | by_layer | dict(use_rslora=True),
    }


def write_target(case: Case, here: Path) -> None:
    """The config that adapters are imported for."""
    write_config(case, here)
    path = here / "config.toml"
    lines = path.read_text().splitlines()
    [at] = [index for index, line in enumerate(lines) if line.startswith("tuning = ")]
    lines[at] = f"tuning = {{ lora = {{ rank = {RANK}, alpha = {ALPHA}, targets = {TARGETS} }} }}"
    path.write_text("\n".join(lines) + "\n")


def adapted(net: nn.Module, fields: dict) -> peft.PeftModel:
    """`net` with an adapter whose second factors are not zero, as they are at first."""
    model = peft.get_peft_model(net, peft.LoraConfig(target_modules=MODULES, **fields))
    torch.manual_seed(1)
    for name, param in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(param, std=0.5)
    return model


def adapter_layers(model: nn.Module) -> dict[str, LoraLayer]:
    layers = ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer))
    return {name.removeprefix(PEFTS_PREFIX): layer for name, layer in layers}


def products(model: nn.Module) -> Products:
    """What an adapter adds to each weight, in f64."""
    found = {}
    for name, layer in adapter_layers(model).items():
        [adapter] = layer.lora_A.keys()
        up, down = layer.lora_B[adapter].weight.detach(), layer.lora_A[adapter].weight.detach()
        found[name] = layer.scaling[adapter] * up.double() @ down.double()
    return found


def imported(here: Path, adapter: Path) -> Products:
    """The same of what `dmdr import` makes of `adapter`, a file or a folder."""
    arguments = ["--quiet", "import", "config.toml", adapter, "--output", "start.safetensors", "--overwrite"]
    subprocess.run([DMDR, *arguments], cwd=here, check=True)
    tensors = {name: tensor.double() for name, tensor in load_file(here / "start.safetensors").items()}
    stems = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    scaling = ALPHA / RANK
    return {stem: scaling * tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"] for stem in stems}


def error(ours: Products, theirs: Products) -> float:
    """The largest difference in a layer, relative to the layer's largest value."""
    assert theirs and ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in theirs)


def pipeline_of(case: Case) -> type:
    return diffusers.StableDiffusionXLPipeline if case.family == "sdxl" else diffusers.StableDiffusion3Pipeline


def save_with_diffusers(case: Case, part: str, model: peft.PeftModel, folder: Path) -> None:
    """As its training scripts do: names without PEFT's prefix, and PEFT's config in the header."""
    state = get_peft_model_state_dict(model)
    metadata = model.peft_config["default"].to_dict()
    metadata = {key: sorted(value) if isinstance(value, set) else value for key, value in metadata.items()}
    pipeline_of(case).save_lora_weights(
        folder,
        **{
            f"{part}_lora_layers": {name.removeprefix(PEFTS_PREFIX): tensor for name, tensor in state.items()},
            f"{part}_lora_adapter_metadata": metadata,
        },
    )


def kohya_layers(case: Case, shapes: dict[str, tuple[int, int]]) -> Iterator[tuple[str, list[str], int, int]]:
    """Name in kohya's scripts, the layers of diffusers that it is, inputs, and outputs of each of these."""
    for name, (fan_out, fan_in) in shapes.items():
        if case.family == "sdxl":
            yield f"lora_unet_{name.replace('.', '_')}", [name], fan_in, fan_out
        elif name.endswith(".to_q"):
            _, block, attention, _ = name.split(".")
            parts = [name.replace("to_q", part) for part in ("to_q", "to_k", "to_v")]
            yield f"lora_unet_joint_blocks_{block}_x_block_{attention}_qkv", parts, fan_in, fan_out


def save_as_kohya(case: Case, shapes: dict[str, tuple[int, int]], file: Path) -> Products:
    """Ranks and alphas that differ by layer, alpha an integer; gives what they mean by kohya's rule, alpha / rank."""
    means, tensors = {}, {}
    for index, (name, parts, fan_in, fan_out) in enumerate(kohya_layers(case, shapes)):
        rank, alpha = 1 + index % 3, 5 + index % 2
        generator = torch.Generator().manual_seed(index)
        down = torch.randn(rank, fan_in, generator=generator)
        up = torch.randn(fan_out * len(parts), rank, generator=generator)
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(alpha)}
        product = alpha / rank * up.double() @ down.double()
        means |= dict(zip(parts, product.chunk(len(parts)), strict=True))
    save_file(tensors, file, metadata={"ss_network_module": "networks.lora", "ss_network_dim": "2"})
    return means


def check(case: Case, here: Path) -> bool:
    part = write_base(case, here / "base")
    write_target(case, here)

    def network() -> nn.Module:
        return case.network.from_pretrained(str(here / "base" / part))  # PEFT writes it into its card

    errors, without, shapes = {}, [], {}
    for name, fields in settings(case).items():
        model = adapted(network(), fields)
        theirs = products(model)
        shapes = {layer: tuple(module.base_layer.weight.shape) for layer, module in adapter_layers(model).items()}
        model.save_pretrained(here / "peft")
        errors[f"PEFT's {name}"] = error(imported(here, here / "peft"), theirs)

        save_with_diffusers(case, part, model, here / "diffusers")
        file, net = here / "diffusers/pytorch_lora_weights.safetensors", network()
        state, *_, metadata = pipeline_of(case).lora_state_dict(
            file.parent, weight_name=file.name, return_lora_metadata=True
        )
        net.load_lora_adapter(state, prefix=part, metadata=metadata)
        errors[f"diffusers' {name}"] = max(error(imported(here, file.parent), products(net)), error(products(net), theirs))

        bare = here / "bare.safetensors"
        save_file(load_file(file), bare)
        without.append(error(imported(here, bare), theirs))
    means = save_as_kohya(case, shapes, here / "kohya.safetensors")
    errors["kohya's"] = error(imported(here, here / "kohya.safetensors"), means)
    told = ", ".join(f"{name} {value:.1e}" for name, value in errors.items())
    print(f"{case.name}: {told}; without alpha {min(without):.1e} or more")
    return max(errors.values()) < TOLERANCE < min(without)


def main() -> int:
    torch.set_num_threads(1)
    good = True
    for case in CASES:
        if case.family in ("sd3", "sdxl"):
            with tempfile.TemporaryDirectory() as folder:
                good &= check(case, Path(folder))
    if not good:
        print("error: an imported adapter adds something else than its own tool does", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
