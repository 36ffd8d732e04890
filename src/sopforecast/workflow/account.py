"""What a run told about itself: checks, backtest, seconds, the past it drew; kept beside its page.

The planning store holds every number of a run. This is the rest of what a reader of the page wants
to see, kept as ``out/<cycle>/<run_id>.json`` so that the page can be written again when the run is
published. When the file is gone, that part of the page stays empty.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sopforecast.baseline.checks import Result

BACKTEST_SCHEMA = {
    "lead": pl.Int64,
    "wmape": pl.Float64,
    "bias_percent": pl.Float64,
    "coverage80": pl.Float64,
}

HISTORY_SCHEMA = {"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64}

NAMED_ITEMS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckLine:
    """One check: what it found in how many rows, and some of the items found."""

    check: str
    status: str
    sentence: str
    rows: int
    named: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Account:
    """Checks, seconds of each stage, backtest by lead, demand of the nodes shown; of overrides what
    is new, carried, changed, expired, in the history or waiting, a sentence each; and what is told
    of the studies (`workflow.studies`)."""

    checks: tuple[CheckLine, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    backtest: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BACKTEST_SCHEMA))
    history: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=HISTORY_SCHEMA))
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    studies: tuple[Mapping[str, Any], ...] = ()

    @property
    def check_counts(self) -> dict[str, int]:
        """How many checks ended in each status."""
        counts: dict[str, int] = {}
        for line in self.checks:
            counts[line.status] = counts.get(line.status, 0) + 1
        return counts


def check_lines(results: Sequence[Result]) -> tuple[CheckLine, ...]:
    """Results of checks without the rows themselves."""
    return tuple(
        CheckLine(
            result.check, result.status, result.sentence, result.rows.height, _some_items(result)
        )
        for result in results
    )


def _some_items(result: Result) -> tuple[str, ...]:
    if "unique_id" not in result.rows.columns:
        return ()
    return tuple(result.rows["unique_id"].unique(maintain_order=True).head(NAMED_ITEMS))


def save_account(path: Path, account: Account) -> None:
    """Write the account; failing to is a warning, the run is stored already."""
    text = json.dumps(
        {
            "checks": [vars(line) for line in account.checks],
            "seconds": account.seconds,
            "backtest": account.backtest.fill_nan(None).to_dicts(),
            "history": account.history.with_columns(pl.col("ds").cast(pl.String)).rows(),
            "told": dict(account.told),
            "studies": list(account.studies),
        },
        ensure_ascii=False,
        indent=1,
    )
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as err:
        logger.warning("the run is stored, but %s could not be written: %s", path, err)


def load_account(path: Path) -> Account:
    """The account of an earlier run; an empty one when there is none that can be read."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Account(
            checks=tuple(
                CheckLine(**{**line, "named": tuple(line.get("named", ()))})
                for line in told["checks"]
            ),
            seconds=dict(told["seconds"]),
            backtest=pl.DataFrame(told["backtest"], schema=BACKTEST_SCHEMA),
            history=_history(told["history"]),
            told={key: tuple(said) for key, said in told.get("told", {}).items()},
            studies=tuple(told.get("studies", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError):
        return Account()


def _history(rows: list[tuple[str, str, float]]) -> pl.DataFrame:
    text = pl.DataFrame(rows, schema={**HISTORY_SCHEMA, "ds": pl.String}, orient="row")
    return text.with_columns(pl.col("ds").str.to_date())
