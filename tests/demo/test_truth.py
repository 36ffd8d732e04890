"""What a habit is worth, beside what can be worked out on paper."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.core.months import add_months
from sopforecast.demo.people import AHEAD, Outlook, Person
from sopforecast.demo.truth import true_lines

CYCLES = [date(2026, month, 1) for month in range(1, 7)]
NODES = tuple(f"n{i}" for i in range(400))
BASE, ERROR = 1000.0, 0.1


def company() -> tuple[list[Outlook], pl.DataFrame]:
    """The usual figure is the forecast, 1000 for all; what comes is 10% off either way, for good.

    Three months of a cycle bring the same, so that a statement of several months is about one
    error.
    """
    rng = np.random.default_rng(5)
    seen, frames = [], []
    for cycle in CYCLES:
        error = rng.normal(0.0, ERROR, len(NODES))
        usual = np.full((len(NODES), AHEAD), BASE)
        coming = usual * (1.0 + error[:, None])
        surprise = np.full(len(NODES), ERROR)
        is_sum = np.zeros(len(NODES), dtype=bool)
        often = np.full(len(NODES), 1.0 / len(NODES))
        seen.append(Outlook(cycle, NODES, is_sum, often, usual, coming, surprise))
        for ahead in range(AHEAD):
            frames.append(
                pl.DataFrame({
                    "cycle": [cycle] * len(NODES), "unique_id": NODES,
                    "ds": [add_months(cycle, ahead)] * len(NODES), "mean": usual[:, ahead],
                    "sd": ERROR * usual[:, ahead], "actual": coming[:, ahead],
                })
            )  # fmt: skip
    return seen, pl.concat(frames)


def person(**habit: float) -> Person:
    return Person("sales", "Ann", "", ("price",), **{"sees": 1.0, "noise": 0.0} | habit)


@pytest.mark.parametrize("exaggerates", [1.0, 1.5])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_weight_is_signal_over_signal_and_noise(noise: float, exaggerates: float) -> None:
    """d = k (e + noise): cov(e, d) / var(d) = 1 / (k (1 + noise^2)), e and noise in one unit."""
    seen, beside = company()
    lines = true_lines(person(noise=noise, exaggerates=exaggerates), seen, beside, repeats=150)
    expected = 1.0 / (exaggerates * (1.0 + noise**2))
    assert [line["direction"] for line in lines] == ["up", "down"]
    assert [line["weight"] for line in lines] == pytest.approx([expected] * 2, abs=0.05)
    assert lines[0]["shift"] == lines[1]["shift"] == pytest.approx(0.0, abs=0.05)


def test_who_always_adds_has_a_shift() -> None:
    """d = e + u and y = e: y = d - u, here half an error."""
    seen, beside = company()
    lines = true_lines(person(adds=0.5 * ERROR), seen, beside, repeats=100)
    assert [line["weight"] for line in lines] == pytest.approx([1.0, 1.0], abs=0.05)
    assert lines[0]["shift"] == pytest.approx(-0.5, abs=0.05)


def test_who_sees_nothing_is_worth_nothing() -> None:
    seen, beside = company()
    up, down = true_lines(person(sees=0.0, noise=1.0), seen, beside, repeats=100)
    assert [up["weight"], down["weight"]] == pytest.approx([0.0, 0.0], abs=0.12)
    assert up["weight"] + down["weight"] == pytest.approx(0.0, abs=0.05)


def test_one_wild_month_does_not_make_the_line() -> None:
    seen, beside = company()
    wild = (pl.col("unique_id") == "n7") & (pl.col("cycle") == CYCLES[2])
    spoiled = beside.with_columns(actual=pl.when(wild).then(90_000.0).otherwise("actual"))
    plain, after = (
        true_lines(person(noise=0.5), seen, frame, repeats=100) for frame in (beside, spoiled)
    )
    assert after[0]["weight"] == pytest.approx(plain[0]["weight"], abs=0.02)


def test_months_without_known_demand_teach_nothing() -> None:
    seen, beside = company()
    known = beside.filter(pl.col("ds") < add_months(CYCLES[-1], 1))
    assert true_lines(person(), seen, known, repeats=20)[0]["weight"] == pytest.approx(1, abs=0.05)
