"""BFD (RFC 5880, 5881) in the standard library alone: one engine process, and a client for it.

Start with `bfd.session` for the protocol, `bfd.driver` for how it meets the clock and the network,
`bfd.service` for the process, and `bfd.client` to talk to one. The modules from `bfd.engine` down
know neither clock nor socket. The parts that others use:

* `bfd.session`: SessionKey, SessionConfig
* `bfd.fsm`: State, Diagnostic
* `bfd.snapshot`: EngineSnapshot, SessionSnapshot, StateChange, Histogram
* `bfd.client`: Client, ControlError
* `bfd.logs`: configure
* `bfd.__main__`: main

Nothing is imported here, so that each of them costs only itself.
"""
