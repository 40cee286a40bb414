"""`python -m widedeep` is the command line."""

import sys

from widedeep.cli import main

if __name__ == "__main__":
    sys.exit(main())
