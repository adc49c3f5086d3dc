"""What is left undone in the kernel, and whether traffic can pass all the same. Pure.

An attempt that failed is not yet a reason to leave: a policy that could not be added, or an old
route that could not be removed, harms nobody who was served before. A family has no path when what
is missing is in the way of each of its packets.
"""

from dataplane.model import Address, Link, NftTable, Route, Rule, Sysctl
from dataplane.plan import NftChange, Op, Plan
from dataplane.render import FORWARDING

FAMILIES = frozenset((4, 6))
_SWITCHES = {path: version for version, path in FORWARDING.items()}


def families_without_path(left: Plan, stood: NftTable | None) -> frozenset[int]:
    """The IP versions that cannot be forwarded as long as the plan `left` is not carried out.

    `stood` is the newest table of ours that was in place whole: while it stands, what it allows is
    forwarded and SNATed.
    """
    return frozenset(version for op in left.ops for version in _blocked_by(op, stood))


def _blocked_by(op: Op, stood: NftTable | None) -> frozenset[int]:
    blocked: frozenset[int] = frozenset()
    match op.object:
        case NftChange(before=before):
            blocked = blocked if before is not None and before == stood else FAMILIES
        case Link():
            blocked = FAMILIES
        case Address(address=address):
            blocked = frozenset((address.version,))
        case Route(destination=destination):
            blocked = frozenset((destination.version,))
        case Rule(version=version):
            blocked = frozenset((version,))
        case Sysctl(path=path) if path in _SWITCHES:
            blocked = frozenset((_SWITCHES[path],))
    return frozenset() if op.removes else blocked
