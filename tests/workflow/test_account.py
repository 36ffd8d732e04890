"""What a run told about itself survives its file; a file that is gone or damaged is no failure."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.workflow.account import (
    BACKTEST_SCHEMA,
    HISTORY_SCHEMA,
    Account,
    CheckLine,
    load_account,
    save_account,
)

TOLD = Account(
    checks=(CheckLine("history_short", "warning", "1 item is short", 1, ("a",)),),
    seconds={"fit": 1.25, "store": 0.1},
    backtest=pl.DataFrame(
        {"lead": [1, 2], "wmape": [10.0, float("nan")], "bias_percent": [1.0, -2.0],
         "coverage80": [0.8, None]},
        schema=BACKTEST_SCHEMA,
    ),
    history=pl.DataFrame(
        {"unique_id": ["a", "a"], "ds": [date(2026, 9, 1), date(2026, 10, 1)], "y": [1.5, 2.0]},
        schema=HISTORY_SCHEMA,
    ),
)  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    save_account(tmp_path / "r.json", TOLD)
    again = load_account(tmp_path / "r.json")
    assert again.checks == TOLD.checks
    assert again.seconds == TOLD.seconds
    assert_frame_equal(again.backtest, TOLD.backtest.fill_nan(None))
    assert_frame_equal(again.history, TOLD.history)
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_empty_round_trip(tmp_path: Path) -> None:
    save_account(tmp_path / "r.json", Account())
    again = load_account(tmp_path / "r.json")
    assert_frame_equal(again.backtest, Account().backtest)
    assert_frame_equal(again.history, Account().history)


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"checks": [{"what": 1}]}'])
def test_gone_or_damaged_is_empty(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "r.json").write_text(text, encoding="utf-8")
    assert load_account(tmp_path / "r.json").checks == ()


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    save_account(tmp_path / "out" / "r.json", TOLD)
    assert "the run is stored" in caplog.text


def test_counts_by_status() -> None:
    lines = tuple(CheckLine("c", status, "", 0) for status in ("ok", "ok", "error"))
    assert Account(checks=lines).check_counts == {"ok": 2, "error": 1}
