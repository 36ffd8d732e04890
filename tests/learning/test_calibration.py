"""Calibration counted by hand, and on forecasts whose truth is known."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.draws import QUANTILES
from sopforecast.core.months import add_months
from sopforecast.core.score_tables import Calibration
from sopforecast.learning.calibration import calibration, pit_bounds, width_ratio

LABELS = [label for label, _ in QUANTILES]
LEVELS = np.array([level for _, level in QUANTILES])
PITS = [f"pit_{k}" for k in range(1, 11)]
JULY = date(2025, 7, 1)


def cells(y, quantiles, *, lead=1, level="total", segment="*", name="total", first=JULY):
    """One node, one row a month; quantiles (7,) or (n, 7); lead a number or one a row."""
    y = np.asarray(y, dtype=float)
    quantiles = np.broadcast_to(np.asarray(quantiles, dtype=float), (y.size, 7))
    leads = np.broadcast_to(np.asarray(lead), (y.size,)).tolist()
    months = [add_months(first, i) for i in range(y.size)]
    return pl.DataFrame(
        {
            "ds": months,
            "cycle": [add_months(m, 1 - h) for m, h in zip(months, leads, strict=True)],
            "lead": leads,
            "level": level,
            "segment": segment,
            "unique_id": name,
            "y": y,
            **{label: quantiles[:, i] for i, label in enumerate(LABELS)},
        }
    )


def stored(table: pl.DataFrame) -> pl.DataFrame:
    return Calibration.validate(table.with_columns(fit_id=pl.lit("f")))


def pits(table: pl.DataFrame) -> np.ndarray:
    return table.select(PITS).to_numpy()[0]


SEVEN = [2.5, 4.0, 8.0, 10.0, 14.0, 20.0, 30.0]


def test_counts_and_tenths_worked_by_hand():
    # y: below P05, at P10, between P25 and the median, above P90 but below P95, above P95.
    found = stored(calibration(cells([1.5, 4.0, 9.2, 22.5, 31.5], SEVEN, lead=[1, 2, 3, 4, 30])))
    rows = {(r["lead_from"], r["lead_to"]): r for r in found.iter_rows(named=True)}
    assert set(rows) == {(1, 1), (2, 3), (4, 6), (1, 30)}
    everything = rows[1, 30]
    assert [everything[k] for k in ("months", "cells", "below10", "inside80", "above90")] == [
        5, 5, 1, 2, 2,
    ]  # fmt: skip
    # 9.2 stands 0.6 of the way from 0.25 to 0.5: 0.4, the fifth tenth.
    assert [everything[k] for k in PITS] == [1, 1, 0, 0, 1, 0, 0, 0, 0, 2]
    # Distances over half-widths: 8.5/6, 1, 0.8/6, 12.5/10, 21.5/10.
    assert everything["ratio"] == pytest.approx(
        np.quantile([8.5 / 6, 1.0, 0.8 / 6, 1.25, 2.15], 0.8)
    )
    assert [rows[2, 3][k] for k in ("cells", "inside80")] == [2, 2]


def test_items_have_a_row_by_segment_and_one_of_all_of_them():
    table = pl.concat(
        [
            cells([3.0, 11.0], SEVEN),
            cells([3.0, 11.0, 25.0], SEVEN, level="item", segment="smooth", name="A"),
            cells([11.0], SEVEN, level="item", segment="sparse", name="B"),
        ]
    )
    found = stored(calibration(table))
    counted = {
        (level, segment): cells
        for level, segment, cells in found.select("level", "segment", "cells").iter_rows()
    }
    assert counted == {
        ("total", "*"): 2, ("item", "smooth"): 3, ("item", "sparse"): 1, ("item", "*"): 4,
    }  # fmt: skip


def test_leads_of_one_month_alone_are_written_once():
    found = stored(calibration(cells([5.0, 6.0], SEVEN)))
    assert found.select("lead_from", "lead_to").rows() == [(1, 1)]


def test_nothing_in_nothing_out():
    assert stored(calibration(cells([], SEVEN))).is_empty()


def test_an_item_that_is_always_zero_is_inside_and_has_a_flat_pit():
    sparse = cells(np.zeros(2000), np.zeros(7), level="item", segment="sparse", name="Z")
    found = stored(calibration(sparse)).filter(pl.col("segment") == "sparse")
    assert found.select("below10", "inside80", "above90").row(0) == (0, 2000, 0)
    assert found["ratio"].to_list() == [None]  # no width at all: says nothing of a factor
    assert np.abs(pits(found) / 2000 - 0.1).max() < 0.03


def test_cells_without_width_on_their_side_are_counted_but_not_in_the_ratio():
    quantiles = np.array([[0, 0, 0, 0, 1.5, 4.0, 5.0]])
    found = calibration(cells([0.0, 2.0, 6.0], np.repeat(quantiles, 3, axis=0)))
    assert found["ratio"][0] == pytest.approx(np.quantile([0.0, 0.5, 1.5], 0.8))
    narrow = width_ratio(
        *(np.array(v, float) for v in ([-1, 0, 3], [0, 0, 0], [0, 0, 3], [2, 0, 3]))
    )
    assert np.isnan(narrow).tolist() == [True, True, False]  # below; no width; at the upper edge
    found = calibration(cells([1.0, 0.0], np.zeros((2, 7))))
    assert found.select("inside80", "above90", "ratio").row(0) == (1, 1, None)


@pytest.mark.parametrize(
    ("y", "quantiles", "expected"),
    [
        # Whole numbers: half a unit either way, straight lines between the stored quantiles.
        (0, [0, 0, 0, 0, 1, 2, 2], (0.0, 0.625)),
        (1, [0, 0, 0, 0, 1, 2, 2], (0.625, 0.825)),
        (2, [0, 0, 0, 0, 1, 2, 2], (0.825, 1.0)),
        (7, [0, 0, 0, 0, 1, 2, 2], (0.95, 1.0)),
        # Not whole: a step only where quantiles coincide.
        (0.0, [0, 0, 0, 0, 1.5, 3, 4], (0.0, 0.5)),
        (0.75, [0, 0, 0, 0, 1.5, 3, 4], (0.625, 0.625)),
        (2.5, [0.5, 1.5, 2.5, 2.5, 2.5, 3, 4], (0.25, 0.75)),
        (0.1, [0.5, 1.5, 2.5, 2.5, 2.5, 3, 4], (0.0, 0.05)),
        (4.5, [0.5, 1.5, 2.5, 2.5, 2.5, 3, 4], (0.95, 1.0)),
    ],
)
def test_where_an_actual_stands(y, quantiles, expected):
    low, high = pit_bounds(np.array([float(y)]), np.array([quantiles], dtype=float))
    assert (low[0], high[0]) == pytest.approx(expected)


def test_pit_is_flat_when_the_distribution_is_the_stored_one_and_not_when_it_is_wider():
    rng = np.random.default_rng(3)
    u = rng.uniform(0.0, 1.0, 4000)
    y = np.interp(u, [0.0, *LEVELS, 1.0], [0.5, *SEVEN, 50.5])
    flat = pits(calibration(cells(y, SEVEN)))
    assert flat.tolist() == np.histogram(u, np.linspace(0, 1, 11))[0].tolist()
    wide = pits(calibration(cells(10.0 + 2.0 * (y - 10.0), SEVEN)))
    assert wide[0] + wide[-1] > 1.5 * (flat[0] + flat[-1])


@pytest.mark.parametrize("mean", [0.15, 0.7, 3.0, 40.0])
def test_pit_of_counts_is_near_flat(mean):
    from scipy.stats import poisson

    rng = np.random.default_rng(8)
    y = rng.poisson(mean, 6000)
    share = pits(calibration(cells(y, poisson(mean).ppf(LEVELS)))) / 6000
    assert np.abs(share - 0.1).max() < 0.045  # seven quantiles do not tell the whole distribution
    assert np.abs(share - 0.1).mean() < 0.03


def test_ratio_is_the_factor_by_which_the_range_is_too_narrow():
    rng = np.random.default_rng(5)
    from scipy.stats import norm

    quantiles = 100 + 10 * norm.ppf(LEVELS)
    for true in (0.7, 1.0, 1.4):
        found = calibration(cells(100 + 10 * true * rng.standard_normal(9000), quantiles))
        assert found["ratio"][0] == pytest.approx(true, rel=0.04)


def test_order_of_rows_changes_no_byte_and_other_cells_change_no_draw():
    rng = np.random.default_rng(2)
    table = pl.concat(
        cells(
            rng.poisson(0.6, 60), [0, 0, 0, 0, 1, 2, 2], lead=rng.integers(1, 19, 60),
            level="item", segment=segment, name=name,
        )
        for name, segment in (("A", "sparse"), ("B", "sparse"), ("C", "short"))
    )  # fmt: skip
    found = calibration(table)
    assert found.equals(calibration(table.sample(fraction=1.0, shuffle=True, seed=4)))
    alone = calibration(table.filter(pl.col("segment") == "short"))
    both = found.filter(pl.col("segment") == "short")
    assert alone.filter(pl.col("segment") == "short").equals(both)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.lists(st.integers(0, 9), min_size=7, max_size=7),
            st.integers(1, 30),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_every_cell_is_counted_once(rows):
    y, quantiles, leads = zip(*rows, strict=True)
    quantiles = np.sort(np.array(quantiles, dtype=float), axis=1)
    found = stored(calibration(cells(y, quantiles, lead=leads)))
    assert (found.select(pl.sum_horizontal(PITS)).to_series() == found["cells"]).all()
    sides = found.select(pl.sum_horizontal("below10", "inside80", "above90")).to_series()
    assert (sides == found["cells"]).all()
    whole = found.filter(lead_to=max(leads), lead_from=1)
    assert whole["cells"].to_list() == [len(rows)]
    inside = sum(q[1] <= a <= q[5] for a, q in zip(y, quantiles, strict=True))
    assert whole["inside80"].to_list() == [inside]


@pytest.mark.parametrize("missing", ["y", "p90"])
def test_a_missing_number_is_refused(missing):
    table = cells([3.0, 4.0], SEVEN).with_columns(
        pl.when(pl.col("ds") == JULY).then(None).otherwise(pl.col(missing)).alias(missing)
    )
    with pytest.raises(ValueError, match=f"missing value in {missing}"):
        calibration(table)
