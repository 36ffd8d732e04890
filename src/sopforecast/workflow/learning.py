"""What a closed month teaches beside credibility: scores, calibration, widths, weights, the gate.

Joins the rooms: reads stored runs and actuals as they were known, calls the pure functions of
``learning``, and gives the tables of a close. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import ITEM
from sopforecast.core.learning_tables import ANY, LEARNED_TABLES, LearningLog, empty
from sopforecast.core.months import month_name
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.learning.accuracy import current, measures
from sopforecast.learning.champions import rulers
from sopforecast.learning.gate import decide
from sopforecast.learning.kpis import kpis
from sopforecast.learning.value_added import value_added
from sopforecast.planning_store.learned import read_learned
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.book import Book
from sopforecast.workflow.clinic_scores import ClinicScored, score_clinic
from sopforecast.workflow.closed_cells import (
    cells_up_to,
    counted_calibration,
    weights_of,
    widths_of,
)
from sopforecast.workflow.closing import Closing
from sopforecast.workflow.contests import contests_of
from sopforecast.workflow.rerunning import rerunner
from sopforecast.workflow.scoring import Scored, score_month
from sopforecast.workflow.shelf import Shelf

NAMED = 5


@dataclass(frozen=True, eq=False)
class Taught:
    """Tables of ``CLOSE_TABLES`` without ``fit_id``, and what a reader must know."""

    tables: dict[str, pl.DataFrame]
    notes: tuple[str, ...]


def teach(
    store: Store, read: Closing, settings: Settings, *, shelf: Shelf, book: Book, clock: Stopwatch
) -> Taught:
    """Score the month and learn from all that is closed.

    Parameters
    ----------
    store
        Where runs are read from; nothing is written.
    read
        What was known.
    settings
    shelf, book
        Draws and model paths, made at most once.
    clock
        Told and times: score, learn, contest, tell.
    """
    earlier = _Earlier(store, read)
    with clock.stage("score"):
        scored = score_month(
            store, read.month, known_by=read.known_by, settings=settings, shelf=shelf,
            history=read.history, prices=read.prices, clinical=read.clinical,
            earlier=earlier.of_month("scored_actuals"),
            scored_cycles=set(earlier.of_month("scores")["cycle"]),
        )  # fmt: skip
        clinic = score_clinic(
            store, read.month, known_by=read.known_by, clinical=read.clinical, run_ids=read.runs,
            earlier=earlier.of_month("enrolment_scores"),
        )  # fmt: skip
    with clock.stage("learn"):
        cells = cells_up_to(store, read, settings, shelf, newest=scored.cells)
        widths = widths_of(store, read, shelf, cells)
        weights = weights_of(store, read, settings, shelf)
    with clock.stage("contest"):
        fresh = contests_of(
            store, read.month, known_by=read.known_by, settings=settings, shelf=shelf,
            actuals=read.history.filter(pl.col("ds") == read.month).select("unique_id", "y"),
            rerun=rerunner(store, shelf, book),
        )  # fmt: skip
        log = _gate(earlier, fresh, read, settings)
    with clock.stage("tell"):
        scores = earlier.with_new("scores", scored.scores)
        told = value_added(
            current(scores, version="first"), closed=read.month, sources=settings.sources,
            seed=settings.seed,
        )  # fmt: skip
        counted = counted_calibration(cells)
        figures = kpis(
            read.month,
            settings=settings.kpi,
            scores=scores,
            value_added=told,
            enrolment_scores=earlier.with_new("enrolment_scores", clinic.scores),
            site_activation=clinic.activation,
        )
    tables = {
        "scored_actuals": scored.actuals,
        "scores": scored.scores,
        "value_added": told,
        "calibration": counted,
        "learned_widths": widths,
        "learned_weights": weights,
        "contests": fresh,
        "learning_log": log,
        "enrolment_scores": clinic.scores,
        "site_activation": clinic.activation,
        "kpis": figures,
    }
    return Taught(tables, (*_waiting(scored, clinic, read.month), *scored.notes, *clinic.notes))


def _waiting(scored: Scored, clinic: ClinicScored, month: date) -> list[str]:
    """What is not known of the month yet, and what to do, as a sentence each."""
    said, name = [], month_name(month)
    for names, what in ((scored.waiting, "items"), (clinic.waiting, "sites")):
        if names:
            more = ", ..." if len(names) > NAMED else ""
            some = f"1 {what[:-1]} has" if len(names) == 1 else f"{len(names):,} {what} have"
            said.append(
                f"{some} no known figure of {name} yet; sums above wait too: "
                f"{', '.join(names[:NAMED])}{more}. Load what lacks and close {name} again"
            )
    return said


class _Earlier:
    """What closes before this one had found."""

    def __init__(self, store: Store, read: Closing) -> None:
        self._store = store
        self._month = read.same["fit_id"].to_list()
        self._all = [*read.earlier["fit_id"], *self._month]

    def of_month(self, name: str) -> pl.DataFrame:
        """Rows of a table of earlier closes of the same month, newest close last."""
        return self._ordered(name, self._month)

    def every(self, name: str) -> pl.DataFrame:
        """Rows of a table of all earlier closes, oldest first, with their place ``seq``."""
        return self._ordered(name, self._all)

    def with_new(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """As `every`, with the rows of this close last."""
        old = self.every(name)
        new = rows.with_columns(fit_id=pl.lit("this close"), seq=pl.lit(len(self._all)))
        return pl.concat([old, new.select(pl.col(c).cast(t) for c, t in old.schema.items())])

    def _ordered(self, name: str, fit_ids: list[str]) -> pl.DataFrame:
        place = {fit_id: k for k, fit_id in enumerate(fit_ids)}
        rows = read_learned(self._store, name, fit_ids)
        seq = pl.col("fit_id").replace_strict(place, default=None, return_dtype=pl.Int64)
        return rows.with_columns(seq=seq).sort("seq", maintain_order=True)


def _gate(
    earlier: _Earlier, fresh: pl.DataFrame, read: Closing, settings: Settings
) -> pl.DataFrame:
    """``LearningLog`` rows of this close: one a table."""
    contests = earlier.with_new("contests", fresh)
    ruling = rulers(earlier.every("learning_log"))
    rows = [
        decide(contests, table=table, ruling=ruling[table], closed=read.month, seed=settings.seed)
        for table in LEARNED_TABLES
    ]
    return pl.DataFrame(rows, schema=empty(LearningLog, without="fit_id").schema)


def close_numbers(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Figures of a close for MLflow: by stage the WMAPE, bias and coverage of items, the gate's."""
    items = tables["scores"].filter(
        pl.col("version") == "first", pl.col("level") == ITEM, pl.col("within") == "total",
        pl.col("measure") == "quantity", pl.col("source") == ANY,
    )  # fmt: skip
    found: dict[str, float | None] = {}
    for row in measures(items, ["stage"]).iter_rows(named=True):
        for name in ("wmape", "bias_percent", "coverage80"):
            found[f"{row['stage']}/{name}"] = row[name]
    for row in tables["learning_log"].iter_rows(named=True):
        for name in ("cycles", "difference", "low", "high"):
            found[f"gate/{row['table']}/{name}"] = row[name]
    return {name: float(v) for name, v in found.items() if v is not None and np.isfinite(v)}
