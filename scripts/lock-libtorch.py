#!/usr/bin/env python3
"""Write `libtorch.lock.json`: which wheels make a libtorch, with sha256, and which of their libraries are taken.

For maintainers, after `tch` moves to another PyTorch: `scripts/lock-libtorch.py 2.12.0` downloads the torch wheels and
the NVIDIA wheels that torch's own METADATA requires (about 6 GB, one at a time, into a temporary folder), reads them,
and rewrites the lock. `setup-libtorch.py` then needs no metadata, no resolver and no network to know what it will do.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).resolve().with_name("libtorch.lock.json")
PLATFORMS = {
    "linux-x86_64": [f"manylinux_2_{n}_x86_64" for n in range(28, 16, -1)] + ["manylinux2014_x86_64"],
    "linux-aarch64": [f"manylinux_2_{n}_aarch64" for n in range(28, 16, -1)] + ["manylinux2014_aarch64"],
    "macos-arm64": [f"macosx_{n}_0_arm64" for n in (14, 13, 12, 11)],
}
# CPU: the NEEDED entries of libtorch_cpu, transitively (readelf -d): profiling links cudart and cupti even without a GPU.
CPU_LIBS = {
    "linux": ["libc10.so", "libtorch_cpu.so", "libgomp.so*", "libarm_compute*.so", "libnvpl_*.so*"]
    + ["libcudart.so*", "libcupti.so*"],
    "macos": ["libc10.dylib", "libtorch_cpu.dylib", "libtorch.dylib", "libomp.dylib"],
}
CPU_WHEELS = ("nvidia-cuda-runtime", "nvidia-cuda-cupti")
NOT_CUDA = ("libtorch_python.so", "libshm.so")


def pip_download(requirement: str, tags: list[str], folder: Path) -> Path:
    args = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "--dest", str(folder)]
    args += ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
    args += [arg for tag in tags for arg in ("--platform", tag)]
    print(requirement, file=sys.stderr, flush=True)
    subprocess.run([*args, requirement], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def requirements(wheel: Path) -> list[tuple[str, list[str], str, str]]:
    """(name, extras, version, marker) of the exact pins among a wheel's Requires-Dist."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode("utf-8")
    pattern = r"^Requires-Dist: ([\w.-]+)(?:\[([\w,.-]+)\])?==([\w.*]+)\s*(?:;(.*))?$"
    found = re.findall(pattern, text, flags=re.MULTILINE)
    return [(name, extras.split(",") if extras else [], version, marker) for name, extras, version, marker in found]


def nvidia_requirements(torch: Path, tags: list[str], tmp: Path) -> list[str]:
    """torch's own NVIDIA wheels; `cuda-toolkit[a, b]` is a meta package whose extras name the wheels."""
    pins = []
    for name, extras, version, _ in requirements(torch):
        if name == "cuda-toolkit":
            folder = tmp / "toolkit"
            for dep, _, dep_version, marker in requirements(pip_download(f"{name}=={version}", tags, folder)):
                if any(f"extra == '{extra}'" in marker for extra in extras):
                    pins.append(f"{dep}=={dep_version}")
        elif name.startswith("nvidia-"):
            pins.append(f"{name}=={version}")
    return sorted(set(pins))


def describe(path: Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    name, version = path.name.split("-")[:2]
    name = name.replace("_", "-")
    return {"name": name, "version": version, "file": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def libraries(path: Path) -> dict[str, int]:
    with zipfile.ZipFile(path) as archive:
        entries = [(info.filename.split("/"), info.file_size) for info in archive.infolist()]
    return {p[-1]: n for p, n in entries if len(p) > 2 and p[-2] == "lib" and fnmatch.fnmatch(p[-1], "lib*.[sd][oy]*")}


def num_header_bytes(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(i.file_size for i in archive.infolist() if i.filename.startswith("torch/include/"))


def group(wheels: list[tuple[dict, dict[str, int]]], keep, headers: int) -> dict:
    libs: dict[str, int] = {}
    for wheel, found in wheels:
        for name, num_bytes in sorted(found.items()):
            if keep(name):
                if name in libs:
                    raise SystemExit(f"`{name}` is in two wheels, the second is {wheel['file']}")
                libs[name] = num_bytes
    return {"unpacked": sum(libs.values()) + headers, "wheels": [wheel for wheel, _ in wheels], "libs": libs}


def lock_platform(version: str, key: str, tags: list[str], tmp: Path) -> dict:
    torch = pip_download(f"torch=={version}", tags, tmp / "torch")
    headers = num_header_bytes(torch)
    wheels = [(describe(torch), libraries(torch))]
    patterns = CPU_LIBS[key.split("-")[0]]
    if key.startswith("linux"):
        for pin in nvidia_requirements(torch, tags, tmp):
            path = pip_download(pin, tags, tmp / "nvidia")
            wheels.append((describe(path), libraries(path)))
            path.unlink()
    torch.unlink()
    cpu = [w for w in wheels if w[0]["name"] in ("torch", *CPU_WHEELS)]
    out = {"cpu": group(cpu, lambda name: any(fnmatch.fnmatch(name, p) for p in patterns), headers)}
    if key.startswith("linux"):
        out["cpu"]["stub"] = True
        out["cuda"] = group(wheels, lambda name: name not in NOT_CUDA, headers)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite libtorch.lock.json for a PyTorch version.")
    parser.add_argument("version", help="PyTorch version that tch's torch-sys expects, such as 2.11.0")
    version = parser.parse_args().version
    platforms = {}
    for key, tags in PLATFORMS.items():
        with tempfile.TemporaryDirectory() as tmp:
            platforms[key] = lock_platform(version, key, tags, Path(tmp))
    LOCK.write_text(json.dumps({"torch": version, "platforms": platforms}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
