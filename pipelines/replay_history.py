"""Past cycles as they would have been: run and close each, from what was known by its cut-off.

``python pipelines/replay_history.py WORKSPACE FROM TO``, cycles as YYYY-MM. Stopped half-way it
goes on where it stopped. Writes how far it is to standard error, a line each quarter (a bar on a
terminal), and then a line a cycle and what the last close says. Exit codes are those of the
``sopforecast`` command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sopforecast import workflow
from sopforecast.errors import SopforecastError
from sopforecast.progress import progress
from sopforecast.terminal_evidence import replayed
from sopforecast.workspace import open_workspace

ARGUMENTS = 3


def main(arguments: Sequence[str]) -> int:
    """Exit code of one replay."""
    if len(arguments) != ARGUMENTS:
        print("usage: replay_history.py WORKSPACE FROM TO", file=sys.stderr)
        return 2
    folder, first, last = arguments
    now = datetime.now(UTC).replace(tzinfo=None)
    try:
        with progress() as on_progress:
            told = workflow.replay(
                open_workspace(Path(folder)), first, last, on_progress=on_progress, now=now
            )
    except SopforecastError as err:
        print(f"replay_history: {err}", file=sys.stderr)
        return err.exit_code
    print(replayed(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
