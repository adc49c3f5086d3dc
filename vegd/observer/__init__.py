"""What the sidecar of a gateway pod tells of its connections: flow logs and metrics, read only.

``vegd observe`` stands in for Kube-OVN's ``vpc-egress-gateway-observer``: same options,
configuration file, records and metrics. It is a process of its own, so that whatever it costs is
not the daemon's time. `filters`, `limit`, `records` and `book` decide and know neither clock nor
file; `collector` reads the kernel, `writer` writes, `daemon` joins them.
"""
