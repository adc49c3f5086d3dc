"""``python -m bfd``: the engine as a process, see `bfd.service`."""

import sys

from bfd.service import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
