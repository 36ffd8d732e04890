"""Each check of history on a case worked by hand: the rows it returns and what it says."""

from datetime import date

import polars as pl
import pytest

from sopforecast.baseline.checks import run_checks
from sopforecast.core.months import add_months, month_range

START = date(2023, 1, 1)
LAST = date(2025, 12, 1)
MONTHS = 36
STEADY = [float(50 + t % 3) for t in range(MONTHS)]


def rows_of(demand, *, item="A", first=START, **columns):
    return pl.DataFrame(
        {
            "unique_id": [item] * len(demand),
            "ds": month_range(first, len(demand)),
            "y": pl.Series(demand, dtype=pl.Float64, strict=False),
        }
        | columns
    )


def found_by(name, *frames, **options):
    options = {"last_month": LAST} | options
    results = run_checks(pl.concat(frames, how="diagonal"), **options)
    return next(result for result in results if result.check == name)


def changed(changes):
    return [changes.get(t, value) for t, value in enumerate(STEADY)]


def month(number):
    return add_months(START, number)


def test_all_unknown():
    found = found_by("history_all_unknown", rows_of([None] * 3), rows_of(STEADY, item="B"))
    assert found.rows.rows() == [("A", 3)]
    assert found.sentence.startswith("1 item has rows but no demand in any of them")


def test_all_zero():
    found = found_by("history_all_zero", rows_of([0, None, 0]), rows_of([0, 1], item="B"))
    assert found.rows.rows() == [("A", 2)]
    assert found.sentence.startswith("1 item has zero demand in every month")


def test_ids_alike():
    frames = [rows_of([1, 2], item=item) for item in ("Ab 1", "ab1", "AB  1", "b1")]
    found = found_by("history_duplicates_case", *frames)
    assert found.rows.rows() == [
        ("ab1", "AB  1", 2, 3.0),
        ("ab1", "Ab 1", 2, 3.0),
        ("ab1", "ab1", 2, 3.0),
    ]
    assert found.sentence.startswith("3 ids differ only in case or blanks and stand for 1 name")


def test_gap_months():
    gaps = rows_of(STEADY).filter(~pl.col("ds").is_in([month(3), month(4), month(9)]))
    other = rows_of(STEADY, item="B").filter(pl.col("ds") != month(3))
    found = found_by("history_gap_months", gaps, other)
    assert found.rows.rows() == [
        ("A", month(2), month(5), 2),
        ("A", month(8), month(10), 1),
        ("B", month(2), month(4), 1),
    ]
    assert found.sentence == (
        "2 items have months without a row (4 months in all): they are read as unknown; "
        'set [history] missing = "zero" when no row means no demand'
    )


def test_gap_months_are_no_finding_when_no_row_means_no_demand():
    gaps = rows_of(STEADY).filter(pl.col("ds") != month(3))
    assert found_by("history_gap_months", gaps, missing="zero").status == "ok"


def test_the_last_month_is_missing():
    frames = [rows_of(STEADY[:-1]), rows_of(STEADY, item="B"), rows_of(STEADY[:-3], item="C")]
    found = found_by("history_last_month", *frames)
    assert found.rows.rows() == [("A", month(34))]  # C is stale, and said to be so there
    assert found.sentence.startswith(
        "1 of 3 items has no demand for 2025-12, the last complete month, read as unknown"
    )
    assert "read as zero demand" in found_by("history_last_month", *frames, missing="zero").sentence


def test_stale_items_unless_marked_as_ending():
    frames = [rows_of(STEADY[:-3], item=item) for item in "ABCDE"]
    frames.append(rows_of(STEADY[:-2], item="F"))
    items = pl.DataFrame(
        {
            "unique_id": ["A", "B", "C", "D"],
            "status": ["discontinued", "phase_out", None, "active"],
            "end_ds": [None, None, None, LAST],
        },
        schema_overrides={"end_ds": pl.Date},
    )
    found = found_by("history_stale", *frames, items=items)
    assert found.rows.rows() == [("C", month(32), 3, "active"), ("E", month(32), 3, "active")]
    assert found.sentence.startswith("2 items have no demand on record for 3 months or more")


