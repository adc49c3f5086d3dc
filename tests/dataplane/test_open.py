"""What somebody reads who starts it without what it needs: one clear line."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.netns import inside

pytestmark = pytest.mark.kernel

OPEN = """
import asyncio
from dataplane.errors import DataplaneError
from dataplane.linux import LinuxKernel
async def main():
    try:
        await LinuxKernel.open()
    except DataplaneError as error:
        print(f"{type(error).__name__}: {error}")
asyncio.run(main())
"""


def _said(ns: str, *prefix: str, before: str = "") -> str:
    command = inside(ns, *prefix, sys.executable, "-c", before + OPEN)
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def test_without_the_capability_it_says_which_one(netns: Callable[[str], str]) -> None:
    drop = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    said = _said(netns("gw"), *drop)
    assert said.startswith("PermissionDenied: ")
    assert "CAP_NET_ADMIN" in said
    assert said.count("\n") == 1


def test_without_the_binding_it_names_the_package(netns: Callable[[str], str]) -> None:
    said = _said(netns("gw"), before="import sys; sys.modules['nftables'] = None")
    assert said.startswith("NftablesMissing: ")
    assert "python3-nftables" in said
    assert said.count("\n") == 1


def test_without_the_library_it_names_the_package(netns: Callable[[str], str]) -> None:
    broken = """
import ctypes, nftables.nftables as binding
class Nowhere:
    def LoadLibrary(self, name):
        return ctypes.CDLL("libnowhere.so.0")
binding.cdll = Nowhere()
"""
    said = _said(netns("gw"), before=broken)
    assert said.startswith("NftablesMissing: ")
    assert "python3-nftables" in said
    assert said.count("\n") == 1
