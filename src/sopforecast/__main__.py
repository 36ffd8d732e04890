"""``python -m sopforecast``: the same as the ``sopforecast`` command."""

from __future__ import annotations

import sys

from sopforecast.cli import main

if __name__ == "__main__":
    sys.exit(main())
