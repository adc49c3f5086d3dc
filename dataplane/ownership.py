"""How our objects are told from everybody else's: only what carries a mark is ever removed.

Routes and rules carry a protocol number (RTA_PROTOCOL, FRA_PROTOCOL), addresses too where the
kernel knows it (IFA_PROTO, Linux 5.18; on an older one they are simply never removed), interfaces
that we made an alias, and the nftables table its name. Routing is done in two tables of our own, so
that the main table, which on a host is somebody else's, stays as it is.
"""

PROTOCOL = 86
"""Of routes, rules and addresses; in the range that rtnetlink(7) leaves to programs."""

LINK_ALIAS = "vegd"

TABLE_TO_VPC = 1000
"""The table that Kube-OVN's gateways use for the same purpose."""
TABLE_TO_OUTSIDE = 1001

RULE_FROM_VPC = 1001
RULE_FROM_OUTSIDE = 1002
RULE_OWN_INTERNAL = 1003
RULE_OWN_EXTERNAL = 1004

QDISC = 0x8600_0000
"""The handle of our queueing discipline, 8600: in tc(8)."""
SHAPED = QDISC + 1
"""Its class, and the priority of the packets that belong there: 8600:1."""

NFT_FAMILY = "inet"
NFT_TABLE = "vegd"


def map_name(version: int, length: int) -> str:
    """The map of the sources of one prefix length."""
    return f"sources{version}-{length}"
