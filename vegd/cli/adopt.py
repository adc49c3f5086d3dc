"""``vegd adopt``: move a gateway from Kube-OVN's controller to ours, or back."""

from pathlib import Path
from typing import Annotated

import typer

from vegd.cli.processes import require_cluster_libraries

_KUBE_OVN = "kubeovn.io"


def adopt(
    gateway: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The gateway.")],
    api_group: Annotated[
        str, typer.Option(metavar="GROUP", help="The --api-group of vegd controller.")
    ],
    back: Annotated[
        bool, typer.Option("--back", help="From vegd's controller to Kube-OVN's.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="For each of the two to do its part.")
    ] = 300.0,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="Default: the pod's service account, else $KUBECONFIG."),
    ] = None,
) -> None:
    """Move a gateway from Kube-OVN's controller to vegd's, without an outage.

    The gateway is made in vegd's API group with the same spec. When it is ready, and BFD is
    healthy where it has BFD, the one in Kube-OVN's group is deleted. In between both forward.

    Exit status: 0 moved, 1 not moved; the error says what stands.
    """
    import asyncio  # noqa: PLC0415 - --help stays quick

    require_cluster_libraries()
    from kube.client import Client  # noqa: PLC0415
    from kube.errors import KubeError  # noqa: PLC0415
    from vegd.cluster.adoption import NotMoved, move  # noqa: PLC0415

    if api_group == _KUBE_OVN:
        raise NotMoved(f"--api-group: {api_group!r} is Kube-OVN's; give that of vegd controller")
    groups = (api_group, _KUBE_OVN) if back else (_KUBE_OVN, api_group)

    async def moving() -> None:
        try:
            async with await Client.connect(kubeconfig, agent="vegd-adopt") as client:
                await move(client, gateway, groups, timeout, typer.echo)
        except KubeError as exc:
            raise NotMoved(str(exc)) from exc

    asyncio.run(moving())
    typer.echo(f"{gateway} is moved")
