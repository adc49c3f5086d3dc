"""What holds for the tree as a whole: contracts, units, roles, documents."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bfd", "dataplane", "kube", "vegd")


def _modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("module", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_begins_with_a_paragraph(module: Path) -> None:
    tree = ast.parse(module.read_text())
    text = ast.get_docstring(tree)
    assert text is not None
    assert len(text) > 30


@pytest.mark.parametrize("module", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_public_things_are_documented(module: Path) -> None:
    tree = ast.parse(module.read_text())
    bare = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not _is_local(node, tree)
    ]
    assert not bare


def _is_local(node: ast.AST, tree: ast.Module) -> bool:
    """Whether it is nested in a function or in a private class, or is a protocol's own method."""
    for parent in ast.walk(tree):
        inside = any(child is node for child in ast.walk(parent) if child is not parent)
        if not inside:
            continue
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef):
            return True
        if isinstance(parent, ast.ClassDef) and parent.name.startswith("_"):
            return True
    return False


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_engine_loads_the_standard_library_only() -> None:
    code = (
        "import sys; sys.argv = ['vegd', 'bfd', '--help']\n"
        "from vegd.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"dataplane", "kube", "pyroute2", "h11", "msgspec", "typer", "rich"}


def test_metrics_and_their_document_name_the_same_things() -> None:
    source = "".join(path.read_text() for path in sorted(ROOT.glob("vegd/metrics*.py")))
    names = set(re.findall(r'"(vegd_[a-z0-9_]+)"', source))
    names |= {
        f"vegd_bfd_session_{name}"
        for name in re.findall(r'^        "([a-z_]+)": "', source, re.MULTILINE)
    }
    document = (ROOT / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(vegd_[a-z0-9_]+)`", document, re.MULTILINE))
    assert {name.removesuffix("_total") for name in documented} == names


@pytest.mark.parametrize("unit", ["vegd-bfd.service", "vegd.service"])
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path) -> None:
    # The programs it starts are installed elsewhere here; everything else must be as systemd wants.
    text = (ROOT / "systemd" / unit).read_text().replace("/usr/bin/vegd", "/bin/true")
    copy = tmp_path / unit
    copy.write_text(text)
    other = tmp_path / ({"vegd-bfd.service", "vegd.service"} - {unit}).pop()
    other.write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    ours = [line for line in done.stderr.splitlines() if unit in line]
    assert (done.returncode, ours) == (0, [])


def test_no_unfinished_marks_and_no_paths_of_a_machine() -> None:
    marks = re.compile("TO" + "DO|FIX" + "ME|/ro" + "ot/|/wo" + "rk/")
    files = [*_modules(), *ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "Makefile"]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert not found
