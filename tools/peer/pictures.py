#!/usr/bin/env python3
"""Pictures of unusual kinds, and what Pillow's `convert("RGB")` makes of each: `NAME` and `NAME-rgb.png`.

    make parity
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

FIXTURES = Path(__file__).resolve().parents[2] / "crates/image/tests/fixtures"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_deep(path: Path) -> None:
    """RGBA of 16 bits a channel, which Pillow reads but does not write."""
    pixels = np.zeros((4, 6, 4), ">u2")
    pixels[..., 0] = np.arange(24).reshape(4, 6) * 2741
    pixels[..., 1] = 0x80FF
    pixels[..., 2] = 0x00FF
    pixels[..., 3] = np.arange(24).reshape(4, 6) * 2000
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 4, 16, 6, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:16, 0:24]
    picture = Image.fromarray(np.stack([x * 10, y * 15, 255 - x * 8], -1).astype(np.uint8))
    picture.convert("CMYK").save(FIXTURES / "cmyk.jpg", quality=95)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    picture.save(FIXTURES / "turned.jpg", quality=95, exif=turned, subsampling=0)
    write_deep(FIXTURES / "deep.png")
    picture.quantize(8).save(FIXTURES / "palette.png", transparency=0)
    grey = Image.fromarray((x * 10).astype(np.uint8)).convert("LA")
    grey.putalpha(100)
    grey.save(FIXTURES / "grey-alpha.png")
    for path in sorted(FIXTURES.iterdir()):
        if not path.stem.endswith("-rgb"):
            Image.open(path).convert("RGB").save(path.with_name(f"{path.stem}-rgb.png"))


if __name__ == "__main__":
    main()
