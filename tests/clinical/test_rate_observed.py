"""Counts laid out for the filter: what is counted, for how much exposure, in which group."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.rate_observed import STEP, counted_of, group_sites, observe
from sopforecast.core.months import month_range

NAN = float("nan")


def _panel(enrolled, opened, **given) -> SitePanel:
    enrolled = np.array(enrolled, dtype=float)
    sites, months = enrolled.shape
    opened = np.array(opened)
    values = {
        "sites": tuple(("A", f"S{at}") for at in range(sites)),
        "studies": ("A",),
        "countries": ("*",),
        "study_of": np.zeros(sites, dtype=int),
        "country_of": np.zeros(sites, dtype=int),
        "months": tuple(month_range(date(2026, 1, 1), months)),
        "opened": opened,
        "seen_at_first": np.zeros(sites, dtype=bool),
        "closed": np.full(sites, months),
        "exposure": ((np.arange(months) >= opened[:, None]) & (opened[:, None] >= 0)).astype(float),
        "enrolled": enrolled,
        "screened": np.full(enrolled.shape, NAN),
        "screen_failed": np.full(enrolled.shape, NAN),
        "capacity": np.full(sites, NAN),
        "planned_rate": np.full(sites, NAN),
    }
    return SitePanel(**{**values, **given})


def test_screened_are_counted_where_screening_tells():
    """Half of those screened enrol: a month counts for two; untold months count the enrolled."""
    panel = _panel([[1, 2], [3, 4]], [0, 0], screened=np.array([[5.0, 6.0], [7.0, NAN]]))
    counts, exposures = counted_of(panel, np.array([1.0, 0.5]))
    assert counts.tolist() == [[1, 2], [7, 4]]
    assert exposures.tolist() == [[1, 1], [2, 1]]


def test_sites_stand_in_the_order_of_opening_and_cells_say_the_counts():
    panel = _panel([[NAN, NAN, 3], [2, NAN, 0], [NAN, NAN, NAN]], [2, 0, -1])
    seen = observe(panel, np.ones(3))
    assert seen.order.tolist() == [1, 0, 2]
    assert seen.opened.tolist() == [0, 2, 3]
    said = [
        [(seen.counts[cell], places.tolist()) for cell, places in month] for month in seen.cells
    ]
    assert said == [[(2.0, [0])], [], [(0.0, [0]), (3.0, [1])]]


def test_the_first_month_of_a_site_seen_by_its_patient_is_marked():
    panel = _panel([[1, 1]], [0], seen_at_first=np.array([True]))
    seen = observe(panel, np.ones(1))
    assert [bool(seen.first[month[0][0]]) for month in seen.cells] == [True, False]


def test_groups_are_countries_of_studies():
    panel = _panel(
        np.zeros((3, 1)), [0, 0, 0], study_of=np.array([0, 0, 1]), country_of=np.array([1, 0, 1]),
        studies=("A", "B"), countries=("DE", "UK"),
    )  # fmt: skip
    group_of, study = group_sites(panel)
    assert group_of.tolist() == [1, 0, 2]
    assert study.tolist() == [0, 0, 1]


def test_planned_rates_are_told_against_their_mean():
    panel = _panel(np.zeros((3, 1)), [0, 0, 0], planned_rate=np.array([1.0, 4.0, NAN]))
    seen = observe(panel, np.ones(3))
    assert np.sort(seen.offset) == pytest.approx(np.log([0.5, 1.0, 2.0]))
    assert seen.centre == pytest.approx(np.log(2 * 0.7))


def test_levels_reach_every_site():
    panel = _panel([[90.0, 80.0], [0.0, 0.0]], [0, 0])
    levels = observe(panel, np.ones(2)).levels
    assert levels[-1] > np.log(85) + 1
    assert levels[0] < np.log(0.05)
    assert np.diff(levels) == pytest.approx(STEP)
