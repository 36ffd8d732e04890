"""Events on one cohort: the whole of a site and the split of its patients fit together."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.allocate import trial_paths
from sopforecast.clinical.cohort_events import CohortFactor, cohort_tilt
from sopforecast.clinical.events import sample_events
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import site_panel
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.simulate import site_counts

CYCLE, PATHS, HORIZON = date(2027, 1, 1), 20_000, 3


def simulated(events: list[tuple[str, str, str | None, float]]) -> TrialPaths:
    """Two sites of 2 patients a month, cohorts A and B of half each, events from the cycle on."""
    inputs = clinical_inputs(
        CYCLE,
        studies=pl.DataFrame({"study": ["T"]}),
        cohorts=pl.DataFrame(
            {"study": ["T"] * 2, "cohort": ["A", "B"], "share_low": [0.5] * 2,
             "share_high": [0.5] * 2}
        ),
        sites=pl.DataFrame({"study": ["T"] * 2, "site": ["S0", "S1"]}),
        study_events=pl.DataFrame(
            [("T", f"E{i}", CYCLE, *event, event[-1], 1.0) for i, event in enumerate(events)],
            schema=["study", "event_id", "date", "acts_on", "cohort", "site", "low", "high",
                    "probability"],
            orient="row",
        ),
    )  # fmt: skip
    panel = site_panel(inputs)
    sampled = sample_events(inputs, panel, paths=PATHS, horizon=HORIZON, seed=1)
    ones = np.ones((PATHS, 2, HORIZON), dtype=np.float32)
    size = {"cycle": CYCLE, "paths": PATHS, "seed": 1}
    counts = site_counts(
        panel,
        SimpleNamespace(
            open=2 * ones, fresh=0 * ones, shock=ones[:, :1], group_of=np.zeros(2, dtype=int)
        ),
        SimpleNamespace(
            fail=np.full((1, 1), 0.5), delay=np.ones((1, 1)), reports=np.array([True, False]),
            stock=np.zeros(2, dtype=int), stock_fail=np.full((1, 1), 0.5),
            stock_delay=np.ones((1, 1, 1)),
        ),
        SimpleNamespace(month=np.full((PATHS, 2), -1), first_share=ones[:, :, 0]),
        sampled, horizon=HORIZON, **size,
    )  # fmt: skip
    return trial_paths(counts, inputs, panel, sampled, **size)["T"]


@pytest.mark.parametrize(
    ("events", "enrolled", "screened"),
    [
        ([("enrolment", "A", "S0", 0.5)], [[0.5, 1], [1, 1]], [4, 4]),
        ([("enrolment", "A", "S0", 3.0)], [[3, 1], [1, 1]], [8, 4]),
        ([("screening", "B", None, 2.0)], [[1, 2], [1, 2]], [6, 6]),
        (
            [("screening", "B", None, 2.0), ("enrolment", "B", "S1", 0.0)],
            [[1, 2], [1, 0]],
            [6, 6],
        ),
    ],
)
def test_a_cohort_is_changed_at_its_sites_and_no_other(
    events: list[tuple[str, str, str | None, float]],
    enrolled: list[list[float]],
    screened: list[float],
) -> None:
    found = simulated(events)
    assert found.enrolled.mean(axis=(0, 3)) == pytest.approx(np.array(enrolled), abs=0.04)
    assert found.screened.mean(axis=(0, 2)) == pytest.approx(np.array(screened), abs=0.06)


def test_tilts_of_events_multiply_and_strangers_are_left_out() -> None:
    def event(cohort: str, site: str | None, acts_on: str = "enrolment") -> CohortFactor:
        return CohortFactor("T", cohort, site, acts_on, np.full((2, 3), 0.5, dtype=np.float32))

    events = (event("A", None), event("A", "S1"), event("B", None, "screening"), event("X", None))
    names = ("A", "B")
    tilt = cohort_tilt(events, names, "T", "S1", "enrolment")
    assert tilt is not None
    assert tilt.shape == (2, 2, 3)
    assert tilt[0, :, 0].tolist() == [0.25, 1.0]
    assert cohort_tilt(events, names, "U", "S1", "enrolment") is None
    assert cohort_tilt(events[:1], names, "T", "S1", "screening") is None
