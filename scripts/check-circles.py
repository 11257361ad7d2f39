"""Check that no files of a crate use each other in a circle, but for those that the table below gives a reason for.

A file uses another one by a `use` line or by a path in its code that starts with `crate`, `self`, `super` or a module
that it declares. A name that is re-exported counts for the file that it comes from. Tests do not count.
"""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Files that may use, in a circle, others that use them: by crate and file, which others, and why. Among those others
# there must be no circle. An entry that allows nothing any more must leave this table.
Allowed = dict[tuple[str, str], tuple[tuple[str, ...], str]]
ALLOWED: Allowed = {
    ("cli", "commands"): (("commands::*",), "it dispatches to the commands, and holds what they share about runs"),
    ("studies", "studies::fig7"): (("studies::fig7::*",), "it joins its halves, and holds what both measure"),
    ("studies", "studies::table4"): (("studies::table4::*",), "it joins its halves, and holds what both measure"),
    ("models", "family"): (("*::family", "pipeline"), "the contract of families with the one list of them"),
    ("report", "sections"): (("sections::*",), "it lists the sections, and holds what each chart has to know"),
    ("train", "pretrain"): (("pretrain::*",), "it lists the objectives, and holds the update that they share"),
    ("train", "source"): (("source::*",), "the contract of sources with the one list of them"),
}

Module = tuple[str, ...]
ITEMS = "fn|struct|enum|trait|type|const|static|union|mod"


def without_comments_and_tests(text: str) -> str:
    """The code, with comments, strings and what `#[cfg(test)]` stands before left out."""
    token = r'//[^\n]*|/\*.*?\*/|(?<!\w)b?r(#*)".*?"\1|(?<!\w)b?"(?:\\.|[^"\\])*"|\'(?:\\.[^\']*|[^\'\\])\''
    text = re.sub(token, '""', text, flags=re.DOTALL)
    while found := re.search(r"#\[cfg\(test\)\]", text):
        end, depth = found.end(), 0
        while end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
            if depth == 0 and text[end - 1] in ";}":
                break
        text = text[: found.start()] + text[end:]
    return text


def leaves(tree: str) -> list[tuple[list[str], str]]:
    """Every path that a `use` brings in, with the name that it has here: `a::{b, c as d}` is `a::b` and `a::c`."""
    tree = tree.strip()
    if "{" not in tree:
        path, _, name = tree.partition(" as ")
        parts = [part.strip() for part in path.split("::")]
        if parts[-1] == "self" and len(parts) > 1:
            parts.pop()
        return [(parts, name.strip() or parts[-1])] if parts[-1] else []
    head, inner = tree.split("{", 1)
    items, depth = [""], 0
    for char in inner.rsplit("}", 1)[0]:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            items.append("")
        else:
            items[-1] += char
    return [leaf for item in items if item.strip() for leaf in leaves(head + item.strip())]


class Crate:
    """The files of a crate and which of them use which."""

    def __init__(self, sources: dict[str, str]):
        """`sources`: texts by path below `src`."""
        self.code = {module_of(path): without_comments_and_tests(text) for path, text in sources.items()}
        # Names that a module gives out and does not hold itself, with where they come from; "*" is a list.
        self.exports: dict[Module, dict[str, list[Module]]] = {module: {} for module in self.code}
        for module, code in self.code.items():
            for tree in re.findall(r"\bpub(?:\([^)]*\))?\s+use\s+([^;]+);", code):
                for parts, name in leaves(tree):
                    if path := self.absolute(module, parts):
                        self.exports[module].setdefault(name, []).append(path)

    def absolute(self, module: Module, parts: list[str]) -> Module | None:
        """A path from the crate's root; none for one that leaves the crate."""
        first, rest = parts[0], tuple(parts[1:])
        if first == "crate":
            return rest
        if first == "self":
            return module + rest
        if first == "super":
            while rest[:1] == ("super",):
                module, rest = module[:-1], rest[1:]
            return module[:-1] + rest
        return (*module, *parts) if (*module, first) in self.code else None

    def file_of(self, path: Module, seen: frozenset[Module] = frozenset()) -> Module | None:
        """The file that a path from the root leads to, through re-exports."""
        if path in seen:
            return None
        place: Module = ()
        for index, name in enumerate(path):
            if (*place, name) in self.code:
                place = (*place, name)
                continue
            given, rest = self.exports[place], path[index + 1 :]
            for origin in given.get(name, []):
                return self.file_of(origin + rest, seen | {path})
            for origin in given.get("*", []):
                behind = origin[:-1]
                if behind in self.code and re.search(rf"\b(?:{ITEMS})\s+{name}\b", self.code[behind]):
                    return self.file_of((*behind, name, *rest), seen | {path})
            break
        return place

    def uses(self, module: Module) -> set[Module]:
        """The other files that a file uses; the root, which only declares, is none."""
        code = self.code[module]
        paths = [parts for tree in re.findall(r"\buse\s+([^;]+);", code) for parts, _ in leaves(tree)]
        body = re.sub(r"\buse\s+[^;]+;", "", code)
        paths += [path.split("::") for path in re.findall(r"(?<![\w:])[a-z_]\w*(?:::\w+)+", body)]
        found = {self.file_of(path) for parts in paths if (path := self.absolute(module, parts)) is not None}
        return {file for file in found if file and file != module}


def module_of(path: str) -> Module:
    parts = Path(path).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts


Graph = dict[str, set[str]]


def graph_of(sources: dict[str, str]) -> Graph:
    """Which files of a crate use which, as modules; `sources` are texts by path below `src`."""
    crate, name = Crate(sources), "::".join
    return {name(module): set(map(name, crate.uses(module))) for module in crate.code if module}


def circles(graph: Graph) -> list[frozenset[str]]:
    """Groups of files of which each reaches every other."""

    def reached(start: str) -> set[str]:
        found, left = set(), [start]
        while left:
            new = graph[left.pop()] - found
            found |= new
            left += new
        return found

    reach = {file: reached(file) for file in graph}
    in_circles = [file for file in graph if file in reach[file]]
    groups = {frozenset(other for other in reach[file] if file in reach[other]) for file in in_circles}
    return sorted(groups, key=sorted)


def problems(crates: dict[str, dict[str, str]], allowed: Allowed) -> list[str]:
    """Circles without a reason, and reasons without a circle."""
    found = []
    for crate, sources in sorted(crates.items()):
        graph = graph_of(sources)
        for (owner, middle), (patterns, _) in allowed.items():
            if owner != crate:
                continue
            if not any(middle in circle for circle in circles(graph)):
                found.append(f"`{crate}`: no circle needs `{middle}`: remove it from {Path(__file__).name}")
                continue
            fits = {file for file in graph if any(fnmatchcase(file, pattern) for pattern in patterns)}
            graph[middle] = graph[middle] - fits
        for circle in circles(graph):
            uses = {one: ", ".join(f"`{other}`" for other in sorted(graph[one] & circle)) for one in sorted(circle)}
            uses = "; ".join(f"`{one}` uses {others}" for one, others in uses.items())
            found.append(f"`{crate}` has a circle of files: {uses}")
    return found


def main() -> int:
    crates = {}
    for src in (*ROOT.glob("crates/*/src"), ROOT / "studies/src"):
        files = {path.relative_to(src): path.read_text(encoding="utf-8") for path in src.rglob("*.rs")}
        sources = {str(path): text for path, text in files.items() if "tests" not in path.with_suffix("").parts}
        crates[src.parent.name] = sources
    found = problems(crates, ALLOWED)
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
