"""What Kube-OVN writes of a node into its annotations, as far as it is read."""

CHASSIS = "ovn.kubernetes.io/chassis"
"""The chassis of OVN that the node is."""
PORT = "ovn.kubernetes.io/port_name"
"""The node's port; the port group of the node's pods is called like it."""
READ = (CHASSIS, PORT)
