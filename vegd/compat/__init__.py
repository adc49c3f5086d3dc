"""What Kube-OVN's controller, its probes and its users call in the gateway's main container.

Everything here speaks in the words of others: of Kube-OVN's ``kube-ovn-bfdd-supervisor`` and of
OpenBFDD's ``bfdd-control``. Nothing else in vegd knows these words. `docs/kube-ovn-commands.md`
says what each of them does with our engine.

* `vegd.compat.client`: the commands, as light as Python allows, because probes run them
* `vegd.compat.daemon`: the process that they ask, with the BFD engine as its child
* `vegd.compat.answers`: who answers there, and puts in force what is asked for
* `vegd.compat.openbfdd`, `vegd.compat.supervisor`, `vegd.compat.metrics`: the texts, pure functions
* `vegd.compat.wishes`: which sessions are wanted, and who has asked for them
"""
