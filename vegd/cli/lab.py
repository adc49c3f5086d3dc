"""``vegd lab``: a VPC, its gateways and the outside in network namespaces, to play with."""

import json
import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vegd.cli.options import AsJson, show, table
from vegd.errors import VegdError

if TYPE_CHECKING:
    from vegd.lab.lab import Lab
    from vegd.lab.topology import RouterKind

app = typer.Typer(
    no_args_is_help=True,
    help="A VPC, its gateways and the outside in network namespaces: demo, tests, playing.",
)

Prefix = Annotated[
    str, typer.Option("--prefix", help="Names the lab; labs of different prefixes do not meet.")
]
Router = Annotated[str, typer.Option("--router", help="linux (the embedded one) or ovn.")]
Gateways = Annotated[int, typer.Option("--gateways", help="1 to 16.")]
Clients = Annotated[int, typer.Option("--clients", help="1 to 8.")]
Multiplier = Annotated[int, typer.Option("--multiplier", help="BFD's detect multiplier.")]


@app.callback()
def lab() -> None:
    """Say what is missing before anything is begun."""
    if find_spec("pyroute2") is None:
        raise VegdError(
            "vegd lab needs packages that are missing; install the extra 'lab' "
            "(pip install 'vegd[lab]')"
        )


@app.command()
def up(  # noqa: PLR0913, PLR0917 - each is an option
    prefix: Prefix = "vegd",
    router: Router = "linux",
    gateways: Gateways = 2,
    clients: Clients = 2,
    interval_ms: Annotated[int, typer.Option(help="BFD's intervals, in ms.")] = 100,
    multiplier: Multiplier = 3,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="A whole cluster: API server, OVN, nodes, pods.")
    ] = False,
    nodes: Annotated[int, typer.Option(help="Of the cluster, 1 to 8.")] = 2,
) -> None:
    """Build a lab and wait until all sessions are Up; or a cluster, and wait until it is ready."""
    if cluster:
        _up_cluster(prefix, nodes)
        return
    from vegd.lab.lab import Lab, remove  # noqa: PLC0415 - --help stays quick
    from vegd.lab.topology import LabOptions  # noqa: PLC0415

    options = LabOptions(prefix, _kind(router), gateways, clients, interval_ms, multiplier)
    lab = Lab(options)
    lab.create()
    try:
        lab.wait_up()
    except BaseException:
        remove(prefix)
        raise
    typer.echo(f"the lab {prefix} is up: {' '.join(lab.topology.nodes)}")


def _up_cluster(prefix: str, nodes: int) -> None:
    _require_cluster()
    from vegd.lab.cluster.cluster import ClusterLab, ClusterOptions  # noqa: PLC0415

    lab = ClusterLab(ClusterOptions(prefix, nodes))
    lab.create(lambda text: typer.echo(f"starting {text}"))
    typer.echo(f"the cluster {prefix} is up: {' '.join(lab.options.node_names)}")
    typer.echo(f"export KUBECONFIG={lab.kubeconfig}")


def _require_cluster() -> None:
    if find_spec("kubernetes_asyncio") is None or find_spec("ovsdbapp") is None:
        raise VegdError(
            "a lab with a cluster needs packages that are missing; install the extra 'kube' "
            "(pip install 'vegd[lab,kube]')"
        )


@app.command()
def kubeconfig(prefix: Prefix = "vegd") -> None:
    """Print the line that makes kubectl speak to a cluster: eval "$(vegd lab kubeconfig)"."""
    _require_cluster()
    from vegd.lab.cluster.cluster import ClusterLab  # noqa: PLC0415

    typer.echo(f"export KUBECONFIG={ClusterLab.find(prefix).kubeconfig}")


@app.command()
def down(prefix: Prefix = "vegd") -> None:
    """Remove a lab, or what is left of it."""
    from vegd.lab.lab import remove  # noqa: PLC0415

    removed = remove(prefix)
    typer.echo(f"the lab {prefix} is {'removed' if removed else 'not there'}")


