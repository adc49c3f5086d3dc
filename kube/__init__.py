"""The API server and OVN's northbound database, as far as a controller of gateways needs them.

What the cluster should look like is decided by pure functions over frozen values; two modules have
effects: `client` speaks to the API server, `northbound` to OVN. Both do one attempt and say what
came of it: when to try again is the program's to decide.
"""
