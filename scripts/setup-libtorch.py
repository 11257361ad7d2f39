#!/usr/bin/env python3
"""Assemble libtorch for this machine from the wheels that `libtorch.lock.json` pins.

`.libtorch/` (CPU, what everything is built against) or, with `--cuda`, `.libtorch-cuda/` (the CUDA libraries that a
CPU build opens at run time). Both hold `include/`, `lib/` and `build-version`, the layout of an official libtorch.

The wheels are fetched with pip by exact version, platform and sha256, so any Python from 3.8 on will do, whatever
Python the wheel was made for. Each unpacked file is checked against the wheel's own RECORD. All work happens in
`<dest>.cache/`, which is renamed to `<dest>` in one step and removed at the end: an interrupted run leaves `<dest>`
as it was, and the next run resumes from the downloads that were complete.

Only the standard library is used. Exit codes: 0 ready, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path(__file__).resolve().with_name("libtorch.lock.json")
TORCH_H = "include/torch/csrc/api/include/torch/torch.h"
STUB = "libtorch.so"
CHUNK = 1 << 20
SLACK = 100 << 20

PIP_HELP = """install it and run this again:
  Debian, Ubuntu   apt-get install python3-pip
  Fedora           dnf install python3-pip
  macOS            python3 -m ensurepip --user"""
CXX_HELP = """install one and run this again (or name it in CXX):
  Debian, Ubuntu   apt-get install g++
  Fedora           dnf install gcc-c++
  macOS            xcode-select --install"""


class SetupError(Exception):
    """Something the user can act on; printed without a traceback."""


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


# What to install ----------------------------------------------------------------------------------------------------


def this_platform() -> str:
    """Key of this machine in the lock file, or an error that says what can be done elsewhere."""
    system, machine = platform.system(), platform.machine().lower()
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if system == "Darwin" and arch == "aarch64":
        return "macos-arm64"
    if system == "Linux" and arch in ("x86_64", "aarch64"):
        libc, version = platform.libc_ver()
        if libc == "glibc" and tuple(int(n) for n in re.findall(r"\d+", version)[:2]) >= (2, 28):
            return f"linux-{arch}"
        if not libc and not list(Path("/lib").glob("ld-musl-*")):
            return f"linux-{arch}"
        machine = f"{machine}, {libc or 'musl'} {version}".rstrip()
    raise SetupError(
        f"no libtorch wheel for {system} ({machine})\n"
        "supported: Linux x86_64 and aarch64 with glibc 2.28 or newer, macOS arm64\n"
        "elsewhere, bring libtorch yourself:\n"
        "  LIBTORCH=/path/to/libtorch   a folder with include/ and lib/, or\n"
        "  LIBTORCH_USE_PYTORCH=1       the PyTorch that `python3` imports"
    )


def load_plan(lock: dict, key: str, kind: str) -> dict:
    plan = lock["platforms"][key].get(kind)
    if plan is None:
        raise SetupError(f"there is no {kind.upper()} libtorch for {key}")
    return {"torch": lock["torch"], "platform": key, "kind": kind, **plan}


def problem(dest: Path, plan: dict) -> str | None:
    """Why `dest` cannot be used as it is, or None. Looks at names and sizes only, so it takes milliseconds."""
    if not dest.exists():
        return "missing"
    try:
        found = (dest / "build-version").read_text(encoding="utf-8").strip()
    except OSError:
        return "incomplete: no `build-version`"
    if found.split("+")[0] != plan["torch"]:
        return f"libtorch {found}, but {plan['torch']} is needed"
    if not (dest / TORCH_H).is_file():
        return f"incomplete: no `{TORCH_H}`"
    for name, num_bytes in plan["libs"].items():
        path = dest / "lib" / name
        if not path.is_file() or path.stat().st_size != num_bytes:
            return f"incomplete: `lib/{name}` is absent or not for {plan['platform']}"
    if plan.get("stub") and not (dest / "lib" / STUB).is_file():
        return f"incomplete: no `lib/{STUB}`"
    return None


# A libtorch that the user brings --------------------------------------------------------------------------------------


def user_libtorch(env: dict, want: str, dest: Path) -> str | None:
    """One line on the libtorch named by the environment (checked), or None when none is. The order is torch-sys's."""
    if "LIBTORCH_USE_PYTORCH" in env:
        python = "python" if "VIRTUAL_ENV" in env else "python3"
        code = "import torch; print(torch.__version__)"
        try:
            out = subprocess.run([python, "-c", code], capture_output=True, text=True, env=env, check=False)
        except OSError as error:
            raise SetupError(f"LIBTORCH_USE_PYTORCH is set, but `{python}` cannot be run: {error}") from None
        if out.returncode != 0:
            last = (out.stderr.strip().splitlines() or ["no output"])[-1]
            raise SetupError(f"LIBTORCH_USE_PYTORCH is set, but `{python}` cannot import torch: {last}")
        found, source = out.stdout.strip(), f"PyTorch of `{python}` (LIBTORCH_USE_PYTORCH)"
    elif env.get("LIBTORCH") and Path(env["LIBTORCH"]).resolve() != dest.resolve():
        found, source = folder_version(Path(env["LIBTORCH"])), f"`{env['LIBTORCH']}` (LIBTORCH)"
    else:
        return None
    if found.split("+")[0] != want and "LIBTORCH_BYPASS_VERSION_CHECK" not in env:
        raise SetupError(
            f"{source} is version {found}, but {want} is needed\n"
            "unset the variable to let this script assemble the right one"
        )
    return f"libtorch {found}: {source}"


