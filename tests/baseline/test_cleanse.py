"""Cleansing worked by hand, its promises as properties, and real stock-outs."""

import time
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sopforecast.baseline.cleanse import Cleansed, cleanse
from sopforecast.core.months import add_months, month_range
from sopforecast.errors import RequestError

START = date(2023, 1, 1)


def history(demand, *, first=START, item="A", **columns):
    """One item's rows, a month each from ``first``; None where y is empty."""
    rows = {
        "unique_id": [item] * len(demand),
        "ds": month_range(first, len(demand)),
        "y": pl.Series(demand, dtype=pl.Float64, strict=False),
    }
    return pl.DataFrame(rows | columns)


def without(rows, *months):
    return rows.filter(~pl.col("ds").is_in([add_months(START, month) for month in months]))


def column(frame, name):
    return frame[name].to_list()


def test_a_full_history_is_left_as_it_is():
    cleansed = cleanse(history([3, 0, 5.5]), missing="unknown", last_month=date(2023, 3, 1))
    Cleansed.validate(cleansed)
    assert column(cleansed, "ds") == [date(2023, 1, 1), date(2023, 2, 1), date(2023, 3, 1)]
    assert column(cleansed, "y_original") == column(cleansed, "y") == [3.0, 0.0, 5.5]
    assert column(cleansed, "flag") == ["", "", ""]


def test_months_without_a_row_are_unknown_and_imputed():
    rows = without(history([10, 12, 99, 14, 16]), 2)
    cleansed = cleanse(rows, missing="unknown", last_month=date(2023, 7, 1))
    assert column(cleansed, "y_original") == [10.0, 12.0, None, 14.0, 16.0, None, None]
    assert column(cleansed, "flag") == ["", "", "gap", "", "", "gap", "gap"]
    # the median of 10, 12, 14, 16 is the level of each unknown month
    assert column(cleansed, "y") == [10.0, 12.0, 13.0, 14.0, 16.0, 13.0, 13.0]


def test_months_without_a_row_are_demand_of_zero_when_the_settings_say_so():
    rows = without(history([10, 12, 99, None, 16]), 2)
    cleansed = cleanse(rows, missing="zero", last_month=date(2023, 6, 1))
    assert column(cleansed, "y_original") == [10.0, 12.0, 0.0, None, 16.0, 0.0]
    # an empty cell stays unknown
    assert column(cleansed, "flag") == ["", "", "", "gap", "", ""]
    assert column(cleansed, "y")[2] == 0.0


def test_months_before_the_first_known_one_are_no_demand():
    rows = history([None, None, 7, 8])
    for missing in ("unknown", "zero"):
        cleansed = cleanse(rows, missing=missing, last_month=date(2023, 4, 1))
        assert column(cleansed, "ds") == [date(2023, 3, 1), date(2023, 4, 1)]


def test_an_item_without_any_known_demand_has_no_rows():
    rows = pl.concat([history([None, None], item="A"), history([1, 2], item="B")])
    cleansed = cleanse(rows, missing="unknown", last_month=date(2023, 2, 1))
    assert column(cleansed, "unique_id") == ["B", "B"]
    empty = cleanse(rows.clear(), missing="unknown", last_month=date(2023, 2, 1))
    assert empty.is_empty()
    Cleansed.validate(empty)


def test_a_one_off_is_scored_but_not_fitted():
    rows = history([10, 60, 10, 5], one_off=[None, 50.0, 0.0, 20.0])
    cleansed = cleanse(rows, missing="unknown", last_month=date(2023, 4, 1))
    assert column(cleansed, "y_original") == [10.0, 60.0, 10.0, 5.0]
    assert column(cleansed, "y") == [10.0, 10.0, 10.0, 0.0]  # never below zero by a one_off
    assert column(cleansed, "flag") == ["", "one_off", "", "one_off"]


