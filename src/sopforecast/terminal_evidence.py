"""What is said of judgement: the overrides of a run, what they moved, what closed months taught.

Neutral throughout: what was stated, what came, what it counts for; never who was wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sopforecast import terminal_kpi, terminal_learning
from sopforecast.core.learning_tables import PROCEDURES
from sopforecast.review import wording

Result = Mapping[str, Any]

MOST_LINES = 5
GROUPS = (
    ("new", "New"),
    ("carried", "Carried over"),
    ("changed", "Changed"),
    ("expired", "Ended"),
    ("in_history", "Already in the history?"),
    ("waiting", "Waiting for the horizon"),
)
BESIDE_THE_TRUTH = (
    "weight: the share of a stated change that came true; shift in multiples of the forecast's own "
    "error.\n"
    "true: what the same habit teaches when asked of these months without end. They do not "
    "know the forecast, so part of what they say is in it already."
)
MEANING = (
    "weight: the share of a stated change that came true, with its 80% range; shift and spread in "
    "multiples of the forecast's own error."
)


def overrides_of_run(result: Result) -> list[str]:
    """Lines of ``run``: which overrides live, what each source moved, what moved most."""
    lines: list[str] = []
    for key, title in GROUPS:
        said = result["overrides"][key]
        if said:
            lines.append(f"{title}: {_count(len(said), 'override')}")
            lines += [f"  {sentence}" for sentence in said[:MOST_LINES]]
            if len(said) > MOST_LINES:
                lines.append(f"  and {len(said) - MOST_LINES} more")
    if result["moved"]:
        lines.append(f"Moved the plan: {'; '.join(_moved(row) for row in result['moved'])}")
    lines += [f"  {sentence}" for sentence in result["sentences"]]
    return ["", "Overrides", *lines, ""] if lines else []


def closed(result: Result) -> str:
    """``close``."""
    if result["fit_id"] is None:
        return "\n".join([f"{result['cycle']}: {note}" for note in result["notes"]])
    fresh, waiting = result["fresh"], result["waiting"]
    state = "was closed from the same inputs before" if result["stands"] else "is closed"
    restated = f", {_count(result['restated'], 'item')} restated" if result["restated"] else ""
    lines = [
        f"{result['cycle']} {state}: {_count(result['items'], 'item')} scored{restated}",
        f"{_count(fresh, 'statement')} of this month, "
        f"{result['scored']:,} in all, of {_count(result['opinions'], 'override')}",
    ]
    if waiting:
        have = "waits" if waiting == 1 else "wait"
        lines.append(f"{_count(waiting, 'statement')} {have}: not every item below is known yet")
    lines += [
        "",
        *terminal_learning.of_close(
            value_added_rows=result["value_added"],
            decision_rows=result["learning_log"],
            calibration_rows=result["calibration"],
        ),
    ]
    lines += ["", *learned(result["learned"], min_closed=result["min_closed"])]
    lines += [f"Note: {note}" for note in result["notes"]]
    lines.append(f"Fit {result['fit_id']} ({result['method']}), known by {result['known_at']} UTC")
    return "\n".join(lines)


def learned(rows: Sequence[Result], *, min_closed: int) -> list[str]:
    """A table: source, owner, direction, n, weight and its range, shift, spread."""
    if not rows:
        return ["Nothing learned yet."]
    heads = ("source", "owner", "direction", "n", "weight", "80% range", "shift", "spread")
    lines = [*_aligned([heads, *(_learned_row(row) for row in rows)], 3), MEANING]
    if any(row["prior_only"] for row in rows):
        lines.append(_prior_only(min_closed))
    return lines


def replayed(result: Result) -> str:
    """``replay``."""
    lines = []
    for row in result["cycles"]:
        state = "stands" if row["stands"] else "made"
        said = f"run {row['run_id']} {state}, {_count(row['overrides'], 'override')}"
        if not row["is_closed"]:
            end = "not over yet"
        elif row["fit_id"] is None:
            end = "nothing to close"
        else:
            end = f"closed: {_count(row['fresh'], 'statement')}, {row['scored']:,} in all"
            decided = [f"{d['table']}: {d['decision']}, {d['rules']} rules" for d in row["decided"]]
            end += "".join(f"; {text}" for text in decided)
        lines.append(f"{row['cycle']}  {said}; {end}")
    if result["closed"]:
        last = result["closed"]
        lines += ["", f"Learned up to {last['cycle']}"]
        lines += terminal_learning.of_close(
            value_added_rows=last["value_added"],
            decision_rows=last["learning_log"],
            calibration_rows=last["calibration"],
        )
        lines += ["", *learned(last["learned"], min_closed=last["min_closed"])]
    lines += ["", *_assumed(result["assumed"])]
    return "\n".join(lines)


def _assumed(rows: Sequence[Result]) -> list[str]:
    """How much of what was read rests on a rule for when it was known."""
    assumed = [
        f"{row['assumed']:,} of {row['rows']:,} {row['table']}" for row in rows if row["assumed"]
    ]
    if not assumed:
        return ["Every row that was read says when it was known."]
    return [
        f"When rows were known is assumed for {', '.join(assumed)} rows: give a known_at column "
        "to replay exactly what was known then."
    ]


def contributors(result: Result) -> list[str]:
    """Lines of ``demo``: what was replayed, and what was learned of each habit beside the truth."""
    cycles, closed = result["replayed"]["cycles"], result["closed"]
    lines = [
        f"{_count(len(cycles), 'past cycle')}, {cycles[0]['cycle']} to {cycles[-1]['cycle']}: each "
        "run from what was known by its cut-off, then closed.",
        f"{_count(closed['opinions'], 'override')} about months that are over taught what each of "
        "the simulated contributors is worth:",
    ]
    lines += [f"  {one['source']} ({one['owner']}): {one['habit']}" for one in result["people"]]
    heads = ("contributor", "direction", "true weight", "learned weight", "its 80% range",
             "true shift", "learned shift", "closed")  # fmt: skip
    lines += ["", *_aligned([heads, *(_contributor_row(row) for row in result["contributors"])], 2)]
    lines += [BESIDE_THE_TRUTH, _counts(closed["learning_log"])]
    if any(row["prior_only"] for row in result["contributors"]):
        lines.append(_prior_only(closed["min_closed"]))
    return lines


def loop(result: Result) -> list[str]:
    """Lines of ``demo``: what closed months say of every stage, what the gate decided, KPIs."""
    cycles, closed = result["replayed"]["cycles"], result["closed"]
    lines = [
        f"Closed from {cycles[0]['cycle']} to {closed['cycle']}: every stored forecast of these "
        "months is scored, and what was learned from them is used once it has proved itself.",
        "",
        *terminal_learning.of_close(
            value_added_rows=closed["value_added"],
            decision_rows=closed["learning_log"],
            calibration_rows=closed["calibration"],
        ),
    ]
    lines += [
        f"At the close of {row['cycle']}, {one['table']}: {one['reason']}."
        for row in cycles
        for one in row["decided"]
        if row["cycle"] != closed["cycle"]
    ]
    return [*lines, "", *terminal_kpi.in_short(result["kpi"])]


def judged(result: Result) -> list[str]:
    """Lines of ``status``: overrides that live, the last close."""
    lines = []
    overrides, close = result["overrides"], result["closed"]
    if overrides["total"]:
        cycle = f" in cycle {overrides['cycle']}" if overrides["cycle"] else ""
        lines.append(
            f"Overrides: {overrides['living']:,} living{cycle}, {overrides['total']:,} in all"
        )
    if close:
        lines.append(
            f"Closed up to {close['cycle']}: fit {close['fit_id']} ({close['method']}), "
            f"{_count(close['scored'], 'statement')} of {_count(close['opinions'], 'override')}, "
            f"known by {close['known_at']}"
        )
    return lines


def _moved(row: Result) -> str:
    name = str(row["step"]).removeprefix("source:")
    change = wording.number(abs(row["change"]))
    sign = wording.MINUS if row["change"] < 0 else "+"
    return f"{name} {sign}{change} over {_count(row['months'], 'month')}"


def _learned_row(row: Result) -> tuple[str, ...]:
    who = (row["source"], row["owner"], row["direction"], f"{row['n']:,}")
    if row["prior_only"]:
        return (*who, "prior only", "", "", "")
    numbers = (
        f"{row['weight']:.2f}",
        f"{row['low']:.2f} to {row['high']:.2f}",
        f"{row['shift']:+.2f}",
        f"{row['spread']:.2f}",
    )
    return (*who, *numbers)


def _contributor_row(row: Result) -> tuple[str, ...]:
    who = (f"{row['source']} ({row['owner']})", row["direction"])
    true_weight, true_shift = f"{row['true_weight']:.2f}", f"{row['true_shift']:+.2f}"
    closed = f"{row['n'] or 0:,}"
    if row["n"] is None or row["prior_only"]:
        return (*who, true_weight, "prior only", "", true_shift, "", closed)
    span = f"{row['low']:.2f} to {row['high']:.2f}"
    return (
        *who, true_weight, f"{row['weight']:.2f}", span, true_shift, f"{row['shift']:+.2f}", closed,
    )  # fmt: skip


def _counts(log: Sequence[Result]) -> str:
    """Whether learned credibility rules the cycles to come, in one line."""
    cold, learned = PROCEDURES["credibility"]
    rules = next((row["rules"] for row in log if row["table"] == "credibility"), cold)
    if rules == learned:
        return "The gate lets these weights count: they brought plans closer to what came (below)."
    return (
        "Not counted yet: until the gate has proof that these weights bring plans closer (below), "
        "everybody counts with the prior, weight 0.5."
    )


def _prior_only(min_closed: int) -> str:
    return (
        f"prior only: the source has fewer than {min_closed} closed overrides; until then "
        "everybody counts the same."
    )


def _aligned(table: Sequence[Sequence[str]], words: int) -> list[str]:
    """Columns of one width, the first ``words`` of them left, numbers right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if column < words else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _count(number: int, noun: str) -> str:
    """``1 month``, ``1,200 months``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
