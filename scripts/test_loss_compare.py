"""Tests of loss_compare.py."""

import json
import struct
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import loss_compare as lc  # noqa: E402
from loss_compare_cases import CASES  # noqa: E402

NO_NAMES = lc.SAME_NAMES


def safetensors(**values: list) -> bytes:
    header, data = {"__metadata__": {"commit": "abc"}}, b""
    for name, value in values.items():
        raw = struct.pack(f"<{len(value)}f", *value)
        header[name] = {"dtype": "F32", "shape": [len(value)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def record(update: int, kind: str, **values) -> str:
    return json.dumps({"update": update, "kind": kind, "wall_s": 1.5, "values": values})


class RenameTest(unittest.TestCase):
    table = {"optim.generator": "optim.student", "generator": "student", "form=full": "tuning=full"}

    def test_whole_names_and_beginnings(self):
        for old, new in [
            ("optim.generator.lr=1e-3", "optim.student.lr=1e-3"),
            ("optim.generator", "optim.student"),
            ("generator.ema", "student.ema"),
            ("form=full", "tuning=full"),
        ]:
            self.assertEqual(lc.rename(old, self.table), new)

    def test_others_stay(self):
        for name in ("generators", "optim.score", "form=fuller", "a.generator", ""):
            self.assertEqual(lc.rename(name, self.table), name)

    def test_the_longest_wins(self):
        self.assertEqual(lc.rename("a.b.c", {"a": "x", "a.b": "y"}), "y.c")

    def test_there_and_back(self):
        back = lc.inverse(self.table)
        self.assertEqual(lc.rename("optim.student.lr=1", back), "optim.generator.lr=1")
        with self.assertRaises(ValueError):
            lc.inverse({"a": "c", "b": "c"})

    def test_the_tables_in_use_have_a_way_back(self):
        for table in lc.RENAMES.values():
            lc.inverse(table)


class ReadTest(unittest.TestCase):
    def test_tensors_by_name_dtype_shape_and_bytes(self):
        found = lc.tensors(safetensors(b=[1.0, 2.0], a=[1.0, 2.0]))
        self.assertEqual(list(found), ["a", "b"])
        self.assertEqual(found["a"], found["b"])
        self.assertTrue(found["a"].startswith("F32 [2] "), found)
        self.assertNotEqual(found["a"], lc.tensors(safetensors(a=[1.0, -2.0]))["a"])
        self.assertNotEqual(lc.tensors(safetensors(a=[0.0]))["a"], lc.tensors(safetensors(a=[-0.0]))["a"])

    def test_numbers_of_metrics_but_times(self):
        lines = [record(0, "train", **{"loss/rl": 0.5, "time/update_s": 3}), record(0, "score", **{"loss/rl": "NaN"})]
        names = {**NO_NAMES, "records": {"score": "fake"}, "metrics": {"loss/rl": "loss/reward"}}
        found = lc.metrics("\n".join(lines), names)
        self.assertEqual(found, {"train 0: loss/reward": "0.5", "fake 0: loss/reward": "nan"})

    def test_numbers_of_json(self):
        value = {"settings": "x 3", "a": [{"b": 1, "c": True}, 2.5], "d": None, "e": "NaN"}
        self.assertEqual(lc.numbers(value), {"a.0.b": "1.0", "a.1": "2.5", "e": "nan"})

    def test_a_run_s_folder(self):
        with tempfile.TemporaryDirectory() as tmp:
            old, last = [Path(tmp, "run/checkpoints", name) for name in ("update-000005", "update-000010")]
            for folder in (old, last, Path(tmp, "run/samples")):
                folder.mkdir(parents=True)
            Path(tmp, "run/metrics.jsonl").write_text(record(9, "train", loss=1))
            (old / "generator.safetensors").write_bytes(safetensors(w=[1.0]))
            (last / "generator.ema.safetensors").write_bytes(safetensors(w=[2.0]))
            Path(tmp, "run/student.safetensors").write_bytes(safetensors(w=[3.0]))
            Path(tmp, "run/samples/update-000010.png").write_bytes(b"png")
            found = lc.outcome(Path(tmp), {**NO_NAMES, "files": {"generator": "student"}, "tensors": {"w": "v"}})
        expected = ["train 9: loss", "checkpoint student.ema: v", "result student: v", "sheet 000010"]
        self.assertEqual(list(found), expected)


class DifferenceTest(unittest.TestCase):
    def test_one_ulp_is_found_and_named(self):
        base, here = [lc.metrics(record(3, "train", loss=loss), NO_NAMES) for loss in (0.3, 0.1 + 0.2)]
        lines = lc.differences("refl", base, here, {})
        self.assertEqual(lines, ["train 3: loss: BASE 0.3, here 0.30000000000000004"])
        self.assertEqual(lc.differences("refl", base, base, {}), [])

    def test_nan_equals_itself_and_zero_has_a_sign(self):
        values = [lc.metrics(record(0, "train", a="NaN", b=b), NO_NAMES) for b in (0.0, -0.0)]
        self.assertEqual(lc.differences("refl", *values, {}), ["train 0: b: BASE 0.0, here -0.0"])

    def test_missing_names_unless_expected(self):
        base, here = {"train 0: a": "1.0", "train 0: b": "1.0"}, {"train 0: c": "1.0", "train 0: a": "1.0"}
        lines = lc.differences("refl", base, here, {})
        self.assertEqual(lines, ["train 0: c: only here", "train 0: b: only in BASE"])
        expected = {("re*", "train *: c"): "it is new", ("dpo", "train 0: b"): "of another case"}
        self.assertEqual(lc.differences("refl", base, here, expected), ["train 0: b: only in BASE"])
        # What both sides have must agree all the same.
        base["train 0: c"] = "2.0"
        self.assertIn("train 0: c: BASE 2.0, here 1.0", lc.differences("refl", base, here, expected))


class CasesTest(unittest.TestCase):
    def test_names_differ(self):
        names = [case.name for case in CASES]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
