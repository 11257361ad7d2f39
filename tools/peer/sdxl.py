#!/usr/bin/env python3
"""Parity fixtures of SDXL's UNet and of the autoencoder, and lists of the full-size models' parameters: part of `make parity`.

The references are diffusers' own classes. The UNet's values are made as those of the other backbones; the
autoencoder's are moments, latents and images, with gradients, in this project's conventions: images in [0, 1], latents
scaled and shifted.
"""

from __future__ import annotations

import copy
import json

import diffusers
import torch
from backbones import STD, list_shapes, save_folder, values, write_values
from fixtures import FIXTURES, randomise
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

# One transformer, residual blocks with a shortcut and the changes of size: linear layers and convolutions of all kinds.
TARGETS = ["down_blocks.1.attentions.0.*", "up_blocks.2.resnets.0.*", "*samplers.0.conv"]
SDXL = dict(
    sample_size=128,
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10),
    attention_head_dim=(5, 10, 20),
    cross_attention_dim=2048,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)
VAE = dict(
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    latent_channels=4,
    sample_size=1024,
    scaling_factor=0.13025,
)
NO_QUANT = dict(use_quant_conv=False, use_post_quant_conv=False)
VAE_16 = VAE | NO_QUANT | dict(latent_channels=16)
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def timesteps(t: Tensor) -> Tensor:
    return (1000 * t).round().long() - 1


def ddpm_x0(x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    scheduler = diffusers.DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")
    alpha_bar = scheduler.alphas_cumprod[timesteps(t)][:, None, None, None]
    return (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()


def unet_forward(net: nn.Module, x_t: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor, sizes: Tensor) -> Tensor:
    tokens, pooled, sizes = (x.expand(len(x_t), *x.shape[1:]) for x in (tokens, pooled, sizes))
    added = dict(text_embeds=pooled, time_ids=sizes)
    return net(x_t, timesteps(t), tokens, added_cond_kwargs=added, return_dict=False)[0]


def unet_conditions() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of two prompts, and the null caption."""
    sizes = torch.tensor([[768, 1024, 0, 5, 1024, 1024], [512, 640, 64, 0, 768, 1344]])
    cond = dict(tokens=torch.randn(2, 5, 12), pooled=torch.randn(2, 10), sizes=sizes)
    null = dict(tokens=torch.zeros(1, 5, 12), pooled=torch.zeros(1, 10), sizes=sizes[:1])
    return cond, null


def unet(name: str, seed: int) -> None:
    """Latents of 6 x 10, so that the lowest resolution, 2 x 3, is not half of the one above."""
    torch.manual_seed(seed)
    net = diffusers.UNet2DConditionModel(
        **SDXL
        | dict(
            sample_size=8,
            block_out_channels=(4, 8, 8),
            norm_num_groups=2,
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(1, 1, 2),
            cross_attention_dim=12,
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=10 + 6 * 4,
        )
    )
    randomise(net, STD)
    save_folder(name, net)

    cond, null = unet_conditions()
    found = values(net, unet_forward, torch.randn(2, 4, 6, 10), cond, null, TARGETS, ddpm_x0)
    inputs = cond | {f"null.{key}": value for key, value in null.items()}
    write_values(name, found | {key: value.float() for key, value in inputs.items()})


def vae(name: str, seed: int, shape: tuple[int, int, int, int], tile: int, old: bool = False, **options) -> None:
    """Three stages, so latents of a quarter of the side. `old`: as Stable Diffusion 1's was saved, with the attention's
    first names and without the fields that came later."""
    torch.manual_seed(seed)
    net = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 8, 8),
        norm_num_groups=2,
        sample_size=32,
        **options,
    )
    randomise(net, STD)
    save_folder(name, net)
    if old:
        make_old(name)
    scale, shift = net.config.scaling_factor, net.config.shift_factor or 0.0

    def decode(latents: Tensor, net: diffusers.AutoencoderKL = net) -> Tensor:
        return net.decode((latents / scale + shift).to(net.dtype)).sample.float() / 2 + 0.5

    images = torch.rand(shape, requires_grad=True)
    posterior = net.encode(2 * images - 1).latent_dist
    mode = (posterior.mode() - shift) * scale
    latents = torch.randn_like(mode).requires_grad_()
    decoded = decode(latents)
    found = dict(images=images, latents=latents, mean=posterior.mean, logvar=posterior.logvar, mode=mode, decoded=decoded)
    found |= {"cotangent.mode": torch.randn_like(mode), "cotangent.decoded": torch.randn_like(decoded)}
    (found["grad.images"],) = torch.autograd.grad(mode, [images], found["cotangent.mode"])
    (found["grad.latents"],) = torch.autograd.grad(decoded, [latents], found["cotangent.decoded"])
    with torch.no_grad():
        found["decoded_bf16"] = decode(latents, copy.deepcopy(net).bfloat16())
    net.tile_latent_min_size, net.tile_sample_min_size = tile, 4 * tile
    net.enable_tiling()
    with torch.no_grad():
        found["tiled"] = decode(latents)
    write_values(name, found)


def make_old(name: str) -> None:
    folder = FIXTURES / name
    path = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    for new, former in OLD_NAMES.items():
        tensors = {key.replace(f".{new}.", f".{former}."): value for key, value in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    later = ["scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast"]
    later += ["use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"]
    kept = {key: value for key, value in config.items() if key not in later}
    (folder / "config.json").write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    unet("sdxl", 7)
    vae("vae_sdxl", 8, (2, 3, 32, 32), 4, scaling_factor=0.13025)
    vae("vae_sd3", 9, (2, 3, 24, 32), 4, latent_channels=6, scaling_factor=1.5305, shift_factor=0.0609, **NO_QUANT)
    vae("vae_old", 10, (1, 3, 40, 56), 8, old=True, layers_per_block=2)
    vae("vae_no_attention", 11, (1, 3, 16, 16), 4, mid_block_add_attention=False)
    list_shapes("sdxl_unet", lambda: diffusers.UNet2DConditionModel(**SDXL))
    list_shapes("sdxl_vae", lambda: diffusers.AutoencoderKL(**VAE))
    list_shapes("sd3_vae", lambda: diffusers.AutoencoderKL(**VAE_16))
