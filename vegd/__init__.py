"""The program that joins the leaves: it compiles a specification into a dataplane and BFD sessions.

`vegd.agent` is the composition root; `vegd.cli` is what a person types. The packages `bfd` and
`dataplane` know nothing of this one, nor of each other.
"""

from importlib.metadata import version

__version__ = version("vegd")
