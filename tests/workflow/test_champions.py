"""What a run of a cycle uses of what was learned: what rules, of the close of the day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.core.evidence_tables import Credibility
from sopforecast.core.learning_tables import (
    LearnedWeights,
    LearnedWidths,
    LearningLog,
    RunTables,
)
from sopforecast.planning_store.learned import save_close
from sopforecast.planning_store.store import Store, open_store
from sopforecast.settings import Settings, make_settings
from sopforecast.workflow.champions import Champions, learned_for, used_by

APR, MAY, JUN, JUL = (date(2026, month, 1) for month in (4, 5, 6, 7))
COLD = dict.fromkeys(("weights", "widths", "credibility", "conversion"))
ALL = ("weights", "widths", "credibility")
Save = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'planning.db'}")
    yield opened
    opened.close()


def whole(schema: type[dy.Schema], rows: list[dict[str, Any]]) -> pl.DataFrame:
    columns = {n: c for n, c in schema.columns().items() if n != "fit_id"}
    blank = {n: 1.0 if c.dtype == pl.Float64() and not c.nullable else None
             for n, c in columns.items()}  # fmt: skip
    blank |= {n: 1 for n, c in columns.items() if c.dtype == pl.Int64() and not c.nullable}
    types = {name: column.dtype for name, column in columns.items()}
    return pl.DataFrame([blank | row for row in rows], schema=types)


def due(closed: date) -> datetime:
    """The cut-off of the cycle after the month."""
    return datetime(closed.year, closed.month + 1, 15, 23, 59)


def learned_tables(number: float, tables: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Tables in which the number can be seen again; those that are not named have no rows."""
    widths = [{"part": "common", "factor": number}]
    weights = [{"segment": "smooth", "model": "DOT", "weight": 1.0, "relative_error": number}]
    return {
        "learned_widths": whole(LearnedWidths, widths if "widths" in tables else []),
        "learned_weights": whole(LearnedWeights, weights if "weights" in tables else []),
    }


@pytest.fixture
def save(store: Store) -> Save:
    """Store a close: its tables carry a number, its log what rules from then on."""

    def make(
        fit_id: str,
        closed: date,
        number: float = 1.0,
        *,
        rules: dict[str, str] | None = None,
        tables: tuple[str, ...] = ALL,
        known_at: datetime | None = None,
    ) -> None:
        at = known_at or due(closed)
        said = {
            "source": "sales", "owner": "*", "reason": "*", "direction": "up", "closed": closed,
            "known_at": at, "weight": number, "common_error": 0.5, "event_error": 0.5,
            "months_error": 0.5, "tail": 5.0, "method": "closed_form",
        }  # fmt: skip
        log = [
            {"table": table, "closed": closed, "ruled": "", "challenger": "", "decision": "keep",
             "rules": ruling, "reason": ""}
            for table, ruling in (rules or {}).items()
        ]  # fmt: skip
        save_close(
            store,
            close={
                "closed": closed, "fit_id": fit_id, "known_at": at, "made_at": at,
                "method": "closed_form", "inputs_hash": fit_id, "scored": 0, "fresh": 0,
                "opinions": 0, "waiting": 0, "notes": "",
            },
            credibility=whole(Credibility, [said] if "credibility" in tables else []),
            tables=learned_tables(number, tables) | {"learning_log": whole(LearningLog, log)},
        )  # fmt: skip

    return make


def used(
    store: Store, cycle: date, known_by: datetime, settings: Settings | None = None
) -> Champions:
    return learned_for(store, cycle, known_by=known_by, settings=settings or Settings())


def is_cold(found: Champions) -> bool:
    learned = found.learned
    return (
        (learned.weights, learned.widths, learned.conversion) == (None, None, "learned")
        and found.fits == COLD
        and found.credibility is None
    )


def cut(cycle: date) -> datetime:
    return datetime(cycle.year, cycle.month, 15, 23, 59)


def test_nothing_closed_and_nothing_proved_start_cold(store: Store, save: Save) -> None:
    assert is_cold(used(store, JUN, cut(JUN)))
    save("c1", MAY, 1.1)
    assert is_cold(used(store, JUN, cut(JUN)))
    save("c2", JUN, 1.2, rules={"widths": "backtest", "credibility": "prior"})
    assert is_cold(used(store, JUL, cut(JUL)))


def test_what_rules_is_taken_from_the_newest_close(store: Store, save: Save) -> None:
    save("c1", APR, 1.1, rules={"widths": "live"})
    save("c2", MAY, 1.2, rules={"widths": "live", "credibility": "learned"})
    found = used(store, JUN, cut(JUN))
    assert found.fits == COLD | {"widths": "c2", "credibility": "c2"}
    assert found.learned.widths is not None
    assert found.learned.widths["factor"].to_list() == [1.2]
    assert found.learned.weights is None
    assert found.credibility is not None
    assert found.credibility["weight"].to_list() == [1.2]
    assert used(store, MAY, cut(MAY)).fits == COLD | {"widths": "c1"}