def test_demand_while_out_of_stock_is_a_floor():
    rows = history(
        [20, 20, 3, 20, 28, 20, None, 4],
        stockout_days=[0.0, None, 12.0, 0.0, 6.0, 4.9, 30.0, 4.0],
    )
    cleansed = cleanse(rows, missing="unknown", last_month=date(2023, 8, 1))
    flags = ["", "", "stockout", "", "stockout", "", "stockout", ""]
    assert column(cleansed, "flag") == flags
    assert column(cleansed, "y_original") == [20.0, 20.0, 3.0, 20.0, 28.0, 20.0, None, 4.0]
    # usable: 20, 20, 20, 20, 4: 20 is expected; 28 were taken all the same
    assert column(cleansed, "y") == [20.0, 20.0, 20.0, 20.0, 28.0, 20.0, 20.0, 4.0]


def test_an_item_always_out_of_stock_is_fitted_to_what_was_recorded():
    rows = history([4, 6, 5, 5], stockout_days=[31.0] * 4)
    cleansed = cleanse(rows, missing="unknown", last_month=date(2023, 5, 1))
    assert column(cleansed, "flag") == ["stockout"] * 4 + ["gap"]
    # each month at least what was recorded, and the median of the other three
    assert column(cleansed, "y") == [5.0, 6.0, 5.0, 5.0, 5.0]


def test_a_freak_month_is_imputed_and_its_demand_kept():
    demand = [100.0 + (t * 7) % 4 for t in range(36)]
    demand[20] = 1000.0
    cleansed = cleanse(history(demand), missing="unknown", last_month=date(2025, 12, 1))
    assert column(cleansed, "y_original") == demand
    assert [t for t, flag in enumerate(column(cleansed, "flag")) if flag] == [20]
    assert column(cleansed, "flag")[20] == "outlier"
    assert 100.0 <= cleansed["y"][20] <= 103.0


def test_sparse_items_keep_their_large_months():
    demand = [0.0, 5.0, 5.0] * 12
    demand[19] = 500.0
    cleansed = cleanse(history(demand), missing="unknown", last_month=date(2025, 12, 1))
    assert set(column(cleansed, "flag")) == {""}
    assert column(cleansed, "y") == demand


def test_partial_and_later_rows_are_left_out():
    rows = history([1, 2, 3, 900], partial=[False, None, True, False])
    cleansed = cleanse(rows, missing="unknown", last_month=date(2023, 3, 1))
    assert column(cleansed, "y_original") == [1.0, 2.0, None]
    assert column(cleansed, "y") == [1.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (history([1, 2]).drop("y"), "no column y"),
        (pl.concat([history([1]), history([2])]), "'A' has 2023-01-01 more than once"),
        (history([1]).with_columns(ds=date(2023, 1, 31)), "date 2023-01-31.*month starts"),
    ],
)
def test_what_cannot_be_months_is_refused(rows, words):
    with pytest.raises(RequestError, match=words):
        cleanse(rows, missing="unknown", last_month=date(2023, 3, 1))


def test_unknown_options_name_the_known_ones():
    with pytest.raises(RequestError, match=r"'nul'.*unknown, zero"):
        cleanse(history([1]), missing="nul", last_month=date(2023, 1, 1))
    with pytest.raises(RequestError, match="first day of a month"):
        cleanse(history([1]), missing="zero", last_month=date(2023, 1, 31))


@st.composite
def portfolios(draw):
    """A few items with gaps, zeros, spikes, stock-outs, one-offs and partial rows."""
    frames = []
    for number in range(draw(st.integers(1, 4))):
        months = draw(st.integers(1, 40))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        level = draw(st.sampled_from([0.3, 5.0, 400.0]))
        y = rng.poisson(level, months) * draw(st.sampled_from([1.0, 0.37]))
        y[rng.random(months) < 0.05] *= 30
        frame = history(
            np.where(rng.random(months) < 0.1, None, y).tolist(),
            first=add_months(START, draw(st.integers(0, 20))),
            item=f"item {number}",
            stockout_days=rng.choice([0.0, 3.0, 9.0], months, p=[0.8, 0.1, 0.1]),
            one_off=rng.choice([0.0, 2.0], months, p=[0.9, 0.1]),
            partial=rng.random(months) < 0.03,
        )
        frames.append(frame.filter(pl.Series(rng.random(months) < 0.9)))
    return pl.concat(frames)


