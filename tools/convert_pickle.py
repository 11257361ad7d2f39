#!/usr/bin/env python3
"""Convert a pickled PyTorch checkpoint to safetensors, which dmdr reads. Needs torch and safetensors.

    python3 tools/convert_pickle.py checkpoint.pt checkpoint.safetensors
    python3 tools/convert_pickle.py SiT-XL-2-256x256.pt sit-xl-2.safetensors --sit data_at_one --heads 16

Of a training checkpoint the averaged weights are taken (`ema`), else `state_dict` or `model`. Only tensors and plain
values are unpickled: a file that would run code is refused. `--sit` writes the sizes of a SiT into the metadata, as
`dmdr` reads them: its time runs from noise to data in the official checkpoints (`data_at_one`), and the other way in those of
REPA, which DMDR's demo starts from (`data_at_zero`); the heads that REPA trains it with (`projectors`) are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def weights(checkpoint: dict) -> dict[str, torch.Tensor]:
    """The tensors by name, each with memory of its own."""
    for key in ("ema", "state_dict", "model"):
        if isinstance(checkpoint.get(key), dict):
            print(f"taking `{key}`", file=sys.stderr)
            checkpoint = checkpoint[key]
            break
    return {name: value.detach().clone().contiguous() for name, value in checkpoint.items() if torch.is_tensor(value)}


def sit_sizes(tensors: dict[str, torch.Tensor], interpolant: str, heads: int) -> dict:
    """What the shapes of a SiT's weights say; the number of heads they do not."""
    hidden, channels, patch, _ = tensors["x_embedder.proj.weight"].shape
    positions = tensors["pos_embed"].shape[1]
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    outputs = tensors["final_layer.linear.weight"].shape[0]
    return {
        "input_size": patch * round(positions**0.5),
        "patch_size": patch,
        "in_channels": channels,
        "hidden_size": hidden,
        "depth": len(blocks),
        "num_heads": heads,
        "num_classes": tensors["y_embedder.embedding_table.weight"].shape[0] - 1,
        "learn_sigma": outputs == 2 * channels * patch * patch,
        "interpolant": interpolant,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", type=Path)
    parser.add_argument("safetensors", type=Path)
    parser.add_argument("--sit", choices=["data_at_one", "data_at_zero"], help="it is a SiT, and its time runs so")
    parser.add_argument("--heads", type=int, default=16, help="attention heads of the SiT (XL: 16)")
    args = parser.parse_args()
    with torch.serialization.safe_globals([argparse.Namespace]):  # REPA's checkpoints keep their arguments
        checkpoint = torch.load(args.pickle, map_location="cpu", weights_only=True)
    tensors = weights(checkpoint)
    if not tensors:
        print(f"error: `{args.pickle}` holds no tensors", file=sys.stderr)
        return 1
    metadata = {"format": "pt"}
    if args.sit:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("projectors.")}
        metadata = {"format": "dmdr.sit", "config": json.dumps(sit_sizes(tensors, args.sit, args.heads))}
    save_file(tensors, args.safetensors, metadata=metadata)
    print(f"{args.safetensors}: {len(tensors)} tensors", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
