"""The rank program of the fault tests, as torchrun starts it. Takes a rank program's arguments."""

import sys

from faults.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
