#!/usr/bin/env python3
"""Check what the repository holds: short Rust files, no large files, no work left open in code.

Looks at the files that are tracked or would be (git's own ignore rules).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_RUST_LINES = 500
MAX_FILE_BYTES = 4 << 20
MAX_ASSETS_BYTES = 25_000_000
LEFT_OPEN = re.compile(r"\b(?:todo|unimplemented|dbg)!\s*[(\[{]|#\[ignore\b")


def problems(root: Path, names: list[str]) -> list[str]:
    """What is wrong with the files `names` below `root`."""
    found, assets = [], 0
    for name in names:
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        num_bytes = path.stat().st_size
        assets += num_bytes if name.startswith("assets/") else 0
        if num_bytes > MAX_FILE_BYTES and not name.startswith("assets/"):  # they have a limit of their own
            found.append(f"{name}: {num_bytes / 1e6:.1f} MB, at most {MAX_FILE_BYTES / 1e6:.1f} MB")
        if name.endswith(".rs"):
            lines = path.read_text(encoding="utf-8").splitlines()
            if len(lines) > MAX_RUST_LINES:
                found.append(f"{name}: {len(lines)} lines, at most {MAX_RUST_LINES}; split it by nouns")
            matches = ((number, LEFT_OPEN.search(line)) for number, line in enumerate(lines, 1))
            found += [f"{name}:{number}: `{match.group().strip()}`" for number, match in matches if match]
    if assets > MAX_ASSETS_BYTES:
        found.append(f"assets/: {assets / 1e6:.1f} MB, at most {MAX_ASSETS_BYTES / 1e6:.0f} MB")
    return found


def main() -> int:
    args = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(args, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = problems(ROOT, sorted(set(out.stdout.decode("utf-8").split("\0")) - {""}))
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
