#!/usr/bin/env python3
"""Convert a pickled PyTorch checkpoint to safetensors, which dmdr reads. Needs torch and safetensors.

    python3 tools/convert_pickle.py SiT-XL-2-256x256.pt SiT-XL-2-256x256.safetensors

Of a training checkpoint the averaged weights are taken (`ema`), else `state_dict` or `model`. Only tensors and plain
values are unpickled: a file that would run code is refused.
"""

from __future__ import annotations

import argparse
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", type=Path)
    parser.add_argument("safetensors", type=Path)
    args = parser.parse_args()
    with torch.serialization.safe_globals([argparse.Namespace]):  # REPA's checkpoints keep their arguments
        checkpoint = torch.load(args.pickle, map_location="cpu", weights_only=True)
    tensors = weights(checkpoint)
    if not tensors:
        print(f"error: `{args.pickle}` holds no tensors", file=sys.stderr)
        return 1
    save_file(tensors, args.safetensors, metadata={"format": "pt"})
    print(f"{args.safetensors}: {len(tensors)} tensors", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
