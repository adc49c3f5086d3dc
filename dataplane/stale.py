"""Which tracked connections contradict the policies. Pure.

Only what the gateway itself can have let through is judged: connections from or to an address of
this machine are not, nor are those that a source without SNAT was called by.
"""

from collections.abc import Iterable, Mapping

from dataplane.model import Connection, GatewayIntent, Interface, IPAddress, Policy
from dataplane.sources import Sources

_WITH_PORTS = {6, 17, 33, 132, 136}
"""TCP, UDP, DCCP, SCTP, UDP-Lite: the protocols of which SNAT limits the ports."""


class Judge:
    """Says of a connection whether it is stale. `local` are all addresses of the machine."""

    def __init__(self, intent: GatewayIntent, sources: Sources, local: Iterable[IPAddress]) -> None:
        self.subject = self._intent = intent
        self._sources = sources
        self._policies = {each.name: each for each in intent.policies}
        self._local = frozenset(local)
        self._shown = frozenset(
            each.ip for version in (4, 6) for each in intent.external.own(version)
        )

    def __call__(self, connection: Connection) -> bool:
        """Whether it is to be forgotten."""
        source, destination = connection.source, connection.destination
        if source in self._local or destination in self._local:
            return False
        called = self.policy(destination, source)
        if called is not None and not called.snat:
            return False
        policy = self.policy(source, destination)
        if policy is None:
            return connection.translated and self._is_ours(connection)
        if not policy.snat or not connection.translated:
            return policy.snat != connection.translated
        return not self._may_show(policy, connection)

    def policy(self, source: IPAddress, other: IPAddress) -> Policy | None:
        """The policy that decides about a source and the other end."""
        for names in self._sources.lookup(source.version, int(source)):
            for name in names:
                policy = self._policies[name]
                listed = not policy.destinations or any(other in n for n in policy.destinations)
                if listed and not any(other in each for each in policy.excluded_destinations):
                    return policy
        return None

    def _may_show(self, policy: Policy, connection: Connection) -> bool:
        translation = policy.translation or self._intent.translation
        ranges = translation.ranges(connection.source.version)
        shown = connection.shown
        if not (any(shown in each for each in ranges) if ranges else shown in self._shown):
            return False
        if translation.ports is None or connection.protocol not in _WITH_PORTS:
            return True
        first, last = translation.ports
        return first <= connection.shown_port <= last

    def _is_ours(self, connection: Connection) -> bool:
        """Whether what it shows is what the gateway shows."""
        pools = [
            each.translation or self._intent.translation
            for each in self._intent.policies
            if each.snat
        ]
        shown = connection.shown
        in_pool = any(shown in each for pool in pools for each in pool.addresses)
        return in_pool or shown in self._shown


def local_addresses(
    intent: GatewayIntent, interfaces: Mapping[str, Interface]
) -> frozenset[IPAddress]:
    """The addresses of the machine, and those that the gateway gives it."""
    wished = (*intent.internal.addresses, *intent.external.addresses)
    there = (each for one in interfaces.values() for each in one.addresses)
    return frozenset(each.ip for each in (*wished, *there))
