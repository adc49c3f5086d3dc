"""One gateway: look at everything, make everything as it should be, say what there is.

Each round begins from nothing but what is observed, so that it does not matter what has happened,
whether a round was cut short, or who else has changed something. The order is that of traffic: pods
are there before routes lead to them, routes go before what they lead to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from kube import nodes, status
from kube.binding import Choice, Look, Status
from kube.configuration import configuration
from kube.errors import KubeError
from kube.identity import Identity
from kube.objects import DEPLOYMENTS, Object
from kube.overlap import Claims
from kube.ovsdb import DatabaseError
from kube.owners import GatewayOwner, Mark
from kube.pods import GatewayPod, Pod, gates, gateway_pods
from kube.resolve import DEFAULT_VPC, Resolution, is_watched, resolve
from kube.routes import BfdSettings, Gateway, Replica, SelectedPod, Way, routes
from kube.schema import EgressGateway, Fault, Malformed, family, parse, split
from kube.selection import Key, Selection
from kube.slots import Slot
from kube.status import Failure, Observed
from kube.workload import Watch
from vegd.cluster.concerns import Concerns
from vegd.cluster.copies import Copies
from vegd.cluster.ovn import Ovn
from vegd.cluster.reports import Heard, Reports
from vegd.cluster.workloads import Ran, Workloads
from vegd.cluster.writer import Writer
from vegd.spec import GatewaySpec, SpecError

log = logging.getLogger(__name__)


class NotDone(Exception):
    """A round has failed; it is worth another try. Its cause is the error of the other side."""


class Options(NamedTuple):
    """What the administrator has settled."""

    identity: Identity
    mark: Mark
    image: str
    """Of gateways that name none."""
    watch: Watch | None = None
    """For the pods of gateways that do not refuse it."""


class _Led(NamedTuple):
    """What OVN was told, and what it says."""

    sessions: dict[str, str]
    conflicts: tuple[str, ...]
    notices: tuple[str, ...]


class Gateways:
    """Reconciles gateways by their keys."""

    def __init__(
        self,
        options: Options,
        copies: Copies,
        concerns: Concerns,
        selection: Selection,
        ovn: Ovn,
        writer: Writer,
        claims: Claims,
    ) -> None:
        self._options = options
        self._copies = copies
        self._concerns = concerns
        self._selection = selection
        self._ovn = ovn
        self._writer = writer
        self._claims = claims
        self._workloads = Workloads(options.identity, copies, writer)
        self._reports = Reports(writer)

    async def reconcile(self, key: Key) -> float | None:
        """One round for one gateway; after how many seconds to look again, None if nothing but a
        change is waited for. Raises NotDone."""
        item = self._copies.gateways.mirror.items.get(key)
        try:
            if item is None:
                await self._forget(key)
                return None
            value = item.value
            try:
                gateway = parse(EgressGateway, value)
            except Malformed as exc:
                await self._tell_malformed(value, exc)
                return None
            if gateway.metadata.deletion_timestamp is not None:
                await self._finalize(gateway, value)
                return None
            return await self._converge(gateway, value)
        except (KubeError, DatabaseError) as exc:
            raise NotDone(str(exc)) from exc

    # A gateway that goes.

    async def _forget(self, key: Key) -> None:
        """What has no resource has no rows either, whoever took the finalizer off."""
        self._selection.drop_gateway(key)
        self._workloads.forget(key)
        self._reports.forget(key)
        namespace, _, name = key.partition("/")
        northbound = await self._ovn.northbound()
        await northbound.converge(GatewayOwner(self._options.mark, namespace, name), ())
        self._concerns.wake(self._claims.remove(key))

    async def _finalize(self, gateway: EgressGateway, value: Object) -> None:
        await self._forget(gateway.key)
        finalizer = self._options.identity.finalizer
        if finalizer in gateway.metadata.finalizers:
            await self._writer.set_finalizer(self._copies.resource, value, finalizer, there=False)
            log.info("%s: its rows are gone from OVN", gateway.key)

    async def _tell_malformed(self, value: Object, exc: Malformed) -> None:
        remedy = "correct the resource"
        fault = Fault("spec", "", str(exc), remedy, "Malformed")
        wanted = {"Validated": status.invalid([fault])}
        await self._writer.status(self._copies.resource, value, {}, wanted)

    # A gateway that stays.

    async def _converge(self, gateway: EgressGateway, value: Object) -> float | None:
        options, identity = self._options, self._options.identity
        if identity.finalizer not in gateway.metadata.finalizers:
            resource = self._copies.resource
            await self._writer.set_finalizer(resource, value, identity.finalizer, there=True)
        resolution = _judged(resolve(gateway, self._copies.world(), options.image, options.watch))
        self._selection.set_gateway(gateway, resolution.router)
        if resolution.workload is None:
            await self._say(gateway, value, resolution, self._observed(gateway, resolution))
            northbound = await self._ovn.northbound()
            await northbound.tidy(GatewayOwner(options.mark, *gateway.key.split("/")))
            return None
        selected = self._selection.members(gateway.key)
        sources = {*resolution.sources, *(ip for pod in selected for ip in pod.addresses)}
        # Here, as the others are told nothing by a round that fails and is done again.
        self._concerns.wake(self._claims.put(gateway.key, resolution.router, sources))
        failure, led, ran = None, _Led({}, (), ()), Ran()
        cause: KubeError | DatabaseError | None = None
        try:
            reported = self._reports.newest(gateway)
            ran = await self._workloads.ensure(resolution.workload, reported)
            led = await self._lead(gateway, resolution, selected)
            near = self._concerns.budgets_near(gateway.key)
            foreign = await self._workloads.limit_evictions(resolution.workload, near)
            led = led._replace(conflicts=(*ran.foreign, *foreign, *led.conflicts))
        except KubeError as exc:
            cause, failure = exc, Failure("ReconcileWorkloadFailed", str(exc))
        except DatabaseError as exc:
            cause, failure = exc, Failure("ReconcileOVNRoutesFailed", str(exc))
        heard = self._reports.hear(gateway, self._pods(gateway), led.sessions, ran.revision)
        observed = self._observed(gateway, resolution, led, failure, heard)
        await self._say(gateway, value, resolution, observed)
        if failure is not None:
            raise NotDone(failure.message) from cause
        pods = self._concerns.pods_of(gateway.key)
        names = {pod.metadata.name for pod in pods}
        await self._reports.sweep(self._copies.resource, value, names)
        await self._workloads.tidy(resolution.workload, pods)
        return heard.again_s

    async def _lead(
        self, gateway: EgressGateway, resolution: Resolution, selected: Iterable[Pod]
    ) -> _Led:
        """Have OVN lead the sources to the pods."""
        northbound = await self._ovn.northbound()
        pods = self._pods(gateway)
        owner = GatewayOwner(self._options.mark, *gateway.key.split("/"))
        wish, choice, looks = await self._wish(gateway, owner, resolution, pods, selected)
        wanted = routes(wish, self._options.mark)
        outcome = await northbound.converge(owner, wanted.rows)
        if outcome.plan:
            log.info("%s: %d rows of OVN written", gateway.key, len(outcome.plan.ops))
        watched = set(map(family, wish.bfd.addresses)) if wish.bfd else ()
        opened = gates(pods, watched, {str(look.key[1]): str(look.status) for look in looks})
        for name, is_up in opened.items():
            await self._writer.gate(gateway.metadata.namespace, name, is_open=is_up)
        hops = {ip for pod in pods if pod.is_able for ip in pod.internal}
        return _Led(
            sessions={
                str(look.key[1]): str(look.status or "unknown")
                for look in looks
                if look.key[1] in hops
            },
            conflicts=tuple(map(str, outcome.conflicts)),
            notices=(
                *(notice.text for notice in wanted.notices),
                *map(str, outcome.missing),
                *([choice.text] if choice else []),
            ),
        )

    async def _wish(
        self,
        gateway: EgressGateway,
        owner: GatewayOwner,
        resolution: Resolution,
        pods: tuple[GatewayPod, ...],
        selected: Iterable[Pod],
    ) -> tuple[Gateway, Choice | None, tuple[Look, ...]]:
        workload, spec = resolution.workload, gateway.spec
        assert workload is not None  # noqa: S101 - asked by the caller
        settings, choice, way = None, None, Way.POLICIES
        looks: tuple[Look, ...] = ()
        if workload.bfd is not None:
            vpc = self._copies.vpcs.mirror.items[spec.vpc or DEFAULT_VPC].value
            port = vpc.status.bfd_port
            settings = BfdSettings(
                port=port.name,
                addresses=split(port.ip),
                min_tx_ms=workload.bfd.min_tx,
                min_rx_ms=workload.bfd.min_rx,
                multiplier=workload.bfd.multiplier,
            )
            choice, looks = await self._ovn.way(port.name)
            way = choice.way
        leaving = gateway_pods(self._concerns.pods_of(gateway.key), leaving=True)
        staying = [pod for pod in pods if not pod.drains]
        drained = [pod for pod in pods if pod.drains]
        slots: Mapping[tuple[int, int], Slot] = {}
        if way is Way.STATIC_ROUTES:
            slots = await (await self._ovn.northbound()).slots(owner)
        is_local = spec.traffic_policy == "Local"
        wish = Gateway(
            namespace=workload.namespace,
            name=workload.name,
            router=resolution.router,
            replicas=(*_replicas(staying), *_replicas((*leaving, *drained), leaving=True)),
            cidrs=resolution.sources,
            has_selectors=bool(spec.selectors),
            pods=tuple(
                SelectedPod(f"{pod.metadata.name}.{pod.metadata.namespace}", pod.addresses)
                for pod in selected
            ),
            is_local=is_local,
            node_groups=self._node_groups() if is_local else {},
            is_grouped=spec.vpc in ("", DEFAULT_VPC),
            bfd=settings,
            way=way,
            router_port=f"{resolution.router}-{workload.internal.subnet}",
            size=workload.replicas,
            slots=slots,
            up=frozenset(str(look.key[1]) for look in looks if look.status is Status.UP),
        )
        return wish, choice, looks

    def _pods(self, gateway: EgressGateway) -> tuple[GatewayPod, ...]:
        return gateway_pods(self._concerns.pods_of(gateway.key))

    def _node_groups(self) -> dict[str, str]:
        """Kube-OVN's port groups of nodes: OVN allows no hyphen in what a match names."""
        return {
            name: port.replace("-", ".")
            for name, item in self._copies.nodes.mirror.items.items()
            if (port := item.value.metadata.annotations.get(nodes.PORT))
        }

    def _observed(
        self,
        gateway: EgressGateway,
        resolution: Resolution,
        led: _Led | None = None,
        failure: Failure | None = None,
        heard: Heard | None = None,
    ) -> Observed:
        workload = resolution.workload
        name = "" if workload is None else self._options.identity.workload_name(workload)
        is_there = (
            f"{gateway.metadata.namespace}/{name}" in self._copies.owned[DEPLOYMENTS].mirror.items
        )
        watched = self._options.watch is not None and is_watched(gateway)
        applied = heard.applied if heard else status.NOT_VALIDATED
        overlaps = tuple(map(str, self._claims.overlaps(gateway.key)))
        return Observed(
            pods=self._pods(gateway),
            workload=name if is_there else "",
            sessions=led.sessions if led else {},
            conflicts=(*overlaps, *(led.conflicts if led else ())),
            notices=led.notices if led else (),
            failure=failure,
            applied=applied if watched else None,
            disagreements=heard.disagreements if heard else (),
        )

    async def _say(
        self, gateway: EgressGateway, value: Object, resolution: Resolution, observed: Observed
    ) -> None:
        fields = status.status(gateway, resolution, observed, self._options.identity)
        wanted = status.conditions(gateway, resolution, observed)
        await self._writer.status(self._copies.resource, value, fields, wanted)


def _replicas(pods: Iterable[GatewayPod], *, leaving: bool = False) -> Iterator[Replica]:
    for each in pods:
        if each.runs:
            addresses = each.internal, each.external
            yield Replica(each.name, each.node, each.ready, *addresses, leaving=leaving)


def _judged(resolution: Resolution) -> Resolution:
    """Without a workload if its pods would refuse their configuration: the definition does not
    compare all of ``spec.agent``'s fields with each other."""
    if resolution.workload is None:
        return resolution
    try:
        GatewaySpec.parse(configuration(resolution.workload))
    except SpecError as exc:
        faults = tuple(
            Fault(f"configuration: {each.path}", each.value, each.problem, each.remedy)
            for each in exc.faults
        )
        return replace(resolution, workload=None, faults=faults)
    return resolution
