"""Published models by their sizes: folders in diffusers' layout with configs alone, and what `scripts/gpu-check` trains on them.

Sizes are those of the `config.json` files on the hub; `crates/models/tests/shapes` holds the parameters that they lead to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

SD3 = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
SD35_LARGE = {**SD3, "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm"}
SDXL = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "sample_size": 1024,
}
SD3_VAE = {
    **VAE,
    "latent_channels": 16,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
SDXL_VAE = {**VAE, "latent_channels": 4, "scaling_factor": 0.13025}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
NOISE = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


class Model(NamedTuple):
    """A pipeline by its sizes."""

    name: str
    pipeline: str
    network: str
    config: dict
    vae: dict
    scheduler: dict
    # Tokens of a prompt.
    tokens: int
    # Layers that get adapters, as the authors' scripts choose them.
    targets: str
    shift: float
    # At 1024 pixels on 80 GB.
    batch_size: int


SD3_TARGETS = "transformer_blocks.*.attn*"
MODELS = [
    Model("SD3-Medium", "StableDiffusion3Pipeline", "transformer", SD3, SD3_VAE, FLOW, 77 + 256, SD3_TARGETS, 3.0, 8),
    Model("SDXL", "StableDiffusionXLPipeline", "unet", SDXL, SDXL_VAE, NOISE, 77, "*attentions.*.attn*", 1.0, 8),
    Model("SD3.5-Large", "StableDiffusion3Pipeline", "transformer", SD35_LARGE, SD3_VAE, FLOW, 77 + 256, SD3_TARGETS, 3.0, 4),
]


def tiny(model: Model) -> Model:
    """The same form, small enough for seconds on a CPU."""
    if model.network == "unet":
        sizes = {"block_out_channels": [32, 64], "transformer_layers_per_block": [1, 1], "attention_head_dim": [1, 2]}
        kinds = {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}
        text = {"cross_attention_dim": 64, "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 80}
        small = {**sizes, **kinds, **text}
    else:
        width = {"attention_head_dim": 16, "num_attention_heads": 2, "caption_projection_dim": 32}
        small = {"num_layers": 2, **width, "joint_attention_dim": 64, "pooled_projection_dim": 32}
    vae = {"block_out_channels": [32] * 4, "layers_per_block": 1}
    config = {**model.config, **small}
    return model._replace(config=config, vae={**model.vae, **vae}, batch_size=4)


def write(model: Model, folder: Path, device: str, precision: str, size: int) -> Path:
    """The pipeline's folder, prompts, and a config of DMD with adapters on it; returns the config."""
    pipeline = folder / "model"
    scheduler = model.scheduler["_class_name"]
    index = {
        "_class_name": model.pipeline,
        model.network: ["diffusers", model.config["_class_name"]],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler],
    }
    files = {
        "model_index.json": index,
        f"{model.network}/config.json": model.config,
        "vae/config.json": model.vae,
        "scheduler/scheduler_config.json": model.scheduler,
    }
    for name, content in files.items():
        path = pipeline / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"a picture of {number} cats\n" for number in range(64)), encoding="utf-8")
    others = folder / "others.txt"
    others.write_text("a picture of a dog\n", encoding="utf-8")
    optimizer = "lr = 1e-5\nbetas = [0.9, 0.999]\neps = 1e-8\nweight_decay = 0.0\nclip_norm = 1.0\n"
    config = folder / "bench.toml"
    config.write_text(
        f"""name = "bench"
device = "{device}"
precision = "{precision}"
gradient_checkpointing = true
[world.prompts]
train = "{prompts}"
validation = "{others}"
size = {size}
embeddings = "{folder / "cache"}"
[teacher]
weights = "{pipeline}"
num_steps = 25
shift = {model.shift}
guidance = 7.0
[student]
num_steps = 4
shift = {model.shift}
[student.tuning.lora]
rank = 64
alpha = 128.0
targets = ["{model.targets}"]
[fake_score]
rank = 32
alpha = 32.0
targets = ["{model.targets}"]
[method.dmdr]
num_updates = 100
batch_size = {model.batch_size}
ttur = 1
[optim.student]
{optimizer}[optim.fake_score]
{optimizer}[events]
evaluate_every = 0
""",
        encoding="utf-8",
    )
    return config
