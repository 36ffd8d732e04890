"""Segments worked by hand, the test for season against SciPy, and real portfolios."""

import statistics
import time
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import f_oneway

from sopforecast.baseline.cleanse import Cleansed, cleanse
from sopforecast.baseline.segment import Segments, seasonal_strength, segment
from sopforecast.core.months import add_months, month_range
from sopforecast.errors import RequestError

START = date(2022, 1, 1)


def cleansed(y, *, flags=None, y_original=None, item="A"):
    y = np.asarray(y, dtype=float)
    return pl.DataFrame(
        {
            "unique_id": [item] * len(y),
            "ds": month_range(START, len(y)),
            "y_original": pl.Series(y if y_original is None else y_original, dtype=pl.Float64),
            "y": y,
            "flag": flags or [""] * len(y),
        }
    )


def only(y, **options):
    table = segment(cleansed(y, **options))
    Segments.validate(table)
    return table.row(0, named=True)


def noise(months, seed=0):
    return 100 + np.random.default_rng(seed).normal(0, 10, months)


def test_demand_without_season_is_smooth():
    found = only(noise(48))
    assert found["segment"] == "smooth"
    assert (found["n_months"], found["n_zero_share"], found["mean_interval"]) == (48, 0.0, 1.0)
    assert found["first_ds"] == START
    assert not found["is_whole"]


def test_a_yearly_wave_is_seasonal():
    wave = 30 * np.sin(2 * np.pi * np.arange(48) / 12)
    found = only(noise(48) + wave + np.arange(48))
    assert found["segment"] == "seasonal"
    # variance of the wave 450, of the noise 100
    assert found["seasonal_strength"] == pytest.approx(450 / 550, abs=0.1)


def test_two_years_are_enough_and_a_month_less_is_short():
    demand = [10.0] * 11 + [30.0]
    assert only(demand * 2)["segment"] == "seasonal"
    found = only((demand * 2)[:-1])
    assert (found["segment"], found["n_months"]) == ("short", 23)
    assert found["seasonal_strength"] is None


def test_months_nobody_knows_do_not_make_an_item_longer():
    flags = [""] * 23 + ["gap"] * 13
    found = only([5.0] * 36, flags=flags, y_original=[5.0] * 23 + [None] * 13)
    assert (found["segment"], found["n_months"]) == ("short", 23)


def test_sparse_demand_is_measured_as_croston_does():
    sizes = [2, 6, 3, 6, 3, 6, 3, 6, 3, 6, 3, 6, 3]
    demand = np.zeros(36)
    demand[[0, 2, 7, 8, 13, 15, 16, 21, 22, 26, 29, 31, 34]] = sizes
    found = only(demand)
    assert found["segment"] == "sparse"
    assert found["n_zero_share"] == 23 / 36
    assert found["mean_interval"] == 36 / 13
    variation = statistics.variance(sizes) / statistics.mean(sizes) ** 2
    assert found["cv2"] == pytest.approx(variation, rel=1e-12)
    assert found["is_whole"]


@pytest.mark.parametrize(("zeros", "expected"), [(9, "smooth"), (10, "sparse")])
def test_the_limit_is_an_interval_of_132_hundredths_of_a_month(zeros, expected):
    # 40 months: 9 zeros are 40/31 = 1.29 months between demands, 10 are 1.33
    demand = noise(40)
    demand[np.random.default_rng(3).permutation(np.arange(1, 40))[:zeros]] = 0
    assert only(demand)["segment"] == expected


def test_demand_of_one_season_only_is_seasonal_and_not_sparse():
    autumn = [0.0] * 8 + [40.0, 90.0, 60.0, 10.0]
    found = only(np.tile(autumn, 3) * np.random.default_rng(1).uniform(0.3, 1.7, 36))
    assert found["n_zero_share"] == 24 / 36
    assert found["seasonal_strength"] < 0.9
    assert found["segment"] == "seasonal"


def test_a_stock_out_is_neither_demand_nor_none():
    out = np.random.default_rng(5).permutation(np.arange(1, 36))[:18]
    demand, flags = np.full(36, 4.0), np.full(36, "", dtype=object)
    demand[out], flags[out] = 0.0, "stockout"
    found = only(demand, flags=flags.tolist())
    assert found["n_zero_share"] == 0.0
    assert found["mean_interval"] == 1.0
    assert found["segment"] == "smooth"
    assert found["n_months"] == 36


