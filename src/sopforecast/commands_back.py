"""The commands that look back, and the one that answers for a trial."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from sopforecast.commands import Common, app, say

__all__ = ["app", "clinical", "close", "replay"]


@app.command(sort_key=8)
def close(
    *,
    cycle: str,
    as_of: str | None = None,
    require: float = 0.0,
    method: Literal["closed_form", "nuts"] | None = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """Close a month whose demand is in: score every forecast of it, learn for the cycles to come.

    Parameters
    ----------
    cycle
        The month, YYYY-MM.
    as_of
        Read what was known by this day or moment (UTC), instead of by now.
    require
        Share of the month's items, 0 to 1, whose demand must be known, such as 0.95 (default: what
        is known is scored; the rest, with the sums above it, waits for the next close).
    method
        closed_form or nuts (default: sampler of the settings).
    """
    from sopforecast import terminal_evidence, workflow
    from sopforecast.progress import progress

    workspace = common.open()
    with progress() as on_progress:
        result = workflow.close(
            workspace, cycle=cycle, as_of=as_of, require=require, method=method,
            on_progress=on_progress,
        )  # fmt: skip
    return say(result, common, terminal_evidence.closed)


@app.command(sort_key=9)
def replay(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """Run and close past cycles in order, each from what was known by its cut-off.

    What stands is not computed again: an interrupted replay goes on where it stopped.

    Parameters
    ----------
    from_
        First cycle, YYYY-MM.
    to
        Last cycle, YYYY-MM.
    """
    from sopforecast import terminal_evidence, workflow
    from sopforecast.progress import progress

    workspace = common.open()
    with progress() as on_progress:
        result = workflow.replay(workspace, from_, to, on_progress=on_progress)
    return say(result, common, terminal_evidence.replayed)


@app.command(sort_key=12)
def clinical(
    *,
    study: str | None = None,
    if_: Annotated[str | None, Parameter(name="--if")] = None,
    by: str | None = None,
    cycle: str | None = None,
    as_of: str | None = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """A study's ranges and sentences: patients to come, what if, what must be confirmed by when.

    Parameters
    ----------
    study
        Its name (may be left out where there is one).
    if_
        A branch to ask for: "site S7 activates by 2027-02", "sites S7 and S9 activate by 2027-02",
        "event E1 happens", "enrolment reaches 120 by 2027-06", several joined by "and".
    by
        Month of the headline, YYYY-MM (default: six months after the cycle).
    cycle
        First forecast month, YYYY-MM (default: the open one).
    as_of
        Read what was known by this day or moment (UTC), instead of by the cut-off day.
    """
    from sopforecast import terminal_clinical, workflow

    result = workflow.clinical(
        common.open(), study=study, condition=if_, by=by, cycle=cycle, as_of=as_of
    )
    return say(result, common, terminal_clinical.of_study)
