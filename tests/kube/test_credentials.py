"""What the client loads of its library."""

import subprocess
import sys

_CODE = """if True:
    import asyncio, sys
    import kube.client
    from kubernetes_asyncio import config
    from kubernetes_asyncio.client import ApiClient, Configuration
    assert kube.client.ApiClient is ApiClient
    for name in sorted(sys.modules):
        if name.startswith(("kubernetes_asyncio.client.models.", "kubernetes_asyncio.client.api.")):
            print(name)
    async def main():
        async with ApiClient(Configuration()) as client:
            assert client.sanitize_for_serialization({"a": [1, None]}) == {"a": [1, None]}
    asyncio.run(main())
"""


def test_no_class_for_an_object_of_kubernetes_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