def test_no_demand_for_two_years_is_dead():
    assert only([9.0] * 24 + [0.0] * 24)["segment"] == "dead"
    assert only([9.0] * 24 + [0.0] * 23)["segment"] == "sparse"
    never = only([0.0] * 8)
    assert never["segment"] == "dead"
    assert (never["n_zero_share"], never["mean_interval"], never["cv2"]) == (1.0, None, None)


def test_imputed_gaps_do_not_keep_an_item_alive_but_stock_outs_do():
    recorded = [9.0] * 24 + [None] * 24
    gaps = [""] * 24 + ["gap"] * 24
    assert only([9.0] * 48, flags=gaps, y_original=recorded)["segment"] == "dead"
    out = [""] * 24 + ["stockout"] * 24
    found = only([9.0] * 48, flags=out, y_original=[9.0] * 24 + [0.0] * 24)
    assert found["segment"] != "dead"


def test_zeros_before_a_launch_do_not_make_an_item_sparse():
    launched = only(np.r_[np.zeros(20), noise(30)])
    assert launched["segment"] == "smooth"
    assert launched["first_ds"] == add_months(START, 20)
    assert (launched["n_months"], launched["n_zero_share"]) == (30, 0.0)
    recent = only(np.r_[np.zeros(40), noise(8)])
    assert (recent["segment"], recent["n_months"]) == ("short", 8)


def test_first_zeros_that_fit_the_later_rhythm_are_demand_of_zero():
    # one demand in 4 months: 12 zeros first have a chance of (1 - 9/37)**12 = 3.5%, kept;
    # 17 have 0.9%: not launched yet
    rhythm = [5.0, 0.0, 0.0, 0.0] * 9
    kept = only([0.0] * 12 + rhythm)
    assert (kept["first_ds"], kept["n_months"]) == (START, 48)
    dropped = only([0.0] * 17 + rhythm)
    assert (dropped["first_ds"], dropped["n_months"]) == (add_months(START, 17), 36)


@pytest.mark.parametrize(("demand", "whole"), [([1, 2, None], True), ([1, 2.5, None], False)])
def test_whole_numbers_are_asked_of_what_was_recorded(demand, whole):
    flags = ["", "", "gap"]
    assert only([1, 2, 1.5], flags=flags, y_original=demand)["is_whole"] is whole


def test_months_that_are_not_dense_are_refused():
    rows = cleansed([1.0, 2.0, 3.0])
    with pytest.raises(RequestError, match=r"'A' are not dense at 2022-03-01"):
        segment(rows.filter(pl.col("ds") != date(2022, 2, 1)))
    with pytest.raises(RequestError, match="not dense"):
        segment(pl.concat([rows, rows[:1]]))


def test_nothing_gives_an_empty_table():
    Segments.validate(segment(Cleansed.create_empty()))


def deseasoned(values):
    """Relative deviations from a centred 2x12 average drawn on at its ends, by convolution."""
    kernel = np.r_[0.5, np.ones(11), 0.5] / 12
    middle = np.convolve(values, kernel, mode="valid")
    year = min(12, len(middle) - 1)
    head = middle[0] - np.arange(6, 0, -1) * (middle[year] - middle[0]) / year
    tail = middle[-1] + np.arange(1, 7) * (middle[-1] - middle[-1 - year]) / year
    trend = np.r_[head, middle, tail]
    return (values - trend) / np.maximum(trend, 0.2 * np.abs(values).mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(24, 90), st.integers(0, 2**32 - 1), st.floats(0, 60))
def test_chance_is_that_of_an_analysis_of_variance(months, seed, height):
    rng = np.random.default_rng(seed)
    season = height * rng.normal(size=12)
    values = 200 + 30 * rng.normal(size=months) + season[np.arange(months) % 12]
    strength, chance = seasonal_strength(values[None])
    around = deseasoned(values)
    groups = [around[month::12] for month in range(12)]
    expected = f_oneway(*groups).pvalue
    assert chance[0] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (months - 12)
    assert strength[0] == pytest.approx(max(0.0, 1 - within / around.var(ddof=1)), abs=1e-9)