some_months = st.integers(0, 50).map(lambda month: add_months(START, month))
missings = st.sampled_from(["unknown", "zero"])


@settings(max_examples=80, deadline=None)
@given(portfolios(), some_months, missings)
def test_cleansed_months_are_dense_valid_and_keep_what_was_recorded(rows, last_month, missing):
    cleansed = cleanse(rows, missing=missing, last_month=last_month)
    Cleansed.validate(cleansed)
    for (item,), months in cleansed.group_by("unique_id"):
        seen = rows.filter(
            pl.col("unique_id") == item,
            pl.col("y").is_not_null(),
            ~pl.col("partial"),
            pl.col("ds") <= last_month,
        )
        first = seen["ds"].min()
        assert column(months, "ds") == month_range(first, months.height)
        assert months["ds"].max() == last_month
        kept = months.join(seen, on="ds", how="inner")
        assert column(kept, "y_original") == column(kept, "y_right")
    as_is = cleansed.filter(pl.col("flag") == "")
    assert column(as_is, "y") == column(as_is, "y_original")
    floored = cleansed.filter(pl.col("flag") == "one_off")
    assert (floored["y"] <= floored["y_original"]).all()
    assert (cleansed["y"] >= 0).all()


@settings(max_examples=60, deadline=None)
@given(portfolios(), some_months, missings)
def test_later_rows_change_nothing(rows, last_month, missing):
    assert_frame_equal(
        cleanse(rows, missing=missing, last_month=last_month),
        cleanse(rows.filter(pl.col("ds") <= last_month), missing=missing, last_month=last_month),
    )


@settings(max_examples=60, deadline=None)
@given(portfolios(), missings, st.randoms(use_true_random=False))
def test_an_item_gives_the_same_bits_alone_and_in_any_company_and_order(rows, missing, random):
    order = list(range(rows.height))
    random.shuffle(order)
    last_month = rows["ds"].max() if rows.height else START
    together = cleanse(rows[order], missing=missing, last_month=last_month)
    apart = [
        cleanse(rows.filter(pl.col("unique_id") == item), missing=missing, last_month=last_month)
        for item in rows["unique_id"].unique().sort()
    ]
    assert_frame_equal(together, pl.concat([Cleansed.create_empty(), *apart]), check_exact=True)


