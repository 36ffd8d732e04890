"""Landmarks as arrays: places, leads, and the prior that stated ranges lead to, by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.book import LANDMARKS
from sopforecast.clinical.conversion_lines import (
    PLACE,
    STATED_SD_FLOOR,
    TIER_SD,
    USUAL_DELAY,
    line_arrays,
)


def mark(line_id, tier="pipeline", **more):
    return {
        "line_id": line_id, "scope": "study", "name": "ABC", "owner": "ann", "tier": tier,
        "expected_lead": None, "e_low": None, "e_high": None, "age": 3, "outcome": "open",
        "delay": None, "stay": 4.0, "moved": 0, "weight": 1.0, "is_current": True, **more,
    }  # fmt: skip


def arrays_of(*rows):
    return line_arrays(pl.DataFrame(list(rows), schema=LANDMARKS))


def test_stated_ranges_move_the_prior_of_their_tier_and_lines_differ_from_its_mean():
    lines = arrays_of(
        mark("A", e_low=0.5, e_high=0.7),
        mark("B", e_low=0.1, e_high=0.3),
        mark("C"),
        mark("D", tier="committed"),
    )

    def logit(p):
        return np.log(p / (1 - p))

    stated = np.array([(logit(0.5) + logit(0.7)) / 2, (logit(0.1) + logit(0.3)) / 2])
    assert lines.own.tolist() == pytest.approx([*(stated - stated.mean()), 0.0, 0.0])
    sd = 2 * np.mean([logit(0.7) - logit(0.5), logit(0.3) - logit(0.1)]) / (2 * 1.2815515655)
    assert sd > STATED_SD_FLOOR
    precision = TIER_SD**-2 + sd**-2
    mean = (logit(0.3) * TIER_SD**-2 + stated.mean() * sd**-2) / precision
    assert lines.prior_mean[:3] == pytest.approx([logit(0.85), logit(0.6), mean])
    assert lines.prior_sd[:3] == pytest.approx([TIER_SD, TIER_SD, precision**-0.5])
    assert len(lines.prior_mean) == 6 + len(PLACE) + 1 + 1


def test_sure_ranges_are_widened_to_the_floor_and_certainty_is_cut():
    lines = arrays_of(mark("A", e_low=1.0, e_high=1.0))
    precision = TIER_SD**-2 + STATED_SD_FLOOR**-2
    assert lines.prior_sd[2] == pytest.approx(precision**-0.5)
    assert np.isfinite(lines.prior_mean).all()


def test_places_months_and_leads():
    lines = arrays_of(
        mark("A", name="XYZ", owner="*", expected_lead=7),
        mark("B", tier="committed", outcome="lost", delay=2, expected_lead=-3),
    )
    assert lines.names == ("ABC", "XYZ")
    assert lines.owners == ("ann",)
    assert lines.name.tolist() == [1, 0]
    assert lines.owner.tolist() == [-1, 0]
    assert lines.month.tolist() == [3, 2]
    assert lines.outcome.tolist() == [0, 2]
    assert lines.lead == pytest.approx([np.log(8) - USUAL_DELAY[2], -USUAL_DELAY[0]])


def test_stays_count_only_where_somebody_moved_that_way_and_could():
    lines = arrays_of(
        mark("A", moved=1), mark("B", tier="committed"), mark("C", tier="highly_probable")
    )
    assert lines.moved.tolist() == [[1, 0], [0, 0], [0, 0]]
    assert lines.stay.tolist() == [[4, 0], [0, 0], [4, 0]]
