"""``vegd lab``: the topology in network namespaces."""

import typer

app = typer.Typer(help="The whole topology in network namespaces: demo, tests, playing.")
