"""Prices in force and mix prices, worked by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.errors import RequestError
from sopforecast.judgement.money import prices_in_force, prices_of
from sopforecast.judgement.overrides import Scalars

DEC, JAN, FEB = date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1)
PRICES = pl.DataFrame(
    {
        "unique_id": ["b", "a", "b"],
        "ds_from": [FEB, date(2027, 5, 1), JAN],
        "price": [30.0, 5.0, 20.0],
    }
)


def scalars(*, kind: str = "absolute", measure: str = "revenue") -> Scalars:
    """Items a and b over December to February."""
    frame = pl.DataFrame(
        {"override_id": ["o1"], "ds_from": [DEC], "kind": [kind], "measure": [measure]}
    )
    return Scalars(frame, (np.array([0, 1]),), (np.array([0, 1, 2]),), ())


def test_the_latest_price_holds_and_the_first_one_before_it() -> None:
    table = prices_in_force(PRICES, ["b", "x", "a"], [DEC, JAN, FEB, date(2027, 6, 1)])
    assert table[0].tolist() == [20.0, 20.0, 30.0, 30.0]
    assert np.isnan(table[1]).all()
    assert table[2].tolist() == [5.0, 5.0, 5.0, 5.0]
    assert np.isnan(prices_in_force(None, ["a"], [DEC])).all()


def test_the_mix_price_is_weighted_by_demand() -> None:
    mean = np.array([[10.0, 10.0, 0.0], [5.0, 0.0, 10.0]])
    # (20 x 5 + 5 x 20 + 10 x 30) / 35
    mix = prices_of(scalars(), PRICES, items=("a", "b"), weights=[mean])
    assert mix.tolist() == [pytest.approx(500.0 / 35.0)]


def test_equal_weights_where_all_means_are_zero() -> None:
    mix = prices_of(scalars(), PRICES, items=("a", "b"), weights=[np.zeros((2, 3))])
    assert mix.tolist() == [pytest.approx((3 * 5.0 + 20.0 + 20.0 + 30.0) / 6)]


@pytest.mark.parametrize(("kind", "measure"), [("percent", "revenue"), ("delta", "quantity")])
def test_no_price_where_none_is_needed(kind: str, measure: str) -> None:
    one = scalars(kind=kind, measure=measure)
    assert np.isnan(prices_of(one, None, items=("a", "b"), weights=[None])).all()


def test_a_missing_price_names_override_and_item() -> None:
    with pytest.raises(RequestError, match=r"override 'o1'.*item 'x'.*load prices"):
        prices_of(scalars(), PRICES, items=("a", "x"), weights=[np.ones((2, 3))])
