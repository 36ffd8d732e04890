"""What a run of a cycle uses of what was learned: of each table that rules, the fit of the day.

Everything is read as it was known by the cycle's cut-off, so that a past cycle run again uses what
it would have used. ``run_tables`` then says of a stored run what it was.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, NamedTuple

import polars as pl

from sopforecast.core.learning_tables import PROCEDURES, Learned, RunTables, empty
from sopforecast.learning.champions import rulers
from sopforecast.planning_store.learned import newest_close, read_learned, standing_closes
from sopforecast.planning_store.runs import read_run_tables
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings

# Of each table that a fit may replace, the close table that holds it; conversion has none.
FIT_TABLES = {
    "weights": "learned_weights",
    "widths": "learned_widths",
    "credibility": "credibility",
}
CONVERSION = "conversion"


class Champions(NamedTuple):
    """What a run uses.

    Attributes
    ----------
    learned : Learned
        For the engine.
    fits : dict of str to (str or None)
        By table the fit that is used; None: the cold start, or a procedure that needs no fit.
    credibility : pl.DataFrame or None
        ``Credibility`` rows of that fit.
    """

    learned: Learned
    fits: dict[str, str | None]
    credibility: pl.DataFrame | None

    @property
    def hashed(self) -> tuple[str, ...]:
        """What of it can change a number of every run; nothing at a cold start.

        Credibility counts where somebody spoke, and is told there.
        """
        used = [f"{table} {self.fits[table]}" for table in ("weights", "widths")
                if self.fits[table] is not None]  # fmt: skip
        if self.learned.conversion != PROCEDURES[CONVERSION][0]:
            used.append(self.learned.conversion)
        return tuple(used)

    def run_tables(self, *, spoken: bool = True) -> pl.DataFrame:
        """``RunTables`` without ``run_id``: the procedure of every table, and its fit.

        Where nobody has ``spoken``, credibility was not used, and its fit is not noted.
        """
        rows = []
        for table, (cold, other) in PROCEDURES.items():
            used = cold if self.fits[table] is None else other
            if table == CONVERSION:
                used = self.learned.conversion
            fit_id = self.fits[table]
            if table == "credibility" and not spoken:
                used, fit_id = cold, None
            rows.append({"table": table, "procedure": used, "fit_id": fit_id})
        return pl.DataFrame(rows, schema=empty(RunTables, without="run_id").schema)


def learned_for(store: Store, cycle: date, *, known_by: datetime, settings: Settings) -> Champions:
    """What a run of a cycle uses.

    Parameters
    ----------
    store
        Where from.
    cycle
        First forecast month; what closes of its own or later months found is not read.
    known_by
        Its cut-off; closes known later are not read.
    settings
        ``advanced.gate``: False uses every learned table as soon as there is one, proved or not.

    Returns
    -------
    Champions
        A table whose learned procedure rules, but of which the newest close learned nothing, is
        used as from a cold start.
    """
    ruling = _ruling(store, cycle, known_by, gate=settings.advanced.gate)
    close = newest_close(store, before=cycle, known_by=known_by)
    fits: dict[str, str | None] = dict.fromkeys(PROCEDURES)
    tables: dict[str, pl.DataFrame | None] = dict.fromkeys(FIT_TABLES)
    for table in FIT_TABLES:
        if close is not None and ruling[table] == PROCEDURES[table][1]:
            tables[table] = learned_rows_of(store, table, close["fit_id"])
            fits[table] = None if tables[table] is None else close["fit_id"]
    learned = Learned(tables["weights"], tables["widths"], _procedure(ruling[CONVERSION]))
    return Champions(learned, fits, tables["credibility"])


def used_by(store: Store, run_id: str) -> Champions:
    """What a stored run had used; all from a cold start when nothing is noted of it."""
    fits: dict[str, str | None] = dict.fromkeys(PROCEDURES)
    conversion = PROCEDURES[CONVERSION][0]
    for row in read_run_tables(store, run_id).iter_rows(named=True):
        fits[row["table"]] = row["fit_id"]
        if row["table"] == CONVERSION:
            conversion = row["procedure"]
    tables = {table: learned_rows_of(store, table, fits[table]) for table in FIT_TABLES}
    learned = Learned(tables["weights"], tables["widths"], _procedure(conversion))
    return Champions(learned, fits, tables["credibility"])


def learned_rows_of(store: Store, table: str, fit_id: str | None) -> pl.DataFrame | None:
    """Rows of a table of ``FIT_TABLES`` of a fit; None without a fit, or when it has none."""
    if fit_id is None:
        return None
    rows = read_learned(store, FIT_TABLES[table], [fit_id])
    return rows if rows.height else None


def _ruling(store: Store, cycle: date, known_by: datetime, *, gate: bool) -> dict[str, str]:
    if not gate:
        other = {table: PROCEDURES[table][1] for table in FIT_TABLES}
        return {table: other.get(table, cold) for table, (cold, _) in PROCEDURES.items()}
    order = standing_closes(store, before=cycle, known_by=known_by)["fit_id"].to_list()
    place = {fit_id: k for k, fit_id in enumerate(order)}
    log = read_learned(store, "learning_log", order)
    ranked = log.with_columns(_at=pl.col("fit_id").replace_strict(place, return_dtype=pl.Int64))
    return rulers(ranked.sort("_at"))


def _procedure(text: str) -> Literal["learned", "elicited"]:
    """A procedure of conversion, by its name."""
    return "elicited" if text == PROCEDURES[CONVERSION][1] else "learned"
