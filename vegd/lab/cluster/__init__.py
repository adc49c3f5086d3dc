"""A lab that is a cluster: nodes with a chassis each, an outside, and what Kube-OVN does there."""
