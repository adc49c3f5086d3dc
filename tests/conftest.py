"""Fixtures of the whole suite, and the one rule about namespaces.

Tests marked ``kernel`` or ``system`` run in network namespaces that they make themselves. Where the
machine cannot make one they are skipped with the reason; under ``CI`` that is a failure instead,
because a skip there would hide that nothing was tested.

``--share pure`` runs the tests that have neither marker, which several processes may do at once;
``--share rest`` the others, which are to have the machine for themselves.
"""

import os
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import image as images
from tests.support.netns import NamespaceFactory, why_no_namespaces

# No test judges how fast the machine is, and a failure can be run again from what is printed.
settings.register_profile(
    "vegd", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("vegd")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", choices=["pure", "rest"], help="run a share of the tests only")


def _needs_namespaces(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("kernel", "system"))


def _needs_image(item: pytest.Item) -> bool:
    return "image" in getattr(item, "fixturenames", ())


def _when(item: pytest.Item) -> int:
    """The image, which takes longest, comes first; what is built upon it last."""
    return {"test_contents.py": 0, "test_controller.py": 2}.get(item.path.name, 1)


def _keep_share(config: pytest.Config, items: list[pytest.Item]) -> None:
    share = config.getoption("--share")
    if share is None:
        return
    kept: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        kept[_needs_namespaces(item) is (share == "rest")].append(item)
    if share == "pure":
        kept[True].sort(key=_when)
    items[:] = kept[True]
    config.hook.pytest_deselected(items=kept[False])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _keep_share(config, items)
    needing = [item for item in items if _needs_namespaces(item)]
    if not needing:
        return
    reason = why_no_namespaces()
    if reason is None:
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(f"network namespaces are impossible here: {reason}")
    for item in needing:
        item.add_marker(
            pytest.mark.skip(reason=f"network namespaces are impossible here: {reason}")
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Build the image before the first test that wants it, not in its time."""
    if _needs_image(item):
        images.build()
    return (yield)


@pytest.fixture(scope="session")
def image() -> images.Image:
    """The built image, see `tests.support.image`."""
    return images.build()


@pytest.fixture
def netns() -> Iterator[Callable[[str], str]]:
    """``netns("gw")`` makes a network namespace with a unique name and returns the name."""
    factory = NamespaceFactory()
    try:
        yield factory
    finally:
        factory.close()
