"""A lab whose VPC router is a real OVN that nobody has told of the gateways yet."""

import contextlib
import os
from collections.abc import Iterator
from unittest import mock

from tests.support.ovn_versions import Ovn
from vegd.lab import ovn_router
from vegd.lab.lab import Lab, remove
from vegd.lab.topology import Interface, LabOptions, RouterKind


class BareLab(Lab):
    """Gateways, clients and the logical network; no BFD port, no session, no route."""

    def __init__(self, options: LabOptions, ovn: Ovn) -> None:
        super().__init__(options)
        self.ovn = ovn

    def _build_router(self) -> None:
        ovn_router.build_bare(self.topology, self.state, self.ovn.share)

    @property
    def northbound(self) -> str:
        """Where the northbound database is."""
        return f"unix:{ovn_router.ovn_directory(self.state)}/ovn.sock"

    def nbctl(self, *arguments: str) -> str:
        """What ovn-nbctl says."""
        return ovn_router.nbctl(self.state, *arguments)


@contextlib.contextmanager
def bare_lab(ovn: Ovn, peers: tuple[Interface, ...] | None = None) -> Iterator[BareLab]:
    """A lab with an OVN version; `peers` are the router's ends of the sessions."""
    options = LabOptions(prefix=f"nb{os.getpid()}", router=RouterKind.OVN, interval_ms=100)
    lab = BareLab(options, ovn)
    if peers is not None:
        lab.topology.bfd_port = peers
    path = os.environ["PATH"] if ovn.bin is None else f"{ovn.bin}:{os.environ['PATH']}"
    with mock.patch.dict(os.environ, {"PATH": path}):
        lab.create()
        try:
            yield lab
        finally:
            remove(options.prefix)
