"""When the cluster's side acts: what waits, what is tried again, who leads. Policy, hence here."""
