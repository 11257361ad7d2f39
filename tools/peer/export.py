#!/usr/bin/env python3
"""Round trip of `dmdr export`: diffusers draws our picture from our files. Part of `make parity`.

Tiny SD3 and SDXL pipelines (text encoders and autoencoders of the parity fixtures, a random network) are distilled for a
few updates by the release binary; the student is exported as adapter and as whole network, and diffusers, with the
exported scheduler and the same noise, has to draw what `dmdr sample` drew. The teacher's network, which has to draw
something else, shows that the comparison can fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from dmd import reseed
from fixtures import FIXTURES
from safetensors.numpy import load_file
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
DMDR = ROOT / "target/release/dmdr"
SIDE, SEED, PROMPT = 24, 5, "a blue dog"
TOLERANCE = 1e-3
SCHEDULERS = {"sd3": diffusers.FlowMatchEulerDiscreteScheduler, "sdxl": diffusers.LCMScheduler}
GRIDS = {"sd3": dict(sigmas=[1.0, 0.75, 0.5, 0.25]), "sdxl": dict(timesteps=[999, 749, 499, 249])}


def network(kind: str, folder: Path) -> nn.Module:
    classes = {"sd3": diffusers.SD3Transformer2DModel, "sdxl": diffusers.UNet2DConditionModel}
    return classes[kind].from_pretrained(folder)


def config_of(fixture: str, **changes) -> dict:
    fields = json.loads((FIXTURES / fixture / "config.json").read_text())
    return {key: value for key, value in fields.items() if not key.startswith("_")} | changes


def write_base(kind: str, base: Path) -> str:
    """A pipeline's folder; gives the name of the network's."""
    shutil.copytree(FIXTURES / "text" / kind, base)
    shutil.copytree(FIXTURES / f"vae_{kind}", base / "vae")
    torch.manual_seed(0)
    if kind == "sd3":
        part, name = "transformer", "StableDiffusion3Pipeline"
        fields = config_of("sd3_plain", in_channels=6, out_channels=6, joint_attention_dim=24, pooled_projection_dim=16)
        net = diffusers.SD3Transformer2DModel(**fields)
    else:
        part, name = "unet", "StableDiffusionXLPipeline"
        net = diffusers.UNet2DConditionModel(**config_of("sdxl", cross_attention_dim=20))
    for key, param in net.named_parameters():
        nn.init.normal_(param, std=0.25)
        if param.dim() == 1 and key.endswith("weight"):
            param.data += 1  # norms must let through what the adapter changes
    net.save_pretrained(base / part)
    (base / "model_index.json").write_text(json.dumps({"_class_name": name, "_diffusers_version": diffusers.__version__}))
    return part


def write_config(here: Path) -> None:
    """The smoke test's method on the pipeline, without rewards and evaluation, and fast enough to move in a few updates."""
    text = (ROOT / "configs/smoke.toml").read_text()
    at = text.index
    world = f'[world.prompts]\ntrain = "train.txt"\nvalidation = "train.txt"\nsize = {SIDE}\nembeddings = "cache"\n\n'
    teacher = '[teacher]\nweights = "base"\nnum_steps = 2\nguidance = 3.0\n\n'
    method = text[at("[student]") : at("[method.dmdr.rl]")] + text[at("[optim.generator]") : at("[evaluation]")]
    text = text[: at("[world]")] + world + teacher + method
    for old, new in {
        "seed = 0\n": 'seed = 0\nprecision = "f32"\n',
        "evaluate_every = 3": "evaluate_every = 0",
        'tuning = "full"': 'tuning = { lora = { rank = 2, alpha = 6.0, targets = ["*attn*.to_*"] } }',
        'targets = ["blocks.*"]': 'targets = ["*to_q"]',
        "num_steps = 2    ": "num_steps = 4    ",
        "batch_size = 2": "batch_size = 4",
        "lr = 1e-4": "lr = 5e-2",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (here / "config.toml").write_text(text)
    (here / "train.txt").write_text("a red cat\ntwo boats\na ball\n")


def pipeline(kind: str, base: Path, net: nn.Module, scheduler) -> diffusers.DiffusionPipeline:
    def part(cls: type, name: str):
        return cls.from_pretrained(base / name)

    tokenizer = transformers.AutoTokenizer
    clip, projected = transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection
    parts = dict(
        scheduler=scheduler,
        vae=part(diffusers.AutoencoderKL, "vae"),
        text_encoder=part(projected if kind == "sd3" else clip, "text_encoder"),
        text_encoder_2=part(projected, "text_encoder_2"),
        tokenizer=part(tokenizer, "tokenizer"),
        tokenizer_2=part(tokenizer, "tokenizer_2"),
    )
    if kind == "sdxl":
        return diffusers.StableDiffusionXLPipeline(unet=net, add_watermarker=False, **parts)
    t5 = dict(text_encoder_3=part(transformers.T5EncoderModel, "text_encoder_3"), tokenizer_3=part(tokenizer, "tokenizer_3"))
    return diffusers.StableDiffusion3Pipeline(transformer=net, **parts, **t5)


def draw(kind: str, pipe: diffusers.DiffusionPipeline) -> np.ndarray:
    """From the noise and the states of the generator that `dmdr sample --seed` has."""
    channels = pipe.vae.config.latent_channels
    side = SIDE // pipe.vae_scale_factor
    reseed(SEED)
    noise = torch.randn(channels, side, side)[None]
    reseed(SEED)
    arguments = dict(num_inference_steps=4, guidance_scale=1.0, height=SIDE, width=SIDE, output_type="np")
    return pipe(PROMPT, latents=noise, **GRIDS[kind], **arguments).images[0]


def check(kind: str, here: Path) -> bool:
    def dmdr(*arguments: str) -> None:
        subprocess.run([DMDR, "--quiet", *arguments], cwd=here, check=True)

    part = write_base(kind, here / "base")
    write_config(here)
    dmdr("train", "config.toml")
    for layout in ("peft", "diffusers"):
        dmdr("export", "runs/smoke", "--layout", layout, "--dtype", "f32", "--output", layout)
    sample = ["--prompt", PROMPT, "--count", "1", "--who", "student", "--seed", str(SEED)]
    dmdr("sample", "runs/smoke", *sample, "--tensors", "ours.safetensors")
    ours = load_file(here / "ours.safetensors")["images"][0].transpose(1, 2, 0)

    scheduler = SCHEDULERS[kind].from_pretrained(here / "peft/scheduler")
    made = lambda net: pipeline(kind, here / "base", net, scheduler)  # noqa: E731
    adapted = made(network(kind, here / "base" / part))
    adapted.load_lora_weights(here / "peft", weight_name="pytorch_lora_weights.safetensors")
    pictures = {
        "adapter": draw(kind, adapted),
        "whole network": draw(kind, made(network(kind, here / "diffusers" / part))),
        "teacher's network": draw(kind, made(network(kind, here / "base" / part))),
    }
    errors = {name: float(np.abs(picture - ours).max()) for name, picture in pictures.items()}
    print(f"{kind}: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    teacher = errors.pop("teacher's network")
    return max(errors.values()) < TOLERANCE < teacher


def main() -> int:
    torch.set_num_threads(1)
    good = True
    for kind in SCHEDULERS:
        with tempfile.TemporaryDirectory() as folder:
            good &= check(kind, Path(folder))
    if not good:
        print("error: diffusers does not draw our picture", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
