"""The unattended month: load what has arrived, check it, run the cycle, publish it.

``python pipelines/monthly_cycle.py WORKSPACE [FILE ...]``; a file is named after its table
(``history*.csv``, ``items*.xlsx``) or is a whole workbook. Safe to start again at any step: the
same file loads once, the same inputs run once, and the published plan moves in one transaction.
Exit codes are those of the ``sopforecast`` command; 5 when a check holds the month back.
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


def monthly_cycle(workspace: Workspace, files: Sequence[Path], *, now: datetime) -> str:
    """Load, check, run and publish the open cycle; returns the published run id.

    Raises
    ------
    NotNow
        A check found an error: the old plan stays.
    SopforecastError
        What any step refuses; the old plan stays.
    """
    for file in files:
        table = next((name for name in TABLES if file.name.startswith(name)), None)
        sources = [str(file)] if table is None else [table, str(file)]
        workflow.load(workspace, sources, loaded_by=ROLE, now=now)
    report = workflow.check(workspace, now=now)
    if not report["passed"]:
        failed = [entry for entry in report["checks"] if entry["status"] == "error"]
        raise NotNow("; ".join(f"{entry['check']}: {entry['sentence']}" for entry in failed))
    ran = workflow.run(workspace, now=now)
    workflow.publish(
        workspace, cycle=ran["cycle"], run_id=ran["run_id"], by=ROLE, role=ROLE,
        note="monthly cycle", now=now,
    )  # fmt: skip
    return str(ran["run_id"])


def main(arguments: Sequence[str]) -> int:
    """Exit code of one batch."""
    if not arguments:
        print("usage: monthly_cycle.py WORKSPACE [FILE ...]", file=sys.stderr)
        return 2
    now = datetime.now(UTC).replace(tzinfo=None)
    try:
        run_id = monthly_cycle(
            open_workspace(Path(arguments[0])), [Path(name) for name in arguments[1:]], now=now
        )
    except SopforecastError as err:
        print(f"monthly_cycle: {err}", file=sys.stderr)
        return err.exit_code
    print(run_id)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
