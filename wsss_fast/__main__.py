"""``python -m wsss_fast`` is the command ``wsss-fast``."""

import sys

from wsss_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())
