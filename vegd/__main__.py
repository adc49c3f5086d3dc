"""``python -m vegd``: the same as ``vegd``."""

from vegd.cli import main

main()
