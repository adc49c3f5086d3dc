"""What the reconciler has done, as metrics."""

from collections.abc import Collection, Iterator, Mapping

from vegd.control import ReconcileCounters
from vegd.exposition import Counter, Family, Gauge
from vegd.status import GatewayStatus


def dataplane_metrics(
    status: GatewayStatus, reconciles: ReconcileCounters, fixed: Collection[str]
) -> Iterator[Family]:
    """`fixed` are the parameters that are not as wished and cannot be set."""
    yield Gauge(
        "vegd_dataplane_converged",
        "Whether the kernel looks as the configuration says.",
        value=status.dataplane == "converged",
    )
    yield Counter(
        "vegd_dataplane_attempts",
        "Looks at the kernel, each with the changes it found necessary.",
        value=reconciles.attempts,
    )
    yield Counter(
        "vegd_dataplane_failed_attempts",
        "Attempts that left something undone.",
        value=reconciles.failures,
    )
    yield Counter(
        "vegd_dataplane_attempt_seconds",
        "Time spent on looking at the kernel and changing it.",
        value=reconciles.apply_s,
    )
    yield _by_object(
        "vegd_dataplane_operations",
        "Changes made to the kernel, by kind of object.",
        reconciles.operations,
    )
    yield _by_object(
        "vegd_dataplane_drift_repairs",
        "Objects of ours that somebody else had changed and that were put right, by kind.",
        reconciles.repairs,
    )
    refused = Gauge(
        "vegd_dataplane_parameter_refused",
        "Kernel parameters that are not as wished and that the agent may not set.",
        labels=["parameter"],
    )
    for parameter in sorted(fixed):
        refused.add([parameter], 1)
    yield refused
    yield Counter(
        "vegd_conntrack_forgotten",
        "Tracked connections that contradicted the policies and were removed.",
        value=reconciles.forgotten,
    )


def _by_object(name: str, text: str, counts: Mapping[str, int]) -> Counter:
    family = Counter(name, text, labels=["object"])
    for kind, count in sorted(counts.items()):
        family.add([kind], count)
    return family