@settings(max_examples=40, deadline=None)
@given(portfolios(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_another_unit_gives_the_same_months_in_that_unit(rows, factor):
    broken = rows.with_columns(pl.col("y") + 0.125)  # no whole numbers, so no count floor
    last_month = rows["ds"].max() if rows.height else START
    scaled = broken.with_columns(pl.col("y", "one_off") * factor)
    one = cleanse(broken, missing="unknown", last_month=last_month)
    other = cleanse(scaled, missing="unknown", last_month=last_month)
    assert_frame_equal(
        one.with_columns(pl.col("y", "y_original") * factor), other, check_exact=True
    )


def stock_records(folder):
    """Clinic demand with its stock: True where the shelf was never empty in the month."""
    records = pl.read_parquet(folder / "contraceptives_ci.parquet").with_columns(
        pl.col("ds").cast(pl.Date), pl.col("y").cast(pl.Float64)
    )
    in_stock = (pl.col("stock_end") > 0) & (pl.col("stock_initial") > 0)
    return records.select("unique_id", "ds", "y", in_stock=in_stock)


def test_real_stock_outs_are_raised_to_what_in_stock_months_say(data_folder):
    records = stock_records(data_folder)
    days = pl.when("in_stock").then(0.0).otherwise(15.0)
    last_month = records["ds"].max()
    cleansed = cleanse(
        records.with_columns(stockout_days=days), missing="unknown", last_month=last_month
    )
    Cleansed.validate(cleansed)
    out = cleansed.filter(pl.col("flag") == "stockout", pl.col("y_original").is_not_null())
    assert out.height > 1000
    assert (out["y"] >= out["y_original"]).all()
    assert out["y"].sum() > 1.2 * out["y_original"].sum()


def test_hidden_real_demand_comes_back_nearer_than_the_zeros_of_an_empty_shelf(data_folder):
    records = stock_records(data_folder).filter("in_stock").sort("unique_id", "ds")
    long_enough = records.filter(pl.len().over("unique_id") >= 18)
    rng = np.random.default_rng(7)
    hide = pl.Series("hide", rng.random(long_enough.height) < 0.1)
    emptied = long_enough.with_columns(hide).with_columns(
        y=pl.when("hide").then(0.0).otherwise("y"),
        stockout_days=pl.when("hide").then(31.0).otherwise(0.0),
    )
    cleansed = cleanse(emptied, missing="unknown", last_month=records["ds"].max())
    truth = long_enough.with_columns(hide).filter("hide").select("unique_id", "ds", truth="y")
    both = truth.join(cleansed, on=["unique_id", "ds"], how="inner")
    assert both.height > 300
    assert set(both["flag"]) == {"stockout"}
    error = (both["y"] - both["truth"]).abs().sum()
    assert error < 0.8 * both["truth"].sum()  # a fitted zero errs by the whole of it
    assert both["y"].sum() == pytest.approx(both["truth"].sum(), rel=0.15)


@pytest.mark.parametrize("name", ["pbs", "aus_retail", "tourism_au_monthly"])
def test_real_demand_is_almost_never_called_a_freak(data_folder, name):
    records = pl.read_parquet(data_folder / f"{name}.parquet")
    records = records.with_columns(pl.col("ds").cast(pl.Date))
    cleansed = cleanse(records, missing="unknown", last_month=records["ds"].max())
    assert (cleansed["flag"] == "outlier").mean() < 0.002


def test_a_planted_step_in_restless_real_demand_is_no_freak(data_folder):
    records = pl.read_parquet(data_folder / "tourism_au_monthly.parquet").with_columns(
        pl.col("ds").cast(pl.Date)
    )
    last_month = records["ds"].max()
    step = add_months(last_month, -23)
    stepped = records.filter(pl.col("ds") > add_months(last_month, -48)).with_columns(
        y=pl.when(pl.col("ds") >= step).then(pl.col("y") * 4).otherwise("y")
    )
    cleansed = cleanse(stepped, missing="unknown", last_month=last_month)
    around = cleansed.filter(pl.col("ds").is_between(add_months(step, -2), add_months(step, 1)))
    assert (around["flag"] == "outlier").mean() < 0.02


def test_planted_slips_in_real_demand_are_found(data_folder):
    records = pl.read_parquet(data_folder / "aus_retail.parquet").with_columns(
        pl.col("ds").cast(pl.Date)
    )
    last_month = records["ds"].max()
    slip = add_months(last_month, -9)
    planted = records.filter(pl.col("ds") > add_months(last_month, -60)).with_columns(
        y=pl.when(pl.col("ds") == slip).then(pl.col("y") * 10).otherwise("y")
    )
    cleansed = cleanse(planted, missing="unknown", last_month=last_month)
    found = cleansed.filter(pl.col("ds") == slip)
    assert (found["flag"] == "outlier").mean() > 0.9


def test_five_thousand_items_take_less_than_two_seconds():
    rng = np.random.default_rng(1)
    months = month_range(START, 48)
    rows = pl.DataFrame(
        {
            "unique_id": np.repeat([f"i{number:04d}" for number in range(5000)], 48),
            "ds": months * 5000,
            "y": rng.poisson(40, 240_000).astype(float),
        }
    ).filter(pl.Series(rng.random(240_000) < 0.97))
    started = time.process_time()
    cleansed = cleanse(rows, missing="unknown", last_month=months[-1])
    assert time.process_time() - started < 2.0
    assert cleansed["unique_id"].n_unique() == 5000
