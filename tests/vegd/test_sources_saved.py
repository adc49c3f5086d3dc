"""The gateway that init leaves to the main container: whole, root's, in a known form, or none."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vegd.errors import VegdError
from vegd.sources.environ import Gateway, Routing
from vegd.sources.saved import NotKept, save, saved, saved_file
from vegd.spec import GatewaySpec, load

DOCUMENT = {
    "internal": {"interface": "eth0", "gateways": ["192.168.0.1", "fd00::1"]},
    "external": {"interface": "net1", "gateways": ["172.17.0.1"]},
    "policies": [{"name": "snat", "snat": True, "ipBlocks": ["0.0.0.0/0", "::/0"]}],
}
GATEWAY = Gateway(GatewaySpec.parse(DOCUMENT), DOCUMENT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    save(path, GATEWAY)
    return path


def test_what_was_left_is_what_is_found_and_root_alone_may_write_it(file: Path) -> None:
    assert saved(file) == load(file) == GATEWAY.spec
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(file.parent.iterdir()) == [file]


def test_a_new_one_takes_the_place_of_the_old_one(file: Path) -> None:
    file.write_text("rubbish")
    save(file, GATEWAY)
    assert saved(file) == GATEWAY.spec


def test_a_gateway_that_only_routes_is_not_kept(file: Path) -> None:
    save(file, Routing("eth0", (4,)))
    with pytest.raises(NotKept, match=r"^with BGP packets are only routed"):
        saved(file)


def _replaced(old: str, new: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return spoil


def _linked(path: Path) -> None:
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


def _made_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, "cannot be read (No such file or directory); it is left there by"),
        (lambda path: os.chown(path, 65534, 65534), "is not root's alone to write"),
        (lambda path: path.chmod(0o664), "is not root's alone to write"),
        (lambda path: path.chmod(0o646), "is not root's alone to write"),
        (_linked, "cannot be read (Too many levels of symbolic links)"),
        (_replaced('"eth0"', "5"), "has faults (internal.interface: "),
        (_replaced('"net1",', '"net1", "unknown": 1,'), "has faults (external.unknown: "),
        (_replaced("form 1", "form 2"), "was not left by a 'vegd init' of this version"),
        (_replaced(": gateway", ": gate"), "was not left by a 'vegd init' of this version"),
        (lambda path: path.write_text(""), "was not left by a 'vegd init' of this version"),
        (lambda path: path.write_bytes(b"\xff\n"), "was not left by a 'vegd init' of this version"),
        (lambda path: os.truncate(path, 120), "has faults ("),
        (lambda path: os.truncate(path, 5_000_000), "is larger than 4,000,000 bytes"),
    ],
)
def test_all_of_it_is_believed_or_nothing(
    file: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(file)
    with pytest.raises(NotKept, match=f"^{re.escape(str(file))} {re.escape(reason)}"):
        saved(file)


def test_a_pipe_in_its_place_holds_nobody_up(file: Path) -> None:
    _made_a_pipe(file)
    with pytest.raises(NotKept, match="is not root's alone to write"):
        saved(file)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere/gateway.yaml"
    with pytest.raises(VegdError, match=rf"^{re.escape(str(path))}: the gateway cannot be left to"):
        save(path, GATEWAY)


def test_where_it_is() -> None:
    assert saved_file({}) == Path("/usr/local/sbin/vegd-gateway.yaml")
    assert saved_file({"VEGD_GATEWAY_FILE": ""}) == saved_file({})
    assert saved_file({"VEGD_GATEWAY_FILE": "/x"}) == Path("/x")
