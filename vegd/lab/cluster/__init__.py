"""A whole cluster on one machine: API server, OVN, nodes and pods, to play with and for tests.

Real are the control plane (`control_plane`), OVN (`network`), the controller, and whatever runs in
the pods. Played are the parts that need a machine of their own each: the kubelet, the CNI, and what
a VPC needs of Kube-OVN's controller (`kubelet` and what it is made of). `cluster` builds and
removes the whole.
"""