@app.command()
def status(prefix: Prefix = "vegd", as_json: AsJson = False) -> None:
    """Show the gateways of a lab: daemon, and the session as router and gateway see it. Of a
    cluster it shows the processes; the rest is kubectl's.

    Exit status: 0 all sessions are Up on both ends, or all processes run; 1 not all.
    """
    from vegd.lab.inspect import look  # noqa: PLC0415
    from vegd.lab.lab import Lab  # noqa: PLC0415
    from vegd.lab.state import LabState  # noqa: PLC0415

    if LabState(prefix).kind == "cluster":
        _status_of_cluster(prefix, as_json=as_json)
    lines = look(Lab.find(prefix))
    if as_json:
        typer.echo(json.dumps([line.to_json() for line in lines], indent=2))
    else:
        rows = table("GATEWAY", "DAEMON", "FAMILY", "ROUTER SAYS", "GATEWAY SAYS", "EXTERNAL")
        for line in lines:
            rows.add_row(*line.cells())
        show(rows)
    raise typer.Exit(0 if all(line.is_up for line in lines) else 1)


def _status_of_cluster(prefix: str, *, as_json: bool) -> NoReturn:
    from vegd.lab.state import LabState  # noqa: PLC0415

    newest = {each.role: each for each in LabState(prefix).processes()}
    if as_json:
        lines = [
            {"role": name, "pid": each.pid, "runs": each.alive} for name, each in newest.items()
        ]
        typer.echo(json.dumps(lines, indent=2))
    else:
        rows = table("PROCESS", "PID", "STATE")
        for name, each in newest.items():
            rows.add_row(name, str(each.pid), "runs" if each.alive else "has ended")
        show(rows)
    raise typer.Exit(0 if all(each.alive for each in newest.values()) else 1)