def test_the_decision_and_the_fit_need_not_be_of_one_close(store: Store, save: Save) -> None:
    """What was adopted in April rules in June, with the factors of May."""
    save("c1", APR, 1.1, rules={"widths": "live", "conversion": "elicited"})
    save("c2", MAY, 1.2, rules={"credibility": "prior"})
    found = used(store, JUN, cut(JUN))
    assert found.fits == COLD | {"widths": "c2"}
    assert found.learned.conversion == "elicited"
    save("c3", JUN, 1.3, rules={"widths": "backtest", "conversion": "learned"})
    assert is_cold(used(store, JUL, cut(JUL)))


def test_closes_of_its_own_months_or_known_later_are_not_there(store: Store, save: Save) -> None:
    save("c1", APR, 1.1, rules={"widths": "live"})
    before = used(store, JUN, cut(JUN))
    assert before.fits["widths"] == "c1"
    save("late", MAY, 9.9, rules=dict.fromkeys(("widths", "weights"), "live"),
         known_at=datetime(2026, 6, 16))  # fmt: skip
    save("own", JUN, 8.8, rules={"widths": "backtest"}, known_at=datetime(2026, 6, 10))
    again = used(store, JUN, cut(JUN))
    assert again.fits == before.fits
    assert_frame_equal(again.learned.widths, before.learned.widths)
    assert used(store, JUN, datetime(2026, 6, 17)).fits == COLD | {
        "widths": "late",
        "weights": "late",
    }


def test_of_two_closes_of_a_month_the_one_known_last_decides(store: Store, save: Save) -> None:
    save("z", MAY, 1.1, rules={"widths": "live"}, known_at=datetime(2026, 6, 10))
    save("a", MAY, 1.2, rules={"widths": "backtest"}, known_at=datetime(2026, 6, 11))
    assert used(store, JUN, datetime(2026, 6, 10)).fits["widths"] == "z"
    assert used(store, JUN, cut(JUN)).fits == COLD
    save("m", APR, 1.3, rules={"widths": "live"}, known_at=datetime(2026, 6, 12))
    assert used(store, JUN, cut(JUN)).fits == COLD, "an older month closed late decides nothing"


def test_a_close_that_learned_nothing_of_a_ruling_table_is_a_cold_start(
    store: Store, save: Save
) -> None:
    save("c1", APR, 1.1, rules=dict.fromkeys(("widths", "weights"), "live"))
    save("c2", MAY, 1.2, tables=("weights",))
    found = used(store, JUN, cut(JUN))
    assert found.fits == COLD | {"weights": "c2"}
    assert found.learned.widths is None


def test_without_the_gate_every_table_is_used_as_soon_as_there_is_one(
    store: Store, save: Save
) -> None:
    ungated = make_settings({"advanced": {"gate": False}})
    assert is_cold(used(store, MAY, cut(MAY), ungated))
    save("c1", APR, 1.1, rules={"widths": "backtest", "conversion": "elicited"})
    found = used(store, MAY, cut(MAY), ungated)
    assert found.fits == COLD | dict.fromkeys(ALL, "c1")
    assert found.learned.conversion == "learned"
    save("c2", MAY, 1.2, tables=("widths",))
    assert used(store, JUN, cut(JUN), ungated).fits == COLD | {"widths": "c2"}


def test_what_is_noted_of_a_run_is_read_back(
    store: Store, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {"widths": "live", "weights": "live", "conversion": "elicited"}
    save("c1", APR, 1.1, rules=rules)
    found = used(store, MAY, cut(MAY))
    noted = found.run_tables()
    assert noted.rows() == [
        ("weights", "live", "c1"),
        ("widths", "live", "c1"),
        ("credibility", "prior", None),
        ("conversion", "elicited", None),
    ]
    RunTables.validate(noted.with_columns(run_id=pl.lit("r-1")))
    monkeypatch.setattr("sopforecast.workflow.champions.read_run_tables", lambda *_: noted)
    again = used_by(store, "r-1")
    assert again.fits == found.fits
    assert again.learned.conversion == "elicited"
    assert_frame_equal(again.learned.widths, found.learned.widths)
    assert_frame_equal(again.learned.weights, found.learned.weights)
    assert again.credibility is None


def test_a_run_of_which_nothing_is_noted_started_cold(store: Store) -> None:
    assert is_cold(used_by(store, "r-1"))
