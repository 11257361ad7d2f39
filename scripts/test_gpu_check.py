"""The parts of `gpu-check` that need no program: configs, the table, parts that fail."""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import json
import tempfile
import tomllib
import unittest
from pathlib import Path

import gpu_shapes

SCRIPT = Path(__file__).with_name("gpu-check")
LOADER = importlib.machinery.SourceFileLoader("gpu_check", str(SCRIPT))
gpu_check = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", LOADER))
LOADER.exec_module(gpu_check)

BENCH = {
    "batch_size": 4,
    "size": 1024,
    "update_s": 2.0,
    "fake_score_s": 0.75,
    "generator_s": 1.25,
    "operations": 10**15,
    "rate": 5e14,
    "ceiling": 1e15,
    "peak_bytes": 3 << 30,
    "forecast_bytes": 4 << 30,
    "phases": {},
    "eager": {"seconds": [2.0, 3.0, 4.0]},
    "compiled": {"failed": "no compiler"},
    "took_s": 60.0,
}


class ShapesTest(unittest.TestCase):
    def test_a_folder_and_a_config_for_every_model(self):
        for model in [*gpu_shapes.MODELS, *map(gpu_shapes.tiny, gpu_shapes.MODELS)]:
            with tempfile.TemporaryDirectory() as place:
                path = gpu_shapes.write(model, Path(place), "cuda", "bf16", 1024)
                config = tomllib.loads(path.read_text())
                self.assertEqual(config["method"]["dmdr"]["batch_size"], model.batch_size)
                network = Path(place) / "model" / model.network / "config.json"
                self.assertEqual(json.loads(network.read_text())["_class_name"], model.config["_class_name"])

    def test_a_tiny_model_has_the_same_keys(self):
        for model in gpu_shapes.MODELS:
            self.assertEqual(gpu_shapes.tiny(model).config.keys(), model.config.keys())


class TableTest(unittest.TestCase):
    def test_figures_and_failures(self):
        parts = {"parity": {"passed": 61, "took_s": 20.0}, "resume": {"failed": "killed", "took_s": 1.0}, "SDXL": BENCH}
        text = gpu_check.table({"device": "cuda", "tiny": False, "parts": parts})
        self.assertIn("| parity | 61 tests of networks agree with PyTorch | 20.0 |", text)
        self.assertIn("| resume | killed | 1.0 |", text)
        row = "| SDXL | 4 | 1024 | 2.000 | 0.750 | 1.250 | 500.00 | 50% | 3.00 GiB | 4.00 GiB | 1.50x | - |"
        self.assertIn(row, text)

    def test_a_part_that_fails_is_not_the_end(self):
        with tempfile.TemporaryDirectory() as place:
            options = {"device": "cpu", "tiny": True, "minutes": 1.0, "out": Path(place), "python": "no-such-python"}
            check = object.__new__(gpu_check.Check)
            check.args = argparse.Namespace(**options)
            check.ends = gpu_check.time.monotonic() + 60
            check.found = {"device": "cpu", "tiny": True, "parts": {}}
            check.part("broken", lambda: 1 / 0)
            check.part("sound", dict)
            found = json.loads((Path(place) / "gpu-check.json").read_text())["parts"]
            self.assertIn("ZeroDivisionError", found["broken"]["failed"])
            self.assertNotIn("failed", found["sound"])


if __name__ == "__main__":
    unittest.main()