def test_short_histories_shortest_first():
    late = add_months(LAST, -10)
    frames = [
        rows_of(STEADY[:23], first=add_months(LAST, -22)),
        rows_of(STEADY[:11], item="B", first=late),
        rows_of(STEADY[:24], item="C"),
    ]
    found = found_by("history_short", *frames)
    assert found.rows.rows() == [("B", late, 11), ("A", add_months(LAST, -22), 23)]
    assert found.sentence.startswith(
        "2 items have fewer than 24 months of demand, 1 of them fewer than 12"
    )


def test_negative_demand():
    found = found_by("history_negative", rows_of(changed({4: -2.0, 7: -1.0})))
    assert found.rows.rows() == [("A", month(4), -2.0), ("A", month(7), -1.0)]
    assert found.sentence.startswith("1 item has demand below zero (2 months in all)")


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_unit_slip_that_stays(factor):
    slipped = [value * (factor if t >= 20 else 1) for t, value in enumerate(STEADY)]
    found = found_by("history_unit_step", rows_of(slipped), rows_of(STEADY, item="B"))
    assert found.status == "error"
    ((item, when, before, after, ratio),) = found.rows.rows()
    assert (item, when) == ("A", month(20))
    # months 8 to 19 are 52, 50, 51 four times over, months 20 to 22 are 52, 50, 51
    assert (before, after) == (51.0, 51.0 * factor)
    assert ratio == pytest.approx(factor)


def test_a_unit_slip_in_the_last_month_and_one_that_ended():
    last = found_by("history_unit_step", rows_of(changed({35: 51_000.0})))
    assert last.rows["ds"].to_list() == [month(35)]
    two_years = [value * (1000 if t < 24 else 1) for t, value in enumerate(STEADY)]
    ended = found_by("history_unit_step", rows_of(two_years))
    assert ended.rows["ds"].to_list() == [month(24)]


@pytest.mark.parametrize(
    "demand",
    [
        changed({20: 51_000.0}),  # one month: a spike
        [value * (100 if t >= 20 else 1) for t, value in enumerate(STEADY)],  # a large win
        [1.5**t for t in range(MONTHS)],  # fast growth
        [0.0] * 20 + [800.0] * 16,  # a launch
    ],
)
def test_what_is_no_unit_slip(demand):
    assert found_by("history_unit_step", rows_of(demand)).status == "ok"


def test_one_large_month():
    found = found_by(
        "history_single_spike",
        rows_of(changed({20: 510.0})),
        rows_of(changed({20: 509.0}), item="B"),
        rows_of(changed({20: 900.0, 30: 301.0}), item="C"),
        rows_of([2.0] * 6 + [90.0], item="D"),
        rows_of([2.0] * 5 + [90.0], item="E"),
    )
    # C has a next largest of 301, over a third of 900; E only 5 other months with demand
    assert found.rows.rows() == [
        ("A", month(20), 510.0, 51.0, 52.0),
        ("D", month(6), 90.0, 2.0, 2.0),
    ]
    assert found.sentence.startswith("2 items have one month at 10 times the usual or more")


def test_one_off_above_its_demand():
    found = found_by("history_one_off", rows_of([5, 5, 5, -2], one_off=[5.0, 6.0, None, 1.0]))
    assert found.rows.rows() == [("A", month(1), 5.0, 6.0)]
    assert found.sentence.startswith("1 item has a one_off larger than the demand")


def test_mostly_out_of_stock():
    found = found_by(
        "history_stockout",
        rows_of([1] * 5, stockout_days=[5.0, 9.0, 31.0, 4.0, None]),
        rows_of([1] * 4, item="B", stockout_days=[5.0, 9.0, 0.0, 4.0]),
    )
    assert found.rows.rows() == [("A", 5, 3)]
    assert found.sentence.startswith("1 item was out of stock in more than half")


def test_partial_months_are_kept_apart_from_every_other_check():
    later = rows_of([900_000.0, -5.0], first=LAST, partial=[True, False])
    history = [
        rows_of(STEADY[:-1], partial=pl.Series([None] * (MONTHS - 1), dtype=pl.Boolean)),
        later,
    ]
    found = found_by("history_partial_month", *history)
    assert found.rows.rows() == [
        ("A", date(2025, 12, 1), 900_000.0),
        ("A", date(2026, 1, 1), -5.0),
    ]
    assert found.sentence.startswith(
        "2 rows lie in a month that is not complete (complete up to 2025-12)"
    )
    assert found_by("history_negative", *history).status == "ok"
    assert found_by("history_single_spike", *history).status == "ok"
