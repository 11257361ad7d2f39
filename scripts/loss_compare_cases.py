"""What `loss_compare.py` runs: shipped configs, cut to ten updates on small batches, so that each part of a method acts once.

Keys are the working tree's. A list of overrides is applied in order; an empty value removes a key.
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """A run: arguments of `dmdr`, and overrides, in which `{pipeline}` and `{cache}` are folders."""

    name: str
    command: list
    overrides: list
    here: list = []  # overrides of the working tree's side alone
    family: str | None = None  # as `cargo run --example tiny_pipeline -- FOLDER FAMILY` knows it


# Beside a tiny pipeline.
PROMPTS = "a red cat\na green bird\ntwo boats\na blue dog\n"

QUIET = ["name=run", "device=cpu", "precision=f32", "events.log_every=1", "events.checkpoint_every=0"]
UNSEEN = ["events.sample_every=0", "events.evaluate_every=0"]
TEN = ["method.dmdr.num_updates=10", "method.dmdr.batch_size=2", "method.dmdr.ttur=2"]
JOINT = ["method.dmdr.rl.weight={ step = { from = 0.0, to = 0.3, at = 4 } }"]
ALGORITHM = "method.dmdr.rl.algorithm"


def groups(algorithm: str) -> list:
    return [f"{algorithm}.groups.num_prompts=2", f"{algorithm}.groups.size=3"]


def smoke(name: str, *overrides: str) -> Case:
    """On the emoji world, with the shipped networks, so that every term has a size."""
    return Case(name, ["train", "configs/smoke.toml"], [*QUIET, *UNSEEN, *TEN, *JOINT, *overrides])


def demo(name: str, *overrides: str) -> Case:
    """The demo, with sheets and evaluations."""
    sheets = ["teacher.num_steps=2", "events.sample_every=5", "events.num_sample_prompts=2"]
    sets = [*QUIET, *TEN, *JOINT, *sheets, "evaluation.num_prompts=6", *overrides]
    return Case(name, ["train", "configs/demo.toml"], sets)


def alone(name: str, *overrides: str) -> Case:
    """Reinforcement learning alone, `[method.rl]`."""
    method = ["method.dmdr=", "method.rl.num_updates=10", "method.rl.batch_size=4"]
    sets = [*QUIET, *UNSEEN, *method, *overrides]
    # Since every network is asked for by its method, nothing is trained that has no use.
    return Case(name, ["train", "configs/smoke.toml"], sets, ["optim.fake_score="])


# Cosines from the cold start into the joint stage.
DYNAMICS = [
    "method.dmdr.dm.real_scale={ cosine = { from = 0.75, to = 0.0, over = 8 } }",
    "method.dmdr.dm.renoise.beta.a={ cosine = { from = 4.0, to = 1.0, over = 8 } }",
    "method.dmdr.dm.renoise.beta.b={ cosine = { from = 1.5, to = 1.0, over = 8 } }",
    "method.dmdr.fake_score.renoise.beta.a={ cosine = { from = 4.0, to = 1.0, over = 8 } }",
    "method.dmdr.fake_score.renoise.beta.b={ cosine = { from = 1.5, to = 1.0, over = 8 } }",
]
RATES = ["optim.student.lr=1e-3", "optim.fake_score.lr=1e-3"]


def text(name: str, config: str, family: str, *overrides: str) -> Case:
    """A tiny pipeline with CLIP's and HPSv2's rewards, sampled and evaluated after five updates and ten."""
    own = [
        "world.prompts.train={pipeline}/prompts.txt",
        "world.prompts.validation={pipeline}/prompts.txt",
        "world.prompts.size=24",
        "world.prompts.embeddings={cache}",
        "teacher.weights={pipeline}",
        "teacher.num_steps=2",
        "fake_score.rank=2",
        "rewards.0.model.clip.weights={pipeline}/clip",
        "rewards.0.model.clip.tokenizer={pipeline}/clip-tokenizer",
        "rewards.1.model.hps.weights={pipeline}/clip",
        "rewards.1.model.hps.tokenizer={pipeline}/clip-tokenizer",
        "evaluation.num_prompts=2",
        "evaluation.detectors=[\"saturation\", \"high_frequency\"]",
        "evaluation.metrics.0.model.pick_score.weights={pipeline}/clip",
        "evaluation.metrics.0.model.pick_score.tokenizer={pipeline}/clip-tokenizer",
        "evaluation.diversity=",
        "events.sample_every=5",
        "events.num_sample_prompts=1",
        "events.evaluate_every=5",
    ]
    sets = [*QUIET, *TEN, *JOINT, *DYNAMICS, *RATES, *own, *overrides]
    return Case(name, ["train", f"configs/{config}.toml"], sets, family=family)


def pretrain(name: str, *overrides: str) -> Case:
    sets = ["num_updates=10", "batch_size=8", "events.sample_every=0", *QUIET, *overrides]
    return Case(f"pretrain_{name}".replace("-", "_"), ["pretrain", f"configs/{name}.toml"], sets)


RANK = "student.tuning.lora.rank=2"

CASES = [
    demo("demo", "events.evaluate_every=5"),
    # The guard lowers the weight of the rewards within ten updates.
    demo("guard", "events.evaluate_every=2", "guard.patience=1", "guard.metric=diversity"),
    Case("dmd", ["train", "configs/dmd.toml"], [*QUIET, *UNSEEN, *TEN]),
    Case("lcm", ["train", "configs/lcm.toml"], [*QUIET, *UNSEEN, "method.lcm.num_updates=10", "method.lcm.batch_size=4"]),
    Case(
        "dmd2",
        ["train", "configs/dmd2.toml"],
        [*QUIET, *UNSEEN, "method.dmd2.num_updates=10", "method.dmd2.batch_size=2", "method.dmd2.ttur=2"],
    ),
    smoke("refl"),
    smoke("dynamics", *DYNAMICS),
    smoke("lora_student", "student.tuning.lora.rank=4", "student.tuning.lora.targets=[\"blocks.*\"]"),
    smoke("full_fake_score", "fake_score.form=full", "fake_score.targets=", "method.dmdr.dm.real_scale=0.0"),
    smoke("output_lora", "fake_score.form=output_lora", "fake_score.targets="),
    smoke(
        "decoupled",
        "method.dmdr.dm.augmentation.weight=2.0",
        "method.dmdr.dm.augmentation.renoise=uniform",
        "method.dmdr.dm.augmentation.below_input=true",
    ),
    smoke("guidance_range", "method.dmdr.dm.guidance=[2.0, 4.0]"),
    smoke("dpo", *groups(f"{ALGORITHM}.dpo"), f"{ALGORITHM}.dpo.refresh_every=0"),
    smoke("dpo_refreshed", *groups(f"{ALGORITHM}.dpo"), f"{ALGORITHM}.dpo.refresh_every=3"),
    smoke("dpo_own_reference", *groups(f"{ALGORITHM}.dpo"), f"{ALGORITHM}.dpo.refresh_every=1"),
    smoke("grpo", *groups(f"{ALGORITHM}.grpo"), f"{ALGORITHM}.grpo.num_inner_updates=2", f"{ALGORITHM}.grpo.kl=0.1"),
    smoke(
        "flow_grpo",
        *groups(f"{ALGORITHM}.grpo"),
        f"{ALGORITHM}.grpo.transition.flow_sde=0.7",
        f"{ALGORITHM}.grpo.shared_noise=false",
        f"{ALGORITHM}.grpo.step_weighting=uniform",
    ),
    alone("rl_refl", "method.rl.algorithm=refl", "method.rl.pretraining=0.5"),
    alone("rl_dpo", *groups("method.rl.algorithm.dpo"), "method.rl.algorithm.dpo.refresh_every=0", "method.rl.pretraining=0.0"),
    alone("rl_grpo", *groups("method.rl.algorithm.grpo"), "method.rl.algorithm.grpo.kl=0.1", "method.rl.pretraining=0.0"),
    smoke("ema", "ema.decay=0.5"),
    smoke("without_ema", "ema="),
    # Slow where the processor multiplies no bf16.
    smoke(
        "bf16",
        "precision=bf16",
        "method.dmdr.num_updates=4",
        "method.dmdr.batch_size=1",
        "method.dmdr.ttur=1",
        "method.dmdr.rl.weight={ step = { from = 0.0, to = 0.3, at = 2 } }",
    ),
    smoke("gradient_checkpointing", "gradient_checkpointing=true"),
    text("sdxl", "sdxl-dmdr", "sdxl", RANK),
    text(
        "sdxl_1step",
        "sdxl-1step-dmdr",
        "sdxl",
        "student.init={pipeline}/unet/diffusion_pytorch_model.safetensors",
        "fake_score.form=full",
        "fake_score.init={pipeline}/unet/diffusion_pytorch_model.safetensors",
        "fake_score.init_lora_weights=",
        "fake_score.targets=",
        "method.dmdr.dm.real_scale=0.0",
    ),
    text("sd3", "sd3-medium-dmdr", "sd3", RANK),
    text(
        "sd3_grpo",
        "sd3-medium-dmdr",
        "sd3",
        RANK,
        *groups(f"{ALGORITHM}.grpo"),
        f"{ALGORITHM}.grpo.num_inner_updates=2",
        f"{ALGORITHM}.grpo.kl=0.1",
    ),
    text("z_image", "z-image-dmdr", "z_image", RANK),
    Case(
        "sit",
        ["train", "configs/sit-xl-dmdr.toml"],
        [
            *QUIET,
            *UNSEEN,
            *TEN,
            *JOINT,
            *DYNAMICS,
            *RATES,
            "guard=",
            "evaluation.metrics=",
            "evaluation.diversity=",
            "teacher.weights={pipeline}/network.safetensors",
            "teacher.vae={pipeline}/vae",
            "rewards.0.model.dino.tower={pipeline}/dino.safetensors",
            "rewards.0.model.dino.head={pipeline}/head.safetensors",
        ],
        family="sit",
    ),
    Case("plane", ["lab", "fig4", "--quick", "--seeds", "1"], []),
    pretrain("teacher-base"),
    pretrain("world-clip"),
    pretrain("preference", "model.preference.repaint.teacher=assets/teacher.safetensors"),
]
