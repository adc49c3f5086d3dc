"""The program that joins the leaves: it compiles a specification into a dataplane and BFD sessions.

`vegd.agent` is the composition root; `vegd.cli` is what a person types. The packages `bfd` and
`dataplane` know nothing of this one, nor of each other.
"""

__version__ = "0.1.0"
"""The package takes its version from here; to look it up in its metadata takes 2 MB."""
