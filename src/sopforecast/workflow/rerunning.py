"""The forecast of a stored run with other weights or widths, from what its models said then.

What a gate compares two procedures by. Rows are admitted as that cycle admitted them, settings are
those kept with the run, and models are not fitted again: their paths are known.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from sopforecast.baseline.cleanse import cleanse
from sopforecast.baseline.components import CLINIC
from sopforecast.baseline.month import baseline_month
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.learning_tables import Learned
from sopforecast.core.months import add_months
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.cycle import hierarchy_of
from sopforecast.planning_store.runs import find_run
from sopforecast.planning_store.store import Store
from sopforecast.settings import make_settings
from sopforecast.workflow.admission import admit
from sopforecast.workflow.book import Book
from sopforecast.workflow.shelf import Shelf

Rerun = Callable[[str, Learned], tuple[Hierarchy, np.ndarray]]


def rerunner(store: Store, shelf: Shelf, book: Book) -> Rerun:
    """Return what forecasts a stored run again.

    Parameters
    ----------
    store
        Where from.
    shelf
        Draws of stored runs; items of the clinic keep theirs.
    book
        What models said.

    Returns
    -------
    callable
        ``(run_id, learned)`` to the run's hierarchy and statistical draws (S, B, H) of its items.
    """

    def rerun(run_id: str, learned: Learned) -> tuple[Hierarchy, np.ndarray]:
        row, stored = find_run(store, run_id), shelf.run(run_id)
        settings = make_settings(json.loads(row["settings"]), where=f"settings of run {run_id}")
        inputs = admit(store, cycle=row["cycle"], moment=row["known_by"], cutoff_day=None)
        last_month = add_months(row["cycle"], -1)
        cleansed = cleanse(inputs.history, missing=settings.history.missing, last_month=last_month)
        kinds = dict(stored.components.select("unique_id", "kind").iter_rows())
        fitted = [item for item in stored.hierarchy.items if kinds[item] != CLINIC]
        draws = shelf.draws(run_id).copy()
        if not fitted:
            return stored.hierarchy, draws
        cleansed = cleansed.filter(cleansed["unique_id"].is_in(fitted))
        month = baseline_month(
            cleansed,
            inputs.items,
            hierarchy_of(cleansed, inputs.items, settings.levels),
            cycle=row["cycle"],
            settings=settings,
            clock=Stopwatch(None),
            learned=learned,
            known=book.known(last_month, settings.horizon),
        )
        place = {item: k for k, item in enumerate(stored.hierarchy.items)}
        own = month.hierarchy.items
        draws[:, [place[item] for item in own]] = month.draw(np.arange(len(own)), settings=settings)
        return stored.hierarchy, draws

    return rerun
