"""The commands: one thin function each, a call into ``workflow`` and a print.

Nothing heavy is imported before a command runs: the imports stand inside.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from sopforecast import __version__
from sopforecast.errors import SopforecastError

if TYPE_CHECKING:
    from sopforecast.workspace import Workspace

EXIT_CODES = (
    "Exit codes: 0 done; 1 the data or the request is wrong, nothing written; 2 usage; 3 lost a "
    "publish race; 4 store unreachable; 5 not now; 130 interrupted."
)

app = App(
    name="sopforecast",
    version=__version__,
    help="Demand forecasting for S&OP. A month: load, check, run, publish, export; later: close.",
    help_epilogue=EXIT_CODES,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
Switch = Annotated[bool, Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options of every command."""

    workspace: Annotated[Path, Parameter(name=["--workspace", "-w"])] = Path()
    "Folder of the workspace."

    json: Switch = False
    "Print one JSON object and nothing else."

    def open(self) -> Workspace:
        """The workspace these options name."""
        from sopforecast.workspace import open_workspace

        return open_workspace(self.workspace)


@app.command(sort_key=1)
def init(
    folder: Path,
    /,
    *,
    name: str | None = None,
    level: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    variant: Literal["planner", "clinical"] = "planner",
    common: Common = Common(),
) -> int:
    """Make a workspace: settings, an empty store and a workbook with one sheet a table.

    Parameters
    ----------
    folder
        New or existing folder without a workspace.
    name
        Of the company or portfolio, shown on pages.
    level
        A level above the items, coarse first: --level family --level family/region.
    variant
        clinical adds a workbook for studies, sites, patients and protocol (clinical.xlsx).
    """
    from sopforecast import terminal, workflow

    return say(
        workflow.init(folder, name=name, levels=level, variant=variant), common, terminal.made
    )


@app.command(sort_key=2)
def demo(folder: Path = Path("demo"), /, *, common: Common = Common()) -> int:
    """A workspace on real public history: past months replayed, this one run and
    published, with its review page.

    Parameters
    ----------
    folder
        New folder, or one made by an earlier demo.
    """
    from sopforecast import terminal
    from sopforecast.demo import run_demo
    from sopforecast.progress import progress

    with progress() as on_progress:
        result = run_demo(folder, on_progress=on_progress)
    return say(result, common, terminal.demonstrated)


@app.command(sort_key=3)
def load(
    source: str,
    /,
    *files: str,
    through: str | None = None,
    sum_: Annotated[bool, Parameter(name="--sum", negative=())] = False,
    full: Switch = False,
    common: Common = Common(),
) -> int:
    """Load TABLE FILE... or BOOK.xlsx: all rows or none, each rejected row with its reason.

    Parameters
    ----------
    source
        A table, or one workbook (xlsx) with a sheet a table. Tables: items, history, overrides,
        prices; studies, cohorts, sites, enrolment, enrolment_plan, schedule, study_events,
        tier_lines.
    files
        The table's files: csv, parquet or xlsx.
    through
        Months are complete up to here (YYYY-MM; default: the last calendar month ended). Later
        rows are kept, marked partial, never fitted or scored.
    sum_
        Add dated lines up to months.
    full
        The file is all there is: keys missing in its months are retracted.
    """
    from sopforecast import terminal, workflow

    sources = [source, *files]
    result = workflow.load(common.open(), sources, through=through, sum_days=sum_, full=full)
    return say(result, common, terminal.loaded)


@app.command(sort_key=4)
def undo(load_id: str, /, *, force: str | None = None, common: Common = Common()) -> int:
    """Retract one load: its rows are closed, nothing is deleted.

    Parameters
    ----------
    load_id
        As printed by `load` and listed by `status`.
    force
        A reason; needed when a published run used rows of that load.
    """
    from sopforecast import terminal, workflow

    return say(workflow.undo(common.open(), load_id, force=force), common, terminal.undone)


