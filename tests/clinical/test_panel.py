"""Sites and months as arrays: openings, exposures and blanks, each worked out by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import SitePanel, site_panel

CYCLE = date(2026, 7, 1)


def _panel(sites: list[dict], enrolment: list[dict], status: str = "active") -> SitePanel:
    return site_panel(
        clinical_inputs(
            CYCLE,
            studies=pl.DataFrame({"study": ["A"], "status": [status]}),
            sites=pl.DataFrame([{"study": "A", **row} for row in sites], infer_schema_length=None)
            if sites
            else None,
            enrolment=pl.DataFrame(
                [{"study": "A", "cohort": "all", **row} for row in enrolment],
                infer_schema_length=None,
            )
            if enrolment
            else None,
        )
    )


def test_partial_first_and_last_months_are_told_by_dates():
    """Open from 16 March (16 of 31 days) to 10 June (9 of 30 days: closed on the tenth)."""
    panel = _panel(
        [{"site": "S1", "activated_date": date(2026, 3, 16), "closed_date": date(2026, 6, 10)},
         {"site": "S2", "activated_date": date(2026, 2, 1), "closed_date": None}],
        [{"site": "S1", "ds": date(2026, 4, 1), "enrolled": 0.0}],
    )  # fmt: skip
    assert [month.month for month in panel.months] == [2, 3, 4, 5, 6]
    assert panel.exposure[0] == pytest.approx([0, 16 / 31, 1, 1, 9 / 30])
    assert panel.exposure[1] == pytest.approx(np.ones(5))
    assert panel.opened.tolist() == [1, 0]
    assert panel.closed.tolist() == [4, 5]  # S1 is closed at the end, though open in June
    assert not panel.seen_at_first.any()


def test_a_site_without_a_date_opens_with_its_first_patient():
    rows = [("S1", 4, 0.0), ("S1", 5, 2.0), ("S1", 6, 0.0)]
    panel = _panel(
        [],
        [{"site": site, "ds": date(2026, month, 1), "enrolled": n} for site, month, n in rows],
    )
    assert [month.month for month in panel.months] == [5, 6]
    assert panel.seen_at_first.tolist() == [True]
    assert panel.opened.tolist() == [0]
    assert panel.exposure.tolist() == [[1.0, 1.0]]
    assert panel.countries == ("*",)


def test_patients_before_the_activation_date_are_believed():
    panel = _panel(
        [{"site": "S1", "activated_date": date(2026, 5, 20)}],
        [{"site": "S1", "ds": date(2026, 4, 1), "screened": 1.0}],
    )
    assert panel.months[0] == date(2026, 4, 1)
    assert panel.seen_at_first.tolist() == [True]


def test_blank_is_not_reported_and_zero_is_zero():
    panel = _panel(
        [{"site": "S1", "activated_date": date(2026, 3, 1)}],
        [
            {"site": "S1", "ds": date(2026, 3, 1), "cohort": "a", "enrolled": 2.0},
            {"site": "S1", "ds": date(2026, 3, 1), "cohort": "b", "enrolled": 1.0},
            {"site": "S1", "ds": date(2026, 4, 1), "cohort": "a", "enrolled": 2.0},
            {"site": "S1", "ds": date(2026, 4, 1), "cohort": "b", "enrolled": None},
            {"site": "S1", "ds": date(2026, 6, 1), "cohort": "a", "enrolled": 0.0},
        ],
    )
    assert np.array_equal(panel.enrolled[0], [3.0, np.nan, np.nan, 0.0], equal_nan=True)
    assert np.isnan(panel.screened).all()


def test_a_closed_study_or_site_without_a_date_is_closed_at_the_end():
    sites = [{"site": "S1", "activated_date": date(2026, 3, 1), "status": "active"}]
    assert _panel(sites, []).closed.tolist() == [4]
    assert _panel(sites, [], "closed").closed.tolist() == [3]
    assert _panel([{**sites[0], "status": "closed"}], []).closed.tolist() == [3]


def test_a_site_that_closed_before_it_opened_never_opens():
    panel = _panel([{"site": "S1", "closed_date": date(2026, 3, 1)}, {"site": "S2"}], [])
    assert panel.opened.tolist() == [-1, -1]
    assert panel.closed.tolist() == [0, 1]  # one month: the one before the cycle
    assert panel.months == (date(2026, 6, 1),)


def test_what_happens_from_the_cycle_on_is_not_read():
    sites = [
        {"site": "S1", "activated_date": date(2026, 7, 1)},
        {"site": "S2", "activated_date": date(2026, 3, 1), "closed_date": date(2026, 8, 1)},
    ]
    panel = _panel(sites, [{"site": "S2", "ds": date(2026, 7, 1), "enrolled": 9.0}])
    assert panel.opened.tolist() == [-1, 0]
    assert panel.closed.tolist() == [4, 4]
    assert np.isnan(panel.enrolled).all()


def test_counts_after_closing_are_believed():
    panel = _panel(
        [{"site": "S1", "activated_date": date(2026, 3, 1), "closed_date": date(2026, 5, 1)}],
        [{"site": "S1", "ds": date(2026, 6, 1), "enrolled": 2.0}],
    )
    assert panel.exposure.tolist() == [[1.0, 1.0, 0.0, 1.0]]
    assert panel.closed.tolist() == [2]


def test_nothing_at_all_is_a_panel_without_sites():
    panel = _panel([], [])
    assert panel.sites == ()
    assert panel.enrolled.shape == (0, 1)


def test_rates_and_capacities_follow_their_sites():
    panel = _panel(
        [{"site": "S2", "planned_rate": 2.0, "capacity": None, "country": "DE"},
         {"site": "S1", "planned_rate": None, "capacity": 4.0, "country": "AT"}],
        [],
    )  # fmt: skip
    assert panel.sites == (("A", "S1"), ("A", "S2"))
    assert [panel.countries[at] for at in panel.country_of] == ["AT", "DE"]
    assert np.array_equal(panel.planned_rate, [np.nan, 2.0], equal_nan=True)
    assert np.array_equal(panel.capacity, [4.0, np.nan], equal_nan=True)
