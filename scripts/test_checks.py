"""Tests of check-size.py, check-layers.py and check-circles.py."""

import importlib.util
import tempfile
import unittest
from pathlib import Path


def load(name: str):
    path = Path(__file__).resolve().with_name(name + ".py")
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_size = load("check-size")
check_layers = load("check-layers")
check_circles = load("check-circles")


class SizeTest(unittest.TestCase):
    def problems(self, files: dict) -> list:
        with tempfile.TemporaryDirectory() as tmp:
            for name, data in files.items():
                path = Path(tmp, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            return check_size.problems(Path(tmp), sorted(files))

    def test_good_files_pass(self):
        code = b'//! A todo list, with `ignore` in its name.\n#[expect(dead_code, reason = "x")]\n'
        self.assertEqual(self.problems({"src/a.rs": code + b"\n" * 498, "assets/a": bytes(4 << 20)}), [])

    def test_long_rust_file(self):
        self.assertEqual(len(self.problems({"a.rs": b"\n" * 501, "a.py": b"\n" * 501})), 1)

    def test_large_file_and_large_assets(self):
        self.assertIn("4.2 MB", self.problems({"a.bin": bytes((4 << 20) + 1)})[0])
        files = {f"assets/{n}": bytes(4 << 20) for n in range(6)}
        self.assertIn("assets/: 25.2 MB", self.problems(files)[0])

    def test_work_left_open(self):
        # In two pieces, so that no search of this repository finds them here.
        for text in ("to" + "do!()", "unimple" + 'mented!("x")', "d" + "bg!(x)", "#[ig" + 'nore = "slow"]'):
            self.assertEqual(len(self.problems({"a.rs": text.encode()})), 1, text)


class LayersTest(unittest.TestCase):
    def violations(self, **edges) -> list:
        names = sorted({*edges, *(name for deps in edges.values() for name, _ in deps)} - {"tch", "torch-sys"})
        packages = [
            {
                "name": f"dmdr-{name}",
                "manifest_path": f"/r/crates/{name}/Cargo.toml",
                "dependencies": [
                    {"name": dep if dep in check_layers.ENGINE else f"dmdr-{dep}", "kind": kind}
                    for dep, kind in edges.get(name, [])
                ],
            }
            for name in names
        ]
        return check_layers.violations(packages)

    def test_allowed(self):
        self.assertEqual(self.violations(methods=[("diffusion", None), ("config", None)], eval=[("world", None)]), [])
        self.assertEqual(self.violations(tensor=[("tch", None), ("torch-sys", None)], cli=[("torch-sys", "build")]), [])
        self.assertEqual(self.violations(diffusion=[("world", "dev")], world=[("events", "dev")]), [])

    def test_refused(self):
        for edges in (
            {"diffusion": [("models", None)]},
            {"world": [("tensor", None)]},
            {"report": [("tensor", "dev")]},
            {"models": [("tch", None)]},
            {"cli": [("tch", None)]},
            {"eval": [("train", None)]},
            {"unknown": []},
        ):
            self.assertEqual(len(self.violations(**edges)), 1, edges)


class CirclesTest(unittest.TestCase):
    def circles(self, **files: str) -> list:
        """Files by name, where `__` is a slash."""
        sources = {name.replace("__", "/") + ".rs": text for name, text in files.items()}
        return [sorted(circle) for circle in check_circles.circles(check_circles.graph_of(sources))]

    def test_no_circle(self):
        lib = "mod a;\nmod b;\npub use a::A;\npub use b::{B, C};"
        self.assertEqual(self.circles(lib=lib, a="use crate::{C, b::B};", b="pub struct B;"), [])
        # A parent that declares, re-exports and does not hold what its children use.
        parent = "mod x;\nmod y;\npub use x::X;\npub use self::{y::Y};"
        self.assertEqual(self.circles(lib="mod p;", p__mod=parent, p__x="use super::Y;", p__y=""), [])

    def test_what_is_no_use(self):
        for text in (
            "// use crate::a::A;",
            "/// [`A`](crate::a::A)",
            'const TEXT: &str = "crate::a::A";',
            'const TEXT: &str = r#"x" crate::a::A"#;',
            "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
            "#[cfg(test)]\nmod tests;",
            "use std::a::A;",
        ):
            self.assertEqual(self.circles(lib="", a="use crate::b::B;", b=text), [], text)

    def test_every_way_to_use(self):
        for text in (
            "use crate::a::A;",
            "pub use super::a::*;",
            "use crate::{b, a::{self, A as Other}};",
            "use crate::A;",
            "use std::fmt;\nfn f() -> crate::a::A {}",
            "fn f<'a>(x: &'a str) -> super::A<'a> {}",
            "#[cfg(test)]\nuse std::fmt;\nuse crate::A;",
        ):
            self.assertEqual(self.circles(lib="pub use a::A;", a="use crate::b::B;", b=text), [["a", "b"]], text)
        parent = "mod x;\npub struct P;\nfn f() { x::go() }"
        self.assertEqual(self.circles(lib="", p=parent, p__x="use super::P;"), [["p", "p::x"]])

    def test_a_reason_covers_its_files_alone(self):
        reason = {("c", "list"): (("list::*",), "it lists them")}
        child = "use super::T;"
        files = {"list.rs": "mod x;\nmod y;\nuse x::X;\nuse y::Y;", "list/x.rs": child, "list/y.rs": child}
        self.assertEqual(check_circles.problems({"c": files}, reason), [])
        self.assertIn("`list::x` uses `list`", check_circles.problems({"c": files}, {})[0])
        children = {**files, "list/x.rs": "use super::y::Y;", "list/y.rs": "use super::{T, x::X};"}
        self.assertIn("`list::x` uses `list::y`", check_circles.problems({"c": children}, reason)[0])
        other = {**files, "list.rs": "use x::X;\nuse crate::z::Z;", "z.rs": "use crate::list::T;"}
        self.assertIn("`z` uses `list`", check_circles.problems({"c": other}, reason)[0])

    def test_a_reason_without_a_circle_goes(self):
        reason = {("c", "list"): (("list::*",), "it lists them")}
        self.assertIn("remove it", check_circles.problems({"c": {"list.rs": "mod x;", "list/x.rs": ""}}, reason)[0])


if __name__ == "__main__":
    unittest.main()
