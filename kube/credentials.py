"""Of kubernetes_asyncio the part that is used, without the rest.

To import a part of a package runs the code of the packages around it. That of kubernetes_asyncio
loads a class for every kind of object and every call that Kubernetes has: 35 MB of memory and half
a second, for nothing. So those packages are put in place here without running their code.
"""

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType

_PACKAGES = ("kubernetes_asyncio", "kubernetes_asyncio.client", "kubernetes_asyncio.client.models")


def _put_in_place(name: str) -> ModuleType:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return sys.modules.setdefault(name, module_from_spec(spec))


_, _client, _ = map(_put_in_place, _PACKAGES)

# What the other parts of the library take from the package, in the order in which they need it.
from kubernetes_asyncio.client.configuration import Configuration  # noqa: E402

vars(_client).setdefault("Configuration", Configuration)

from kubernetes_asyncio.client.api_client import ApiClient  # noqa: E402

vars(_client).setdefault("ApiClient", ApiClient)

from kubernetes_asyncio import config  # noqa: E402

__all__ = ["ApiClient", "Configuration", "config"]