def folder_version(folder: Path) -> str:
    """Version of the libtorch in `folder`: from `build-version`, else from its headers."""
    if (folder / "build-version").is_file():
        return (folder / "build-version").read_text(encoding="utf-8").strip()
    for header in ("torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"):
        path = folder / "include" / header
        match = re.search(r'define TORCH_VERSION "([^"]+)"', path.read_text("utf-8")) if path.is_file() else None
        if match:
            return match.group(1)
    raise SetupError(f"LIBTORCH is `{folder}`, but that is no libtorch folder (include/, lib/, build-version)")


# What the machine must have -------------------------------------------------------------------------------------------


def check_pip() -> None:
    out = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    if out.returncode != 0:
        raise SetupError(f"`{sys.executable} -m pip` does not work; {PIP_HELP}")


def find_compiler(env: dict) -> list[str]:
    """The C++ compiler command, proven on a small program: libtorch's C++ wrapper is compiled during `cargo build`."""
    candidates = [shlex.split(env["CXX"])] if env.get("CXX") else [["c++"], ["g++"], ["clang++"]]
    tried = []
    with tempfile.TemporaryDirectory() as tmp:
        source = Path(tmp, "probe.cpp")
        source.write_text("#include <string>\nint main() { return std::string().size(); }\n", encoding="utf-8")
        for command in candidates:
            if shutil.which(command[0]) is None:
                tried.append(f"`{command[0]}` not found")
                continue
            args = [*command, "-std=c++17", str(source), "-o", str(Path(tmp, "probe"))]
            out = subprocess.run(args, capture_output=True, text=True, check=False)
            if out.returncode == 0:
                return command
            tried.append(f"`{command[0]}` cannot compile: {(out.stderr.strip().splitlines() or ['?'])[0]}")
    raise SetupError(f"no working C++ compiler ({'; '.join(tried)}); {CXX_HELP}")


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def check_disk(cache: Path, plan: dict) -> None:
    """pip holds a wheel twice while it lands; later all wheels and the unpacked files are there together."""
    missing = [w["bytes"] for w in plan["wheels"] if not is_complete(cache / w["file"], w, hashed=False)]
    need = sum(missing) + max([plan["unpacked"], *missing]) + SLACK
    free = free_bytes(cache)
    if free < need:
        raise SetupError(f"not enough disk space at `{cache.parent}`: {size(need)} needed, {size(free)} free")


# Download, unpack, install --------------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def is_complete(path: Path, wheel: dict, hashed: bool = True) -> bool:
    if not path.is_file() or path.stat().st_size != wheel["bytes"]:
        return False
    return not hashed or sha256(path) == wheel["sha256"]


