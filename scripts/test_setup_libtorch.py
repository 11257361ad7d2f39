"""Tests of setup-libtorch.py: small made-up wheels, no network, no 500 MB.  python3 -m unittest discover scripts"""

import base64
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

SCRIPT = Path(__file__).resolve().with_name("setup-libtorch.py")
spec = importlib.util.spec_from_file_location("setup_libtorch", SCRIPT)
setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(setup)

TORCH_FILES = {
    "torch/include/torch/csrc/api/include/torch/torch.h": b"// torch.h\n",
    "torch/include/ATen/ATen.h": b"// ATen.h\n",
    "torch/lib/libtorch_cpu.so": b"cpu" * 100,
    "torch/lib/libc10.so": b"c10" * 10,
    "torch/lib/libtorch.so": b"needs libtorch_cuda",
    "torch/lib/libtorch_python.so": b"python",
    "torch/nn/__init__.py": b"",
}
CUDART_FILES = {"nvidia/cu13/lib/libcudart.so.13": b"cudart", "nvidia/cu13/include/cuda.h": b"// cuda.h\n"}
LIBS = {"libtorch_cpu.so": 300, "libc10.so": 30, "libcudart.so.13": 6}


def make_wheel(path: Path, files: dict, wrong: str = "") -> dict:
    """A wheel with RECORD, and its entry in the lock; the RECORD lies about the file named `wrong`."""
    rows = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            digest = hashlib.sha256(b"other" if name == wrong else data).digest()
            rows.append(f"{name},sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()},{len(data)}")
            archive.writestr(name, data)
        info = "-".join(path.name.split("-")[:2]) + ".dist-info/RECORD"
        archive.writestr(info, "\n".join([*rows, info + ",,"]) + "\n")
    name, version = path.name.split("-")[:2]
    data = path.read_bytes()
    entry = {"name": name.replace("_", "-"), "version": version, "file": path.name}
    return {**entry, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


class SetupTest(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.index = Path(tmp.name, "index")
        self.index.mkdir()
        self.dest = Path(tmp.name, "repo", ".libtorch")
        self.dest.parent.mkdir()
        self.cache = self.dest.with_name(".libtorch.cache")
        self.downloads = []
        self.plan = self.make_plan()
        self.patch("download", self.fake_download)
        self.patch("check_pip", lambda: None)
        self.patch("find_compiler", lambda env: ["c++"])
        self.patch("link_stub", lambda compiler, lib: (lib / setup.STUB).write_bytes(b"stub"))

    def patch(self, name, value):
        patcher = mock.patch.object(setup, name, value)
        patcher.start()
        self.addCleanup(patcher.stop)

    def make_plan(self, wrong: str = "") -> dict:
        wheels = [
            make_wheel(self.index / "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl", TORCH_FILES, wrong),
            make_wheel(self.index / "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.whl", CUDART_FILES),
        ]
        head = {"torch": "2.11.0", "platform": "linux-x86_64", "kind": "cpu", "unpacked": 1000, "stub": True}
        return {**head, "wheels": wheels, "libs": dict(LIBS)}

    def fake_download(self, wheel, cache):
        self.downloads.append(wheel["name"])
        (cache / wheel["file"]).write_bytes((self.index / wheel["file"]).read_bytes())

    def setup(self) -> str:
        """Run the setup; what it said."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            setup.setup(self.dest, self.plan, {})
        return said.getvalue()

    def setup_fails(self) -> str:
        with self.assertRaises(setup.SetupError) as caught:
            self.setup()
        return str(caught.exception)

    def test_assembles_what_the_plan_names_and_removes_the_cache(self):
        self.setup()
        found = {str(p.relative_to(self.dest)) for p in self.dest.rglob("*") if p.is_file()}
        libs = {"lib/libtorch_cpu.so", "lib/libc10.so", "lib/libcudart.so.13", "lib/libtorch.so", "build-version"}
        self.assertEqual(found, libs | {"include/ATen/ATen.h", setup.TORCH_H})
        self.assertEqual((self.dest / "lib/libtorch.so").read_bytes(), b"stub")
        self.assertEqual((self.dest / "build-version").read_text(), "2.11.0\n")
        self.assertFalse(self.cache.exists())

    def test_says_one_line_and_downloads_nothing_when_ready(self):
        self.setup()
        self.downloads.clear()
        self.patch("check_pip", mock.Mock(side_effect=AssertionError("not needed")))
        self.assertEqual(self.setup(), "libtorch 2.11.0 (cpu): `.libtorch` is ready\n")
        self.assertEqual(self.downloads, [])

    def test_rebuilds_another_version_and_says_so(self):
        self.setup()
        (self.dest / "build-version").write_text("2.10.0+cpu\n")
        (self.dest / "old").write_text("")
        self.assertIn("libtorch 2.10.0+cpu, but 2.11.0 is needed", self.setup())
        self.assertFalse((self.dest / "old").exists())
        self.assertIsNone(setup.problem(self.dest, self.plan))

    def test_rebuilds_when_a_library_is_cut_short(self):
        self.setup()
        (self.dest / "lib/libtorch_cpu.so").write_bytes(b"cpu")
        self.assertIn("`lib/libtorch_cpu.so` is absent", self.setup())
        self.assertIsNone(setup.problem(self.dest, self.plan))

    def test_resumes_from_finished_downloads(self):
        real = self.fake_download

        def cut_off(wheel, cache):
            if wheel["name"] != "torch":
                raise KeyboardInterrupt
            real(wheel, cache)

        with mock.patch.object(setup, "download", cut_off), self.assertRaises(KeyboardInterrupt):
            self.setup()
        self.assertFalse(self.dest.exists())
        self.downloads.clear()
        self.assertIn("torch 2.11.0: downloaded earlier", self.setup())
        self.assertEqual(self.downloads, ["nvidia-cuda-runtime"])
        self.assertIsNone(setup.problem(self.dest, self.plan))

    def test_downloads_again_what_is_truncated_in_the_cache(self):
        self.cache.mkdir()
        wheel = self.plan["wheels"][0]["file"]
        (self.cache / wheel).write_bytes((self.index / wheel).read_bytes()[:100])
        self.setup()
        self.assertIn("torch", self.downloads)

    def test_refuses_a_truncated_download(self):
        path = self.index / self.plan["wheels"][0]["file"]
        path.write_bytes(path.read_bytes()[:-20])
        self.assertIn("is damaged", self.setup_fails())
        self.assertFalse(self.dest.exists())

    def test_refuses_a_wheel_that_is_no_zip(self):
        wheel = self.plan["wheels"][0]
        data = b"not a zip" * 10
        (self.index / wheel["file"]).write_bytes(data)
        wheel.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        self.assertIn("is damaged", self.setup_fails())
        self.assertFalse(self.dest.exists())

    def test_refuses_a_file_that_differs_from_record(self):
        self.plan = self.make_plan(wrong="torch/lib/libc10.so")
        self.assertIn("`torch/lib/libc10.so`", self.setup_fails())
        self.assertFalse(self.dest.exists())

    def test_keeps_the_old_folder_when_the_new_one_fails(self):
        self.setup()
        (self.dest / "build-version").write_text("2.10.0\n")
        self.plan = self.make_plan(wrong="torch/lib/libc10.so")
        self.setup_fails()
        self.assertEqual((self.dest / "build-version").read_text(), "2.10.0\n")

    def test_refuses_wheels_without_a_promised_library(self):
        self.plan["libs"]["libgomp.so.1"] = 5
        self.assertIn("`lib/libgomp.so.1` is absent", self.setup_fails())

    def test_low_disk_names_needed_and_free(self):
        self.patch("free_bytes", lambda folder: 3_000_000)
        self.plan["unpacked"] = 2_000_000_000
        message = self.setup_fails()
        self.assertIn("2.10 GB needed, 3.0 MB free", message)
        self.assertEqual(self.downloads, [])

    def test_disk_check_counts_finished_downloads(self):
        needed = sum(w["bytes"] for w in self.plan["wheels"]) + 1000 + setup.SLACK
        self.cache.mkdir()
        self.patch("free_bytes", lambda folder: needed - 1)
        with self.assertRaises(setup.SetupError):
            setup.check_disk(self.cache, self.plan)
        wheel = self.plan["wheels"][0]
        (self.cache / wheel["file"]).write_bytes((self.index / wheel["file"]).read_bytes())
        setup.check_disk(self.cache, self.plan)


class MachineTest(unittest.TestCase):
    """What is asked of the machine, and of a libtorch that the user brings."""

    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.tmp = Path(tmp.name)

    def main(self, *args, **env) -> tuple:
        said, out = io.StringIO(), io.StringIO()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LIBTORCH") and k not in ("CXX", "VIRTUAL_ENV")}
        with mock.patch.dict(os.environ, {**clean, **env}, clear=True):
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
                code = setup.main([*args, "--dest", str(self.tmp / ".libtorch")])
        return code, said.getvalue(), out.getvalue()

    def test_no_pip(self):
        failed = subprocess.CompletedProcess([], 1, "", "No module named pip")
        with mock.patch.object(setup.subprocess, "run", return_value=failed):
            with self.assertRaisesRegex(setup.SetupError, "apt-get install python3-pip"):
                setup.check_pip()

    def test_pip_failure_is_told_without_traceback(self):
        failed = subprocess.CompletedProcess([], 1, "", "WARNING: retry\nERROR: No matching distribution\n")
        wheel = {"name": "torch", "version": "2.11.0", "file": "torch-2.11.0-cp311-cp311-any.whl", "bytes": 1, "sha256": ""}
        with mock.patch.object(setup.subprocess, "run", return_value=failed), mock.patch.object(setup, "say"):
            with self.assertRaisesRegex(setup.SetupError, "No matching distribution\n.*finished downloads are kept"):
                setup.download(wheel, self.tmp)

    def test_no_compiler(self):
        with mock.patch.object(setup.shutil, "which", return_value=None):
            with self.assertRaisesRegex(setup.SetupError, r"(?s)`c\+\+` not found; .*`clang\+\+` not found.*apt-get install g\+\+"):
                setup.find_compiler({})

    def test_compiler_that_does_not_work(self):
        with self.assertRaisesRegex(setup.SetupError, "`false` cannot compile"):
            setup.find_compiler({"CXX": "false"})

    def test_unsupported_platforms_name_the_alternatives(self):
        cases = [("Windows", "AMD64", ("", "")), ("Darwin", "x86_64", ("", "")), ("Linux", "x86_64", ("glibc", "2.17"))]
        for system, machine, libc in cases:
            with mock.patch.multiple(
                setup.platform, system=lambda: system, machine=lambda: machine, libc_ver=lambda: libc
            ), self.assertRaisesRegex(setup.SetupError, "(?s)supported: .*LIBTORCH=.*LIBTORCH_USE_PYTORCH=1"):
                setup.this_platform()

    def test_supported_platforms_are_in_the_lock(self):
        lock = json.loads(setup.LOCK.read_text(encoding="utf-8"))
        cases = [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")]
        for system, machine in cases:
            with mock.patch.multiple(
                setup.platform, system=lambda: system, machine=lambda: machine, libc_ver=lambda: ("glibc", "2.36")
            ):
                self.assertIn(setup.this_platform(), lock["platforms"])

    def test_libtorch_variable_is_checked_and_used(self):
        folder = self.tmp / "mine"
        folder.mkdir()
        (folder / "build-version").write_text("2.11.0+cu130\n")
        code, said, _ = self.main(LIBTORCH=str(folder))
        self.assertEqual((code, said), (0, f"libtorch 2.11.0+cu130: `{folder}` (LIBTORCH)\n"))
        (folder / "build-version").write_text("2.4.0\n")
        code, said, _ = self.main(LIBTORCH=str(folder))
        self.assertEqual(code, 1)
        self.assertIn("is version 2.4.0, but 2.11.0 is needed", said)

    def test_libtorch_variable_without_build_version_is_read_from_headers(self):
        header = self.tmp / "mine/include/torch/headeronly/version.h"
        header.parent.mkdir(parents=True)
        header.write_text('#define TORCH_VERSION "2.11.0"\n')
        self.assertEqual(self.main(LIBTORCH=str(self.tmp / "mine"))[0], 0)
        code, said, _ = self.main(LIBTORCH=str(self.tmp / "nothing"))
        self.assertEqual(code, 1)
        self.assertIn("that is no libtorch folder", said)

    def test_pytorch_of_python_is_checked_and_used(self):
        fake = self.tmp / "python3"
        fake.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
        fake.chmod(0o755)
        code, said, _ = self.main(LIBTORCH_USE_PYTORCH="1", PATH=str(self.tmp))
        self.assertEqual(code, 1)
        self.assertIn("`python3` cannot import torch: ModuleNotFoundError", said)
        fake.write_text("#!/bin/sh\necho 2.11.0+cpu\n")
        code, said, _ = self.main(LIBTORCH_USE_PYTORCH="1", PATH=str(self.tmp))
        self.assertEqual((code, said), (0, "libtorch 2.11.0+cpu: PyTorch of `python3` (LIBTORCH_USE_PYTORCH)\n"))

    def test_dry_run_lists_wheels_and_sizes(self):
        code, _, out = self.main("--dry-run", "--cuda", "--platform", "linux-x86_64")
        self.assertEqual(code, 0)
        lines = out.splitlines()
        self.assertRegex(lines[0], r"530.6 MB  torch-2.11.0-.*\.whl")
        self.assertTrue(any("nvidia_cudnn" in line for line in lines))
        self.assertRegex(lines[-1], r"2\.\d+ GB  to download, \d\.\d+ GB unpacked, \d+ libraries")
        self.assertFalse((self.tmp / ".libtorch").exists())

    def test_no_cuda_on_macos(self):
        code, said, _ = self.main("--dry-run", "--cuda", "--platform", "macos-arm64")
        self.assertEqual((code, said), (1, "error: there is no CUDA libtorch for macos-arm64\n"))


if __name__ == "__main__":
    unittest.main()