@app.command(sort_key=5)
def check(*, strict: Switch = False, common: Common = Common()) -> int:
    """Data-quality report on what the next run would read.

    Parameters
    ----------
    strict
        Exit with 1 on warnings too.
    """
    from sopforecast import terminal, workflow

    result = workflow.check(common.open(), strict=strict)
    say(result, common, terminal.checked)
    return 0 if result["passed"] else SopforecastError.exit_code


@app.command(sort_key=6)
def run(
    *,
    cycle: str | None = None,
    horizon: int | None = None,
    as_of: str | None = None,
    common: Common = Common(),
) -> int:
    """Forecast a cycle and write its review page; the same inputs never make a second run.

    Parameters
    ----------
    cycle
        First forecast month, YYYY-MM (default: the month after the last complete history month).
    horizon
        Months ahead (default: from settings).
    as_of
        Read what was known by this day or moment (2026-12-10 or 2026-12-10T09:00, UTC), instead
        of by the cut-off day of the settings.
    """
    from sopforecast import terminal, workflow
    from sopforecast.progress import progress

    workspace = common.open()
    with progress() as on_progress:
        result = workflow.run(
            workspace, cycle=cycle, horizon=horizon, as_of=as_of, on_progress=on_progress
        )
    return say(result, common, terminal.ran)


@app.command(sort_key=7)
def publish(
    *,
    cycle: str,
    stage: Literal["consensus", "approved"] = "consensus",
    run_: Annotated[str, Parameter(name="--run")] = "latest",
    expect: str | None = None,
    by: str | None = None,
    role: str | None = None,
    note: str | None = None,
    common: Common = Common(),
) -> int:
    """Make one run the plan of its cycle, if nobody was faster; an older run is the roll-back.

    Parameters
    ----------
    cycle
        YYYY-MM.
    stage
        What is published.
    run_
        Run id, or latest.
    expect
        Run id that must be published now (none: nothing yet); otherwise the publish is refused.
    by
        Who publishes (default: the user of this machine).
    role
        In which role.
    note
        Why.
    """
    from sopforecast import terminal, workflow

    result = workflow.publish(
        common.open(), cycle=cycle, stage=stage, run_id=run_, expect=expect,
        by=by, role=role, note=note,
    )  # fmt: skip
    return say(result, common, terminal.published)


@app.command(sort_key=10)
def export(
    table: str,
    file: Path,
    /,
    *,
    cycle: str | None = None,
    stage: str | None = None,
    run_: Annotated[str | None, Parameter(name="--run")] = None,
    measure: str | None = None,
    wide: Switch = False,
    common: Common = Common(),
) -> int:
    """Write a table to csv, parquet or xlsx; forecasts are those of the newest published run.

    Parameters
    ----------
    table
        forecasts, weights, components, statements, bridge, enrolment_forecasts, tier_conversion (of
        a run); credibility, closed (what was learned, and the statements behind it), scores,
        scored_actuals, value_added, calibration, learned_weights, learned_widths, contests,
        learning_log, enrolment_scores, site_activation, kpis (of closes); runs, published; or a
        table that can be loaded, such as history.
    file
        Ends in .csv, .parquet or .xlsx.
    cycle
        YYYY-MM (default: the newest published; of what closes found: the last close, with a cycle
        the one that cycle read).
    stage
        naive, statistical, source:NAME, consensus or approved (default: the published one).
    run_
        Run id, or latest, published or not.
    measure
        One of plan, mean, p05, p10, p25, p50, p75, p90, p95 (default: all; with --wide: plan).
    wide
        Months across.
    """
    from sopforecast import terminal, workflow

    result = workflow.export(
        common.open(), table, file,
        cycle=cycle, stage=stage, run_id=run_, measure=measure, wide=wide,
    )  # fmt: skip
    return say(result, common, terminal.exported)


@app.command(sort_key=11)
def status(*, common: Common = Common()) -> int:
    """What is loaded, run, published and closed."""
    from sopforecast import terminal, workflow

    return say(workflow.status(common.open()), common, terminal.told)


def say(result: dict[str, Any], common: Common, words: Callable[[dict[str, Any]], str]) -> int:
    """Print a result, for a person or as one JSON object; the exit code is 0."""
    print(json.dumps(result, ensure_ascii=False) if common.json else words(result), flush=True)
    return 0