def download(wheel: dict, cache: Path) -> None:
    """Fetch one wheel into `cache` with pip, which refuses anything but the pinned sha256."""
    name, version = wheel["name"], wheel["version"]
    say(f"  downloading {name} {version} ({size(wheel['bytes'])})")
    landing = cache / "landing"
    shutil.rmtree(landing, ignore_errors=True)
    landing.mkdir()
    pin = landing / "pin.txt"
    pin.write_text(f"{name}=={version} --hash=sha256:{wheel['sha256']}\n", encoding="utf-8")
    platform_tag = wheel["file"][: -len(".whl")].split("-")[-1].split(".")[0]
    args = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--no-cache-dir"]
    args += ["--dest", str(landing), "--only-binary=:all:", "--platform", platform_tag]
    args += ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "-r", str(pin)]
    progress = sys.stderr if sys.stderr.isatty() else subprocess.PIPE
    env = {**os.environ, "TMPDIR": str(landing)}
    out = subprocess.run(args, stdout=progress, stderr=subprocess.PIPE, text=True, env=env, check=False)
    if out.returncode != 0:
        lines = [line for line in out.stderr.splitlines() if "rror" in line] or out.stderr.splitlines()
        raise SetupError(
            f"pip could not download {name} {version}:\n  "
            + "\n  ".join(lines[-4:])
            + "\ncheck the network (pip's own proxy and index settings are honoured) and run this again: "
            "finished downloads are kept"
        )
    (landing / wheel["file"]).replace(cache / wheel["file"])
    shutil.rmtree(landing)


def fetch(plan: dict, cache: Path) -> list[Path]:
    paths = []
    for wheel in plan["wheels"]:
        path = cache / wheel["file"]
        if is_complete(path, wheel):
            say(f"  {wheel['name']} {wheel['version']}: downloaded earlier")
        else:
            download(wheel, cache)
            if not is_complete(path, wheel):
                path.unlink()
                raise SetupError(f"`{wheel['file']}` is damaged (size or sha256); run this again")
        paths.append(path)
    return paths


def target(member: str, libs: dict) -> str | None:
    """Where a file of a wheel goes below the libtorch folder, or None: headers as they are, libraries side by side."""
    parts = member.split("/")
    if member.startswith("torch/include/") and parts[-1]:
        return member[len("torch/") :]
    if len(parts) > 2 and parts[-2] == "lib" and parts[-1] in libs:
        return f"lib/{parts[-1]}"
    return None


def unpack(wheel: Path, plan: dict, staging: Path) -> None:
    """Extract what `plan` wants from one wheel; every file must have the sha256 that the wheel's RECORD states."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            record_name = next((n for n in archive.namelist() if n.endswith(".dist-info/RECORD")), None)
            if record_name is None:
                raise SetupError(f"`{wheel.name}` has no RECORD")
            rows = csv.reader(archive.read(record_name).decode("utf-8").splitlines())
            record = {row[0]: row[1] for row in rows if len(row) > 1}
            for member in archive.namelist():
                place = target(member, plan["libs"])
                if place is not None:
                    digest = extract(archive, member, staging / place)
                    if record.get(member) != f"sha256={digest}":
                        raise SetupError(f"`{member}` of `{wheel.name}` does not have the sha256 of its RECORD")
    except (zipfile.BadZipFile, EOFError) as error:
        raise SetupError(f"`{wheel.name}` is damaged: {error}; run this again") from None


def extract(archive: zipfile.ZipFile, member: str, path: Path) -> str:
    """Write one member to `path`; its sha256 as RECORD spells it (urlsafe base64 without padding)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(member) as source, path.open("wb") as file:
        for chunk in iter(lambda: source.read(CHUNK), b""):
            digest.update(chunk)
            file.write(chunk)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def link_stub(compiler: list[str], lib: Path) -> None:
    """`libtorch.so`: the wheel's own needs libtorch_cuda, so a CPU build links an empty one that needs libtorch_cpu."""
    source = lib / "stub.cpp"
    source.write_text("", encoding="utf-8")
    args = [*compiler, "-shared", "-fPIC", source.name, "-o", STUB, "-Wl,-soname," + STUB, "-Wl,--no-as-needed"]
    args += ["-L.", "-ltorch_cpu", "-lc10", "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined"]
    out = subprocess.run(args, cwd=lib, capture_output=True, text=True, check=False)
    source.unlink()
    if out.returncode != 0:
        raise SetupError(f"cannot link `{STUB}`:\n{out.stderr.strip()}")


