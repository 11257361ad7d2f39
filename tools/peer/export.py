#!/usr/bin/env python3
"""Round trip of `dmdr export`: diffusers draws our pictures from our files. Part of `make parity`.

Tiny pipelines of each family (text encoders and autoencoders of the parity fixtures, a random network) are distilled for a
few updates by the release binary; the student is exported as adapter, under the names of other tools and as whole network,
and diffusers, with the exported scheduler and the same noise, has to draw what `dmdr sample` drew. The teacher, with guidance
and its own steps, is drawn by diffusers from the base. The teacher's network in the student's place has to draw something else,
which shows that the comparison can fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
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
GUIDANCE, TEACHER_STEPS, TEACHER_SHIFT = 3.0, 3, 2.0
SDXL = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


@dataclass(frozen=True)
class Case:
    """A network of a family; `targets` of its adapter are the defaults if there are none."""

    name: str
    family: str
    fixture: str
    shift: float = 1.0
    targets: str = ""
    conditioning_time: float | None = None  # of a student of one step
    tokens: int | None = None  # that T5 reads, if not as many as usual

    @property
    def steps(self) -> int:
        return 4 if self.conditioning_time is None else 1

    @property
    def is_flow(self) -> bool:
        return self.family != "sdxl"

    @property
    def scheduler(self) -> type:
        return diffusers.FlowMatchEulerDiscreteScheduler if self.is_flow else diffusers.LCMScheduler

    @property
    def network(self) -> type:
        classes = dict(
            sd3=diffusers.SD3Transformer2DModel,
            sdxl=diffusers.UNet2DConditionModel,
            z_image=diffusers.ZImageTransformer2DModel,
        )
        return classes[self.family]

    def grid(self, steps: int) -> dict:
        """Equal steps, which the scheduler shifts; one step may be told another time."""
        if steps == 1 and self.conditioning_time is not None:
            return dict(timesteps=[round(1000 * self.conditioning_time) - 1])
        if self.is_flow:
            return dict(sigmas=[1 - i / steps for i in range(steps)])
        return dict(timesteps=[round(1000 * (1 - i / steps)) - 1 for i in range(steps)])

    def guided(self, scale: float) -> dict:
        """Z-Image's pipeline counts from 0."""
        return dict(guidance_scale=scale - 1 if self.family == "z_image" else scale)

    def read(self) -> dict:
        """What the pipeline is told of the length of texts."""
        return {} if self.tokens is None else dict(max_sequence_length=self.tokens)


CASES = [
    Case("SD3", "sd3", "sd3_plain", targets='["*attn*.to_*"]'),
    Case("SD3.5-Medium", "sd3", "sd3_dual", shift=3.0),
    Case("SD3 with 128 tokens", "sd3", "sd3_plain", targets='["*attn*.to_*"]', tokens=128),
    Case("SDXL", "sdxl", "sdxl"),
    Case("SDXL in one step", "sdxl", "sdxl", conditioning_time=0.4),
    Case("Z-Image", "z_image", "z_image", shift=3.0),
]


def config_of(fixture: str, **changes) -> dict:
    fields = json.loads((FIXTURES / fixture / "config.json").read_text())
    return {key: value for key, value in fields.items() if not key.startswith("_")} | changes


def write_base(case: Case, base: Path) -> str:
    """A pipeline's folder; gives the name of the network's."""
    shutil.copytree(FIXTURES / "text" / case.family, base)
    shutil.copytree(FIXTURES / ("vae_sdxl" if case.family == "sdxl" else "vae_sd3"), base / "vae")
    torch.manual_seed(0)
    part, name, changes = {
        "sd3": (
            "transformer",
            "StableDiffusion3Pipeline",
            dict(in_channels=6, out_channels=6, joint_attention_dim=24, pooled_projection_dim=16),
        ),
        "sdxl": ("unet", "StableDiffusionXLPipeline", dict(cross_attention_dim=20)),
        "z_image": ("transformer", "ZImagePipeline", dict(in_channels=6, cap_feat_dim=16)),
    }[case.family]
    net = case.network(**config_of(case.fixture, **changes))
    for key, param in net.named_parameters():
        nn.init.normal_(param, std=0.25)
        if param.dim() == 1 and key.endswith("weight"):
            param.data += 1  # norms must let through what the adapter changes
    net.save_pretrained(base / part)
    (base / "model_index.json").write_text(json.dumps({"_class_name": name, "_diffusers_version": diffusers.__version__}))
    return part