def test_noise_is_seldom_called_seasonal():
    for months in (24, 36, 60):
        values = 100 + 20 * np.random.default_rng(months).normal(size=(4000, months))
        strength, chance = seasonal_strength(values)
        assert (chance < 0.01).mean() < 0.035
        assert np.median(strength) < 0.1


def test_few_items_without_season_are_sorted_as_seasonal():
    items = [cleansed(noise(36, seed), item=f"item {seed}") for seed in range(400)]
    assert (segment(pl.concat(items))["segment"] == "seasonal").mean() < 0.04


def test_flat_and_exactly_seasonal_demand_have_an_answer():
    flat = np.full(36, 7.0)
    exact = np.tile([1.0] * 11 + [13.0], 3)
    nothing = np.zeros(36)
    strength, chance = seasonal_strength(np.stack([flat, exact, nothing]))
    np.testing.assert_allclose(strength, [0.0, 1.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(chance, [1.0, 0.0, 1.0], atol=1e-9)


def test_less_than_two_years_cannot_be_tested_for_season():
    with pytest.raises(ValueError, match="23 months given"):
        seasonal_strength(np.ones((1, 23)))


def random_portfolio(seed, number):
    rng = np.random.default_rng(seed)
    months = rng.integers(1, 61, number)
    frames = []
    for item, length in enumerate(months):
        y = rng.poisson(rng.choice([0.2, 2.0, 50.0]), length) * rng.choice([1.0, 0.7])
        y = y * (1 + rng.choice([0.0, 0.6]) * np.sin(np.arange(length) * np.pi / 6))
        flags = rng.choice(["", "gap", "stockout"], length, p=[0.9, 0.05, 0.05])
        recorded = np.where(flags == "gap", np.nan, y)
        frame = cleansed(y, flags=flags.tolist(), y_original=recorded, item=f"item {item}")
        frames.append(frame.with_columns(pl.col("y_original").fill_nan(None)))
    return pl.concat(frames)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.randoms(use_true_random=False))
def test_an_item_gets_the_same_row_alone_and_in_any_company_and_order(seed, number, random):
    rows = random_portfolio(seed, number)
    order = list(range(rows.height))
    random.shuffle(order)
    together = segment(rows[order])
    Segments.validate(together)
    apart = [
        segment(part)
        for _, part in rows.sort("unique_id").group_by("unique_id", maintain_order=True)
    ]
    assert_frame_equal(together, pl.concat(apart), check_exact=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.25, 8.0]))
def test_the_unit_does_not_matter(seed, factor):
    rows = random_portfolio(seed, 6)
    scaled = rows.with_columns(pl.col("y", "y_original") * factor)
    columns = Segments.column_names()
    columns.remove("is_whole")
    assert_frame_equal(
        segment(rows).select(columns), segment(scaled).select(columns), check_exact=True
    )


def real_segments(folder, name):
    records = pl.read_parquet(folder / f"{name}.parquet").with_columns(pl.col("ds").cast(pl.Date))
    last_month = records["ds"].max()
    table = segment(cleanse(records, missing="unknown", last_month=last_month))
    Segments.validate(table)
    counts = table["segment"].value_counts().rows()
    return {name: number / table.height for name, number in counts}


def test_real_portfolios_fall_where_their_trade_says(data_folder):
    assert real_segments(data_folder, "aus_retail")["seasonal"] > 0.95
    assert real_segments(data_folder, "tourism_au_monthly")["seasonal"] > 0.9
    parts = real_segments(data_folder, "carparts")
    assert parts["sparse"] > 0.75
    assert parts["seasonal"] < 0.005
    assert real_segments(data_folder, "pbs")["seasonal"] > 0.75  # stockpiling in December


def test_five_thousand_items_take_less_than_two_seconds():
    rng = np.random.default_rng(1)
    y = rng.poisson(rng.choice([0.3, 40.0], 5000)[:, None], (5000, 48)).astype(float)
    rows = pl.DataFrame(
        {
            "unique_id": np.repeat([f"i{number:04d}" for number in range(5000)], 48),
            "ds": month_range(START, 48) * 5000,
            "y_original": y.ravel(),
            "y": y.ravel(),
            "flag": [""] * y.size,
        }
    )
    started = time.process_time()
    table = segment(rows)
    assert time.process_time() - started < 2.0
    assert table.height == 5000
