"""The month is over: load what has arrived, close the last complete month, write its KPI page.

``python pipelines/close_month.py WORKSPACE [FILE ...]``; files as in ``monthly_cycle.py``. Safe to
start again at any step: the same file loads once, the same inputs are closed once. Run it before
``monthly_cycle.py``, so that the open cycle reads what this month taught. Prints the month; the KPI
page is ``out/kpi-YYYY-MM.html``. Exit codes are those of the ``sopforecast`` command; 5 when too
few items have their demand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sopforecast import workflow
from sopforecast.errors import NotNow, SopforecastError
from sopforecast.workspace import Workspace, open_workspace

TABLES = ("items", "history", "overrides", "prices")
ROLE = "batch"
REQUIRED_SHARE = 0.95


def close_month(workspace: Workspace, files: Sequence[Path], *, now: datetime) -> str:
    """Load the files, close the last complete month, write its KPIs; returns the month, YYYY-MM.

    Before the first run there is nothing to score: the month is told, and no page is written.

    Raises
    ------
    NotNow
        There is no history yet, or too few items have their demand.
    SopforecastError
        What any step refuses.
    """
    for file in files:
        table = next((name for name in TABLES if file.name.startswith(name)), None)
        sources = [str(file)] if table is None else [table, str(file)]
        workflow.load(workspace, sources, loaded_by=ROLE, now=now)
    month = workflow.status(workspace)["history"]["last_complete"]
    if month is None:
        raise NotNow("there is no complete month of history to close")
    closed = workflow.close(workspace, cycle=month, require=REQUIRED_SHARE, now=now)
    if closed["fit_id"] is not None:
        workflow.kpi(workspace, cycle=month, now=now)
    return str(month)


def main(arguments: Sequence[str]) -> int:
    """Exit code of one batch."""
    if not arguments:
        print("usage: close_month.py WORKSPACE [FILE ...]", file=sys.stderr)
        return 2
    now = datetime.now(UTC).replace(tzinfo=None)
    try:
        month = close_month(
            open_workspace(Path(arguments[0])), [Path(name) for name in arguments[1:]], now=now
        )
    except SopforecastError as err:
        print(f"close_month: {err}", file=sys.stderr)
        return err.exit_code
    print(month)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