@app.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def execute(
    node: Annotated[str, typer.Argument(help="A node, such as gw1, client1, router or outside.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    prefix: Prefix = "vegd",
) -> None:
    """Run a command on a node, in its network namespace (vegd lab exec gw1 -- ip route)."""
    from vegd.lab.lab import Lab  # noqa: PLC0415

    lab = Lab.find(prefix)
    _known(lab, node)
    runtime_dir = lab.state.runtime_dir(node)
    os.environ["VEGD_RUNTIME_DIR"] = str(runtime_dir)
    namespace = lab.topology.namespace(node)
    # Everything after the node is the command's, also the "--" that may set it apart.
    command = command[1:] if command[0] == "--" else command
    os.execvp("ip", ["ip", "netns", "exec", namespace, *command])  # noqa: S606


@app.command()
def fault(
    gateway: Annotated[str, typer.Argument(help="The gateway, such as gw1.")],
    action: Annotated[
        str, typer.Argument(help="cut, upstream-cut, heal, stop (SIGTERM), kill or start.")
    ],
    prefix: Prefix = "vegd",
) -> None:
    """Break a gateway, or mend it."""
    from vegd.lab import faults  # noqa: PLC0415
    from vegd.lab.lab import Lab, require_root  # noqa: PLC0415

    require_root()
    lab = Lab.find(prefix)
    chosen = lab.topology.gateway(gateway)
    match action:
        case "cut":
            faults.cut(chosen)
        case "heal":
            faults.heal(chosen, lab.topology)
        case "upstream-cut":
            faults.cut_upstream(chosen, lab.topology)
        case "stop":
            faults.stop(chosen, lab.state, within_s=60)
        case "kill":
            faults.send(chosen, lab.state, signal.SIGKILL)
        case "start":
            faults.start(chosen, lab.state)
        case _:
            raise typer.BadParameter(
                f"{action!r} is none of cut, upstream-cut, heal, stop, kill, start"
            )
    typer.echo(f"{gateway}: {action}")


@app.command()
def probe(
    prefix: Prefix = "vegd",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long.")] = 5.0,
    interval_ms: Annotated[int, typer.Option(min=1, max=10_000, help="Between probes.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Probe the outside from the clients; show loss, outage and the gateways used.

    Exit status: 0 nothing was lost, 1 something was.
    """
    from vegd.lab.flows import Probes, probed  # noqa: PLC0415
    from vegd.lab.lab import Lab  # noqa: PLC0415

    lab = Lab.find(prefix)
    probes = Probes(lab.state, probed(lab), interval_ms)
    probes.start()
    time.sleep(seconds)
    flows = probes.stop()
    lines = [
        {
            "client": flow.client,
            "source": flow.source,
            "sent": len(flow.sent),
            "lost": flow.lost,
            "outage_ms": round(flow.outage_s * 1000, 1),
            "seen_as": sorted({address for address in flow.by if address}),
        }
        for flow in flows
    ]
    if as_json:
        typer.echo(json.dumps(lines, indent=2))
    else:
        rows = table("CLIENT", "SOURCE", "SENT", "LOST", "OUTAGE ms", "SEEN AS")
        for line in lines:
            rows.add_row(*(_cell(value) for value in line.values()))
        show(rows)
    raise typer.Exit(1 if any(flow.lost for flow in flows) else 0)


@app.command()
def demo(
    router: Router = "linux",
    prefix: Prefix = "vegd-demo",
    gateways: Gateways = 2,
    interval_ms: Annotated[
        int | None, typer.Option(help="BFD's intervals; 50 with linux, 100 with ovn.")
    ] = None,
    multiplier: Multiplier = 3,
    report: Annotated[Path, typer.Option(help="The report to write.")] = Path("demo-report.json"),
    picture: Annotated[Path, typer.Option(help="The picture to write.")] = Path("demo-report.svg"),
) -> None:
    """Play the main job: sessions, SNAT, failover, drain; each scene is checked.

    Exit status: 0 every scene passed, 1 one has not.
    """
    from vegd.lab.demo import run_demo  # noqa: PLC0415
    from vegd.lab.scenes import default_timers  # noqa: PLC0415
    from vegd.lab.topology import LabOptions  # noqa: PLC0415

    kind = _kind(router)
    default_ms, _, probe_ms = default_timers(kind)
    interval = default_ms if interval_ms is None else interval_ms
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    options = LabOptions(prefix, kind, gateways, 2, interval, multiplier)
    run_demo(options, probe_ms, report, picture)


@app.command("demo-cluster")
def demo_cluster(
    prefix: Prefix = "vegd-demo",
    report: Annotated[Path, typer.Option(help="The report to write.")] = Path("demo-cluster.json"),
    picture: Annotated[Path, typer.Option(help="The picture to write.")] = Path("demo-cluster.svg"),
) -> None:
    """Play on a cluster what may happen to a gateway there: policies and timers changed, scaled,
    upgraded, drained, killed, a node gone, API server and OVN restarted; each scene is checked.

    Exit status: 0 every scene passed, 1 one has not.
    """
    _require_cluster()
    from vegd.lab.cluster.cluster import ClusterLab, ClusterOptions  # noqa: PLC0415
    from vegd.lab.cluster.story import run_story  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    run_story(ClusterLab(ClusterOptions(prefix)), report, picture)


def _kind(router: str) -> "RouterKind":
    from vegd.lab.errors import BadRequest  # noqa: PLC0415
    from vegd.lab.topology import RouterKind  # noqa: PLC0415

    try:
        return RouterKind(router)
    except ValueError:
        raise BadRequest(f"router: {router!r} is neither linux nor ovn") from None


def _known(lab: "Lab", node: str) -> None:
    from vegd.lab.errors import BadRequest  # noqa: PLC0415

    if node not in lab.topology.nodes:
        raise BadRequest(
            f"{node!r} is not a node of this lab; it has {', '.join(lab.topology.nodes)}"
        )


def _cell(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
