"""A cell of patients followed through the protocol: chances by the binomial, parts that add up."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.clinical.doses import doses, split
from sopforecast.clinical.versions import Change
from sopforecast.core.draws import series_rng

RNG_OF = partial(series_rng, 1, "test")


@pytest.mark.parametrize(("patients", "keep"), [(1, 0.9), (3, 0.98), (40, 0.97), (9, 0.2), (5, 0)])
def test_who_stays_is_binomial(patients: int, keep: float) -> None:
    from scipy.stats import binom

    paths = 20_000
    future = np.zeros((paths, 2), dtype=np.int64)
    future[:, 0] = patients
    found = doses(
        np.zeros((paths, 0), dtype=np.int64),
        future,
        keep=np.full((paths, 2), float(keep)),
        quantities=np.array([[[0.0, 1.0]]]),
        changes=(),
        place={None: 0},
        first=None,
        rng_of=RNG_OF,
    )[:, 0]
    assert not found[:, 0].any()
    seen = np.bincount(found[:, 1].astype(int), minlength=patients + 1) / paths
    expected = binom.pmf(np.arange(patients + 1), patients, keep)
    error = np.sqrt(expected * (1 - expected) / paths)
    assert (np.abs(seen - expected) < 4.5 * error + 1e-4).all()


def test_past_patients_start_at_the_first_day_and_go_by_offset() -> None:
    past = np.array([[7, 5, 3]])  # three, two, one month before
    found = doses(
        past,
        np.array([[2, 0]]),
        keep=None,
        quantities=np.array([[[1.0, 10.0, 100.0]]]),
        changes=(),
        place={"1": 0},
        first="1",
        rng_of=RNG_OF,
    )
    assert found[0, 0].tolist() == [2 + 30 + 500, 20 + 300]


def test_expected_numbers_are_the_mean_of_the_drawn() -> None:
    paths = 20_000
    change = Change((1, 0.25), "2", True, None, None, np.ones(paths, dtype=bool))
    whole = Change((2, 0.5), "2", False, None, None, np.ones(paths, dtype=bool))
    arguments = {
        "keep": None,
        "quantities": np.array([[[1.0, 2.0]], [[30.0, 50.0]]]),
        "place": {"1": 0, "2": 1},
        "first": "1",
    }
    past, future = np.array([[4]]), np.array([[6, 8, 5]])
    drawn = doses(np.repeat(past, paths, 0), np.repeat(future, paths, 0), changes=(change, whole),
                  rng_of=RNG_OF, **arguments)  # fmt: skip
    one = [Change(c.at, c.version, c.is_new, None, None, c.happens[:1]) for c in (change, whole)]
    expected = doses(
        past.astype(float), future.astype(float), changes=one, rng_of=None, **arguments
    )
    # Month 0: 6 + 4 x 2. Month 1: a quarter of 8 old, the rest new, 6 x 2. Month 2: half switched.
    by_hand = [14.0, 2 + 6 * 30 + 12, 5 * 30 + 6 * 50 + (2 * 2 + 2 * 50) / 2]
    np.testing.assert_allclose(expected[0, 0], by_hand)
    error = drawn.std(axis=0)[0] / np.sqrt(paths)
    assert (np.abs(drawn.mean(axis=0)[0] - by_hand) <= 4 * error).all()


@given(
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    weights=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4).filter(lambda w: sum(w) > 0.1),
)
def test_parts_add_up(counts: list[int], weights: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    whole = np.array(counts)
    found = split(whole, shares, RNG_OF("parts"))
    assert (found >= 0).all()
    assert (found.sum(axis=-1) == whole).all()
    assert not found[:, shares == 0].any() or shares[-1] == 0
    np.testing.assert_allclose(split(whole, shares, None).sum(axis=-1), whole)
