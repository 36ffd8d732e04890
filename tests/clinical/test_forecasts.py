"""Stored quantiles against numpy on plain loops over the paths."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.clinical.forecasts import (
    enrolment_frame,
    exact_quantile,
    month_index,
    patients_by,
    spread,
)
from sopforecast.clinical.paths import TrialPaths
from sopforecast.core.clinical_tables import EnrolmentForecasts
from sopforecast.core.draws import QUANTILES
from sopforecast.core.months import add_months
from sopforecast.errors import RequestError

CYCLE = date(2026, 12, 1)


def _trial(seed: int = 1, *, sites: int = 5, cohorts: int = 2, mean: float = 1.3) -> TrialPaths:
    rng = np.random.default_rng(seed)
    enrolled = rng.poisson(mean, (40, sites, cohorts, 4)).astype(np.int16)
    return TrialPaths(
        study="ALPHA",
        cycle=CYCLE,
        sites=tuple(f"S{k}" for k in range(sites)),
        countries=tuple("FR" if k % 2 else "*" for k in range(sites)),
        cohorts=("a", "b")[:cohorts] if cohorts > 1 else ("all",),
        screened=enrolled.sum(axis=2),
        enrolled=enrolled,
        activated=np.full((40, sites), -1, dtype=np.int16),
        enrolled_before=rng.integers(0, 9, (sites, cohorts)),
        events={},
    )


def _nodes(trial: TrialPaths) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Which (site, cohort) pairs every node holds."""
    pairs = [(g, c) for g in range(len(trial.sites)) for c in range(len(trial.cohorts))]
    nodes = {("study", trial.study): pairs}
    for g, c in pairs:
        nodes.setdefault(("country", trial.countries[g]), []).append((g, c))
        nodes.setdefault(("site", trial.sites[g]), []).append((g, c))
        nodes.setdefault(("cohort", trial.cohorts[c]), []).append((g, c))
    return nodes


def test_every_quantile_is_numpys() -> None:
    trial = _trial()
    frame = enrolment_frame({"ALPHA": trial})
    nodes = _nodes(trial)
    assert frame.height == len(nodes) * 4 * 2
    for row in frame.iter_rows(named=True):
        pairs = nodes[row["level"], row["node"]]
        last = (row["ds"].year - 2026) * 12 + row["ds"].month - 12
        start = last if row["measure"] == "monthly" else 0
        counts = [
            sum(int(path[g, c, start : last + 1].sum()) for g, c in pairs)
            for path in trial.enrolled
        ]
        if row["measure"] == "cumulative":
            before = sum(int(trial.enrolled_before[g, c]) for g, c in pairs)
            counts = [before + count for count in counts]
        assert row["mean"] == pytest.approx(np.mean(counts), rel=1e-12)
        for label, level in QUANTILES:
            assert row[label] == pytest.approx(np.quantile(counts, level), rel=1e-12), row


def test_the_rows_are_those_of_the_table() -> None:
    two = {"B": _trial(2), "A": _trial(3, cohorts=1)}
    two["B"] = TrialPaths(**{**vars(two["B"]), "study": "BETA"})
    frame = enrolment_frame(two).with_columns(run_id=pl.lit("r"))
    assert EnrolmentForecasts.is_valid(EnrolmentForecasts.cast(frame))
    assert set(frame.columns) == set(EnrolmentForecasts.columns())
    assert frame.filter(study="ALPHA", level="cohort").is_empty(), "one cohort is the study"


def test_countries_only_where_one_is_named() -> None:
    trial = _trial()
    nameless = TrialPaths(**{**vars(trial), "countries": ("*",) * 5})
    assert enrolment_frame({"A": nameless}).filter(level="country").is_empty()


def test_many_patients_do_not_overflow_two_bytes() -> None:
    trial = _trial(mean=9_000.0, sites=3)
    row = enrolment_frame({"A": trial}).filter(
        level="study", measure="cumulative", ds=add_months(CYCLE, 3)
    )
    expected = trial.enrolled.astype(float).sum(axis=(1, 2, 3)) + trial.enrolled_before.sum()
    assert row["p50"][0] == pytest.approx(np.quantile(expected, 0.5), rel=1e-12)


def test_no_studies_no_rows() -> None:
    frame = enrolment_frame({})
    assert frame.is_empty()
    assert set(frame.columns) | {"run_id"} == set(EnrolmentForecasts.columns())


def test_blocks_of_sites_change_nothing() -> None:
    many = _trial(4, sites=70, cohorts=1)
    frame = enrolment_frame({"A": many}).filter(level="site", measure="monthly", node="S69")
    expected = np.quantile(many.enrolled[:, 69, 0], 0.9, axis=0)
    np.testing.assert_allclose(frame["p90"].to_numpy(), expected)


def test_patients_by_a_month() -> None:
    trial = _trial()
    by = date(2027, 1, 20)
    expected = [sum(int(x) for x in path[:, :, :2].ravel()) for path in trial.enrolled]
    assert patients_by(trial, by, new=True).tolist() == expected
    before = int(trial.enrolled_before.sum())
    assert patients_by(trial, by).tolist() == [before + count for count in expected]


@pytest.mark.parametrize("month", [date(2026, 11, 1), date(2027, 4, 1)])
def test_months_not_forecast_are_refused(month: date) -> None:
    with pytest.raises(RequestError, match="December 2026 to March 2027"):
        month_index(_trial(), month)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0.001, 0.999))
def test_whole_quantiles_are_numpys_inverse(values: list[int], level: float) -> None:
    expected = int(np.quantile(values, level, method="inverted_cdf"))
    assert exact_quantile(np.array(values), level) == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_a_range_holds_80_percent_of_the_paths(values: list[int]) -> None:
    found = spread(np.array(values))
    assert found.low <= found.middle <= found.high
    assert sum(found.low <= value <= found.high for value in values) >= 0.8 * len(values) - 1e-9
