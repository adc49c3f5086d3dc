"""What the image consists of: everything that is needed, nothing that is not."""

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support import image as images
from tests.support.image import Image
from vegd import __version__

ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
THERE = {"extra": "", "python_version": "3.13", "python_full_version": "3.13.0"}
"""What markers of requirements look at, in the image."""
UNCHECKED = 1
"""Of the flags of a .pyc: it is used whatever time its source has."""


@pytest.fixture(scope="module")
def base() -> dict[str, tarfile.TarInfo]:
    """The members of the base."""
    with tarfile.open(images.BASE) as archive:
        return {f"/{each.name.removeprefix('./')}": each for each in archive}


def _entries(image: Image) -> Iterator[tuple[str, os.stat_result]]:
    for directory, names, files in os.walk(image.root):
        for name in (*names, *files):
            path = Path(directory, name)
            yield f"/{path.relative_to(image.root)}", path.lstat()


def _files(image: Image) -> dict[str, os.stat_result]:
    return {path: found for path, found in _entries(image) if stat.S_ISREG(found.st_mode)}


def test_it_is_small(image: Image, base: dict[str, tarfile.TarInfo]) -> None:
    size = sum({each.st_ino: each.st_size for each in _files(image).values()}.values())
    over_base = size - sum(each.size for each in base.values() if each.isreg())
    assert 40 * MEGABYTE < over_base < 150 * MEGABYTE


def test_neither_compiler_nor_installer_is_left(image: Image) -> None:
    names = {Path(path).name for path in _files(image)}
    assert {"python3.13", "ip"} <= names
    assert not names & {"gcc", "cc", "x86_64-linux-gnu-gcc-14", "as", "ld", "make", "pip", "pip3"}
    assert "/usr/include/stdio.h" not in _files(image)
    assert not [name for name in names if name.endswith(".deb")]


def test_packages_of_debian_leave_no_documents_but_licences(
    image: Image, base: dict[str, tarfile.TarInfo]
) -> None:
    added = _files(image).keys() - base.keys()
    documents = [path for path in added if path.startswith("/usr/share/doc/")]
    assert len(documents) > 20
    assert {Path(path).name for path in documents} == {"copyright"}
    assert not [
        path for path in added if path.startswith(("/usr/share/man/", "/usr/share/locale/"))
    ]
    assert not [path for path in added if path.startswith(("/var/lib/apt/lists/", "/var/log/"))]


def test_nothing_new_raises_privileges_but_the_launcher(
    image: Image, base: dict[str, tarfile.TarInfo]
) -> None:
    raising = stat.S_ISUID | stat.S_ISGID
    before = {path for path, each in base.items() if each.isreg() and each.mode & raising}
    assert {path for path, each in _files(image).items() if each.st_mode & raising} == before
    capable = [
        path
        for path in _files(image)
        if "security.capability" in os.listxattr(f"{image.root}{path}")
    ]
    assert capable == ["/usr/local/bin/python3"]


def test_nobody_may_write_where_others_read(image: Image) -> None:
    loose = []
    for path, found in _entries(image):
        writable = found.st_mode & stat.S_IWOTH and not stat.S_ISLNK(found.st_mode)
        shared = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if writable and not shared:
            loose.append(path)
    assert loose == []
    owned = {path for path, found in _entries(image) if found.st_uid == 65534}
    assert owned == {"/run/vegd", "/run/kube-ovn/bfdd-supervisor"}


def test_every_module_is_compiled_for_good(image: Image) -> None:
    places = ("/usr/lib/python3", "/usr/local/lib/python3")
    modules = [path for path in _files(image) if path.startswith(places) and path.endswith(".py")]
    assert "/usr/lib/python3.13/asyncio/base_events.py" in modules
    assert "/usr/local/lib/python3.13/dist-packages/bfd/engine.py" in modules
    wrong = []
    for path in modules:
        source = Path(f"{image.root}{path}")
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        if not compiled.exists() or compiled.read_bytes()[4:8] != UNCHECKED.to_bytes(4, "little"):
            wrong.append(path)
    assert wrong == []


def test_the_volume_of_the_pod_hides_nothing(image: Image) -> None:
    assert list((image.root / "usr/local/sbin").iterdir()) == []


def test_files_of_kube_ovn_are_where_it_calls_them(image: Image) -> None:
    there = {path.name: path for path in (image.root / "kube-ovn").iterdir()}
    source = {path.name: path for path in (ROOT / "kube/image").iterdir()}
    assert there.keys() == source.keys()
    for name, path in there.items():
        assert path.read_bytes() == source[name].read_bytes()
        assert path.stat().st_mode & 0o777 == 0o755


def test_python_packages_are_those_that_were_pinned_and_suffice(image: Image) -> None:
    site = next(image.root.glob("usr/local/lib/python3.*/dist-packages"))
    found = {_name(each.metadata): each for each in metadata.distributions(path=[str(site)])}
    pinned = {}
    for line in (ROOT / "kube/requirements.txt").read_text().splitlines():
        if "==" in line:
            requirement = Requirement(line.removesuffix("\\"))
            if requirement.marker is None or requirement.marker.evaluate(THERE):
                pinned[requirement.name] = str(requirement.specifier).removeprefix("==")
    versions = {name: each.version for name, each in found.items()}
    assert versions == pinned | {"vegd": versions["vegd"]}
    for each in found.values():
        for text in each.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(THERE):
                assert versions[requirement.name.lower()] in requirement.specifier, text


def _name(fields: Message) -> str:
    return str(fields["Name"]).lower().replace("_", "-")


def test_every_package_brings_its_licence(image: Image) -> None:
    listed = (image.root / "var/lib/dpkg/status").read_text()
    names = [line.split()[1] for line in listed.splitlines() if line.startswith("Package: ")]
    assert "python3-nftables" in names
    documents = image.root / "usr/share/doc"
    assert [name for name in names if not (documents / name / "copyright").exists()] == []
    site = next(image.root.glob("usr/local/lib/python3.*/dist-packages"))
    of_vegd = {path.name for path in site.glob("vegd-*.dist-info/licenses/*")}
    assert of_vegd == {"LICENSE-APACHE", "LICENSE-GPL"}
    for info in site.glob("*.dist-info"):
        assert [*info.rglob("*LICEN[SC]E*")], info.name


def test_labels_and_configuration_say_what_it_is(image: Image) -> None:
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): value for name, value in image.labels.items()}
    assert labels["title"] == "vegd"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0 OR GPL-2.0-or-later"
    assert "gateway" in labels["description"]
    assert len(labels["revision"]) >= 40
    assert image.user == "", "the init container is root by the image"
    assert image.entrypoint == ("/usr/bin/tini", "--")
    assert image.environment["PATH"].startswith("/usr/local/sbin:/usr/local/bin:")


@pytest.mark.timeout(1800)
def test_a_second_build_gives_the_same_files(image: Image) -> None:
    with images.another() as other:
        assert _tree(other) == _tree(image.root)


def _tree(root: Path) -> list[str]:
    """A line for everything in it."""
    lines = []
    for directory, names, files in os.walk(root):
        for path in (Path(directory, name) for name in (*names, *files)):
            found = path.lstat()
            content = ""
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            attributes = {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
            }
            times = 0 if path.is_dir() else found.st_mtime
            lines.append(
                f"{path.relative_to(root)} {found.st_mode:o} {found.st_uid}:{found.st_gid} "
                f"{times} {attributes} {content}"
            )
    return sorted(lines)
