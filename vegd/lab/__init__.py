"""A VPC, its gateways and the outside in network namespaces of one machine.

`topology` decides all names and addresses (pure); `lab` builds, starts and removes what it says;
`linux_router` and `ovn_router` are the two kinds of VPC router; `faults`, `probes` and `scenes`
break things and look at what the traffic does; `demo` plays all scenes and writes the report and
the picture. Everything a lab makes carries its prefix, so several labs live side by side.
"""
