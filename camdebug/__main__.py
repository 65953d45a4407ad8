"""``python -m camdebug`` is the command ``camdebug``."""

import sys

from camdebug.cli import main

if __name__ == "__main__":
    sys.exit(main())
