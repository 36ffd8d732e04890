"""Whether the items have what the declared levels need: asked before a run, not during it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sopforecast.baseline.checks import Result
from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.errors import DataError, RequestError
from sopforecast.settings import level_columns

NAME = "levels_loaded"


def levels_check(
    history: pl.DataFrame,
    items: pl.DataFrame,
    *,
    levels: Sequence[str],
    more: Sequence[str] = (),
) -> list[Result]:
    """One check more for ``check``: would a run find a place for every item in every level?

    Parameters
    ----------
    history, items : pl.DataFrame
        As admitted; a level column that nothing fills may be missing in ``items``.
    levels : sequence of str
        As in settings.
    more : sequence of str
        Items that take their demand from elsewhere.

    Returns
    -------
    list of Result
        Empty when no levels are declared.
    """
    if not levels:
        return []
    known = history.filter(pl.col("y").is_not_null())
    names = sorted({*known["unique_id"].to_list(), *more})
    ids = pl.DataFrame({"unique_id": names}, schema={"unique_id": pl.String})
    columns = level_columns(levels)
    lacking = [name for name in columns if name not in items.columns]
    declared = f"levels {', '.join(levels)} are declared in sopforecast.toml"
    if items.is_empty() or len(lacking) == len(columns):
        return [Result(NAME, "error", f"load items first: {declared}", ids)]
    if lacking:
        sentence = f"items have no {', '.join(lacking)}, but {declared}: load items with them"
        return [Result(NAME, "error", sentence, ids)]
    placed = ids.join(items, on="unique_id", how="left", maintain_order="left")
    blank = placed.filter(
        pl.any_horizontal(
            pl.col(name).cast(pl.String).str.strip_chars().fill_null("") == "" for name in columns
        )
    ).select("unique_id", *columns)
    if blank.height:
        few = "1 item has" if blank.height == 1 else f"{blank.height:,} items have"
        sentence = f"{few} no place in a level, and {declared}: fill in and load items again"
        return [Result(NAME, "error", sentence, blank)]
    try:
        build_hierarchy(placed, levels=levels)
    except (RequestError, DataError) as err:
        return [Result(NAME, "error", str(err), ids)]
    return [Result(NAME, "ok", "every item has a place in every level", pl.DataFrame())]