def write_config(case: Case, here: Path) -> None:
    """The smoke test's method on the pipeline, without rewards and evaluation, and fast enough to move in a few updates."""
    text = (ROOT / "configs/smoke.toml").read_text()
    at = text.index
    world = f'[world.prompts]\ntrain = "train.txt"\nvalidation = "train.txt"\nsize = {SIDE}\nembeddings = "cache"\n\n'
    teacher = f'[teacher]\nweights = "base"\nnum_steps = {TEACHER_STEPS}\nguidance = {GUIDANCE}\n'
    teacher += "" if case.tokens is None else f"max_sequence_length = {case.tokens}\n"
    teacher += f"shift = {TEACHER_SHIFT}\n\n" if case.is_flow else "\n"
    told = "" if case.conditioning_time is None else f"conditioning_time = {case.conditioning_time}\n"
    targets = f", targets = {case.targets}" if case.targets else ""
    method = text[at("[student]") : at("[method.dmdr.rl]")] + text[at("[optim.student]") : at("[evaluation]")]
    text = text[: at("[world]")] + world + teacher + method
    for old, new in {
        "seed = 0\n": 'seed = 0\nprecision = "f32"\n',
        "evaluate_every = 3": "evaluate_every = 0",
        'tuning = "full"': f"tuning = {{ lora = {{ rank = 2, alpha = 6.0{targets} }} }}",
        'targets = ["blocks.*"]': 'targets = ["*to_q"]',
        "num_steps = 2    ": f"{told}num_steps = {case.steps}    ",
        "shift = 1.0    ": f"shift = {case.shift}    ",
        "batch_size = 2": "batch_size = 4",
        "lr = 1e-4": "lr = 5e-2",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (here / "config.toml").write_text(text)
    (here / "train.txt").write_text("a red cat\ntwo boats\na ball\n")


def pipeline(case: Case, base: Path, net: nn.Module, scheduler) -> diffusers.DiffusionPipeline:
    def part(cls: type, name: str):
        return cls.from_pretrained(base / name)

    tokenizer = transformers.AutoTokenizer
    parts = dict(scheduler=scheduler, vae=part(diffusers.AutoencoderKL, "vae"))
    if case.family == "z_image":
        text = dict(text_encoder=part(transformers.Qwen3Model, "text_encoder"), tokenizer=part(tokenizer, "tokenizer"))
        return diffusers.ZImagePipeline(transformer=net, **parts, **text)
    clip, projected = transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection
    parts |= dict(
        text_encoder=part(projected if case.family == "sd3" else clip, "text_encoder"),
        text_encoder_2=part(projected, "text_encoder_2"),
        tokenizer=part(tokenizer, "tokenizer"),
        tokenizer_2=part(tokenizer, "tokenizer_2"),
    )
    if case.family == "sdxl":
        return diffusers.StableDiffusionXLPipeline(unet=net, add_watermarker=False, **parts)
    t5 = dict(text_encoder_3=part(transformers.T5EncoderModel, "text_encoder_3"), tokenizer_3=part(tokenizer, "tokenizer_3"))
    return diffusers.StableDiffusion3Pipeline(transformer=net, **parts, **t5)


def draw(case: Case, pipe: diffusers.DiffusionPipeline, steps: int | None = None, guidance: float = 1.0) -> np.ndarray:
    """From the noise and the states of the generator that `dmdr sample --seed` has."""
    steps = case.steps if steps is None else steps
    pipe.set_progress_bar_config(disable=True)
    finds_its_times = isinstance(pipe.scheduler, diffusers.DDIMScheduler)
    channels = pipe.vae.config.latent_channels
    side = SIDE // pipe.vae_scale_factor
    reseed(SEED)
    noise = torch.randn(channels, side, side)[None]
    reseed(SEED)
    grid = {} if finds_its_times else case.grid(steps)
    arguments = dict(num_inference_steps=steps, height=SIDE, width=SIDE, output_type="np")
    return pipe(PROMPT, latents=noise, **grid, **case.guided(guidance), **case.read(), **arguments).images[0]


def teacher_scheduler(case: Case):
    if case.is_flow:
        return diffusers.FlowMatchEulerDiscreteScheduler(shift=TEACHER_SHIFT)
    return diffusers.DDIMScheduler(**SDXL, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False)


def check(case: Case, here: Path) -> bool:
    def dmdr(*arguments: str) -> None:
        subprocess.run([DMDR, "--quiet", *arguments], cwd=here, check=True, stdout=subprocess.DEVNULL)

    def sampled(who: str) -> np.ndarray:
        arguments = ["--prompt", PROMPT, "--count", "1", "--seed", str(SEED)]
        dmdr("sample", "runs/smoke", *arguments, "--who", who, "--tensors", f"{who}.safetensors")
        return load_file(here / f"{who}.safetensors")["images"][0].transpose(1, 2, 0)

    part = write_base(case, here / "base")
    write_config(case, here)
    dmdr("train", "config.toml")
    for layout in ("peft", "comfyui", "diffusers"):
        dmdr("export", "runs/smoke", "--layout", layout, "--dtype", "f32", "--output", layout)
    scheduler = case.scheduler.from_pretrained(here / "peft/scheduler")

    def made(folder: Path, scheduler=scheduler) -> diffusers.DiffusionPipeline:
        return pipeline(case, here / "base", case.network.from_pretrained(folder), scheduler)

    def adapted(layout: str, file: str) -> diffusers.DiffusionPipeline:
        pipe = made(here / "base" / part)
        pipe.load_lora_weights(here / layout, weight_name=file)
        return pipe

    base = made(here / "base" / part)
    pictures = {
        "adapter": draw(case, adapted("peft", "pytorch_lora_weights.safetensors")),
        "whole network": draw(case, made(here / "diffusers" / part)),
        "teacher's network": draw(case, base),
    }
    if case.family == "sdxl":
        pictures["adapter under kohya's names"] = draw(case, adapted("comfyui", "comfyui_lora.safetensors"))
    student = sampled("student")
    errors = {name: float(np.abs(picture - student).max()) for name, picture in pictures.items()}
    other = errors.pop("teacher's network")
    guided = draw(case, made(here / "base" / part, teacher_scheduler(case)), TEACHER_STEPS, GUIDANCE)
    errors["teacher"] = float(np.abs(guided - sampled("teacher")).max())
    told = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    print(f"{case.name}: {told}; the teacher's network as student {other:.1e}")
    return max(errors.values()) < TOLERANCE < other


def main() -> int:
    torch.set_num_threads(1)
    good = True
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            good &= check(case, Path(folder))
    if not good:
        print("error: diffusers does not draw our picture", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
