"""Writes docs/conformance.md: which item of the BFD standards is kept by which tests.

``python -m tests.support.conformance`` (or ``make conformance``). The items come from
docs/conformance.toml, the tests from the names of the test functions: ``test_B7_...`` and
``test_A1_B2_...`` cover what they name. The page names files and not functions, so that it changes
only when an item gets its first test in a file, and has one line for each item.
"""

import ast
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs/conformance.toml"
PAGE = ROOT / "docs/conformance.md"

_NUMBERS = re.compile(r"test((?:_[A-JN][0-9]+)+)(?:_|$)")
_LEVELS = {"M": "must", "S": "should", "P": "may", "N": "own rule"}
_HEAD = """\
# Conformance

Written by `make conformance` from the names of the tests and from `conformance.toml`; do not edit.
Each item of RFC 5880, 5881, 5882, 5883, 7419 and 9468 that a test can show, and rules of our own.
Sections are of RFC 5880 unless another RFC is named. To run the tests of one item:

```
.venv/bin/python -m pytest -k _B7_
```
"""


class Item(NamedTuple):
    """One item of the data file."""

    section: str
    level: str
    text: str
    note: str = ""
    missing: str = ""


Chapters = list[tuple[str, dict[str, Item]]]
Tests = Mapping[str, set[str]]


def chapters() -> Chapters:
    """The data file."""
    document: dict[str, Any] = tomllib.loads(DATA.read_text())
    return [
        (chapter["title"], {number: Item(**item) for number, item in chapter["items"].items()})
        for chapter in document["chapter"]
    ]


def files_by_item() -> dict[str, set[str]]:
    """Item numbers, and the files with a test that carries them in its name."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in numbers(node.name):
                    found.setdefault(number, set()).add(path.relative_to(ROOT).as_posix())
    return found


def numbers(name: str) -> list[str]:
    """The items that a test function names."""
    match = _NUMBERS.match(name)
    return match[1].split("_")[1:] if match else []


def problems(data: Chapters, tests: Tests) -> list[str]:
    """What keeps the page from being written, each with the remedy."""
    items = {number: item for _, chapter in data for number, item in chapter.items()}
    found = [
        f"{number}: unknown item in the name of a test in {', '.join(sorted(tests[number]))}; "
        f"correct the name, or add the item to {DATA.name}"
        for number in sorted(tests.keys() - items.keys())
    ]
    found += [
        f"{number}: neither a test nor a reason; write a test named test_{number}_..., or say in "
        f"{DATA.name} why it is `missing`"
        for number, item in items.items()
        if not item.missing and number not in tests
    ]
    return found


def page(data: Chapters, tests: Tests) -> str:
    """The page's text."""
    lines = [_HEAD]
    for title, items in data:
        lines += [f"## {title}", "", "| No | Section | Level | Item | Kept by |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        lines += [_line(number, item, tests.get(number, set())) for number, item in items.items()]
        lines.append("")
    return "\n".join(lines)


def _line(number: str, item: Item, files: set[str]) -> str:
    kept = ", ".join(f"[{Path(name).stem}](../{name})" for name in sorted(files))
    text = f"{item.text} {item.note}".strip()
    kept = kept or f"**not implemented**: {item.missing}"
    section = item.section or "-"
    return f"| {number} | {section} | {_LEVELS[item.level]} | {text} | {kept} |"


def main() -> None:
    """Write the page, or say what is wrong and leave it."""
    data, tests = chapters(), files_by_item()
    if found := problems(data, tests):
        raise SystemExit("\n".join(found))
    PAGE.write_text(page(data, tests))


if __name__ == "__main__":
    main()
