"""One control plane for all tests of the cluster's side, and a namespace for each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.definitions import gateway_definition, kube_ovn_definitions
from tests.support.cluster import Cluster, Kubelet
from tests.support.controller import ControllerProcess, Northd, Router, running
from tests.support.definitions import install
from tests.support.ovsdb import OvsdbServer
from vegd.lab.cluster.control_plane import ControlPlane, free_ports

_LIMIT_S = 300
"""Of one test; the first one starts the control plane, others start its API server again."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        ours = item.path.is_relative_to(Path(__file__).parent)
        if ours and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane without any resource of ours."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        yield plane
    finally:
        plane.close()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace that is deleted after the test."""
    with control_plane.namespace() as name:
        yield name


@pytest.fixture(scope="session")
def definitions(control_plane: ControlPlane) -> None:
    """Our definitions, the gateway's in Kube-OVN's group."""
    install(control_plane, [gateway_definition(), *kube_ovn_definitions()])


@pytest.fixture(scope="module")
def lasting_northbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OvsdbServer]:
    """A northbound database for all tests of a module."""
    server = OvsdbServer(tmp_path_factory.mktemp("nb"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def northd(lasting_northbound: OvsdbServer) -> Iterator[Northd]:
    """What says how BFD is there."""
    made = Northd(lasting_northbound)
    yield made
    made.close()


@pytest.fixture(scope="module")
def controller(
    tmp_path_factory: pytest.TempPathFactory,
    control_plane: ControlPlane,
    definitions: None,
    lasting_northbound: OvsdbServer,
    northd: Northd,
) -> Iterator[ControllerProcess]:
    """One controller for all tests of a module, which do not break it."""
    process = ControllerProcess(
        tmp_path_factory.mktemp("controller"),
        control_plane,
        lasting_northbound.remote,
        free_ports(1)[0],
        "--bfd-binding=policies",
    )
    with running(process):
        yield process


@pytest.fixture
def cluster(
    control_plane: ControlPlane, namespace: str, controller: ControllerProcess
) -> Iterator[Cluster]:
    """A cluster that the module's controller serves."""
    made = Cluster(control_plane, namespace)
    kubelet = Kubelet(made)
    try:
        for number in (1, 2):
            made.node(f"{namespace}-n{number}", f"chassis-{namespace}-{number}")
        made.build()
        yield made
    finally:
        made.close(has_controller=True)
        kubelet.close()


@pytest.fixture
def router(lasting_northbound: OvsdbServer, cluster: Cluster) -> Iterator[Router]:
    """The VPC's."""
    made = Router(lasting_northbound, cluster.vpc, cluster.inside)
    yield made
    made.close()


@pytest.fixture
def northbound(tmp_path: Path) -> Iterator[OvsdbServer]:
    """A northbound database for one test."""
    server = OvsdbServer(tmp_path)
    yield server
    server.stop()
