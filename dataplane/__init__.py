"""What the kernel should look like for a gateway, and how to get there.

`render` turns a `GatewayIntent` into a `DataplaneState`, `diff` compares two states into a `Plan`,
and a `Kernel` observes and applies. Only `netlink` speaks netlink, only `nftables` libnftables.
"""