def install(dest: Path, plan: dict, cache: Path, compiler: list[str]) -> None:
    staging = cache / "unpacked"
    shutil.rmtree(staging, ignore_errors=True)
    wheels = fetch(plan, cache)
    say("  unpacking")
    for wheel in wheels:
        unpack(wheel, plan, staging)
    if plan.get("stub"):
        link_stub(compiler, staging / "lib")
    (staging / "build-version").write_text(plan["torch"] + "\n", encoding="utf-8")
    found = problem(staging, plan)
    if found is not None:
        raise SetupError(f"the wheels do not hold what `{LOCK.name}` says: {found}")
    if dest.exists():
        shutil.rmtree(cache / "replaced", ignore_errors=True)
        dest.rename(cache / "replaced")
    staging.rename(dest)


@contextlib.contextmanager
def locked(cache: Path):
    """One setup at a time per destination; the lock goes with the process."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"waiting for another setup of `{cache.stem}`")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def setup(dest: Path, plan: dict, env: dict) -> None:
    found = problem(dest, plan)
    if found is None:
        say(f"libtorch {plan['torch']} ({plan['kind']}): `{dest.name}` is ready")
        return
    say(f"libtorch {plan['torch']} ({plan['kind']}, {plan['platform']}): `{dest.name}` is {found}; assembling it")
    start = time.monotonic()
    check_pip()
    compiler = find_compiler(env)
    cache = dest.with_name(dest.name + ".cache")
    with locked(cache):
        if problem(dest, plan) is not None:
            check_disk(cache, plan)
            install(dest, plan, cache, compiler)
        shutil.rmtree(cache, ignore_errors=True)
    say(f"libtorch {plan['torch']} ({plan['kind']}): `{dest.name}` is ready, {time.monotonic() - start:.0f} s")


def list_plan(plan: dict) -> None:
    for wheel in plan["wheels"]:
        print(f"{size(wheel['bytes']):>10}  {wheel['file']}")
    total = sum(wheel["bytes"] for wheel in plan["wheels"])
    print(f"{size(total):>10}  to download, {size(plan['unpacked'])} unpacked, {len(plan['libs'])} libraries")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Assemble libtorch for this machine from pinned wheels.")
    parser.add_argument("--cuda", action="store_true", help="the CUDA libraries, into `.libtorch-cuda`")
    parser.add_argument("--dest", type=Path, help="folder to make (default: `.libtorch` or `.libtorch-cuda`)")
    parser.add_argument("--platform", help="list for another platform (with --dry-run): linux-x86_64, ...")
    parser.add_argument("--dry-run", action="store_true", help="list wheels and sizes, change nothing")
    args = parser.parse_args(argv)
    kind = "cuda" if args.cuda else "cpu"
    dest = (args.dest or ROOT / (".libtorch-cuda" if args.cuda else ".libtorch")).absolute()
    try:
        lock = json.loads(LOCK.read_text(encoding="utf-8"))
        if args.platform and (not args.dry_run or args.platform not in lock["platforms"]):
            parser.error(f"--platform goes with --dry-run and is one of {', '.join(lock['platforms'])}")
        brought = None if args.cuda or args.dry_run else user_libtorch(dict(os.environ), lock["torch"], dest)
        if brought is not None:
            say(brought)
            return 0
        plan = load_plan(lock, args.platform or this_platform(), kind)
        if args.dry_run:
            list_plan(plan)
        else:
            setup(dest, plan, dict(os.environ))
    except SetupError as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted: nothing was changed; run this again to resume")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
