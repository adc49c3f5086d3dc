"""What Kube-OVN's controller, its probes and its users call in the gateway's main container.

Everything here speaks in the words of others: of Kube-OVN's ``kube-ovn-bfdd-supervisor`` and of
OpenBFDD's ``bfdd-control``. Nothing else in vegd knows these words. `docs/kube-ovn-commands.md`
says what each of them does with our engine.

* `vegd.compat.client`: the commands, as light as Python allows, because probes run them
* `vegd.compat.daemon`: the process that they ask
* `vegd.compat.keeper`, `vegd.compat.alone`: the gateway that it keeps, or the sessions without one
* `vegd.compat.answers`: who answers there, and puts in force what is asked for
* `vegd.compat.lines`, `vegd.compat.pages`: the sockets and pages that they are given on
* `vegd.compat.openbfdd`, `vegd.compat.supervisor`, `vegd.compat.metrics`: the texts, pure functions
* `vegd.compat.wishes`: which sessions are wanted, and who has asked for them
"""
