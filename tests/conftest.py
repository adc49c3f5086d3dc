"""Fixtures of the whole suite, and the one rule about namespaces.

Tests marked ``kernel`` or ``system`` run in network namespaces that they make themselves. Where the
machine cannot make one they are skipped with the reason; under ``CI`` that is a failure instead,
because a skip there would hide that nothing was tested.
"""

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import image as images
from tests.support.netns import NamespaceFactory, why_no_namespaces

# No test judges how fast the machine is, and a failure can be run again from what is printed.
settings.register_profile(
    "vegd", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("vegd")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    needing = [
        item
        for item in items
        if item.get_closest_marker("kernel") or item.get_closest_marker("system")
    ]
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


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the image before the first test, not in its time, if any test wants it."""
    wanted = any("image" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        images.build()


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
