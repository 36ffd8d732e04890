"""Confirm-by dates: the gamma quantile of scipy.stats, by simulation, and the printed sentences."""

from __future__ import annotations

import locale
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.clinical.confirm import (
    CONFIRM_COLUMNS,
    confirm_by,
    confirm_dates,
    confirm_sentences,
)
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.schedule import ItemDemand
from sopforecast.errors import RequestError

CYCLE = date(2026, 12, 1)
APRIL = date(2027, 4, 1)


def test_the_seed_sentence_by_hand() -> None:
    """76 days before 1 April 2027 is 15 January 2027: 31 March, 28 February, 17 left of January."""
    assert confirm_by(
        APRIL, lead_time_days=76.0, lead_time_sd_days=None, service_level=0.95
    ) == date(2027, 1, 15)


@pytest.mark.parametrize("sd", [0.0, None])
def test_without_spread_the_lead_time_is_its_mean(sd: float | None) -> None:
    by = confirm_by(APRIL, lead_time_days=30.2, lead_time_sd_days=sd, service_level=0.5)
    assert by == APRIL - timedelta(days=31)
    assert confirm_by(APRIL, lead_time_days=0.0, lead_time_sd_days=3.0, service_level=0.9) == APRIL
    assert confirm_by(APRIL, lead_time_days=None, lead_time_sd_days=sd, service_level=0.9) is None


@given(
    mean=st.floats(1, 300), sd=st.floats(0.5, 100), level=st.sampled_from([0.5, 0.8, 0.95, 0.99])
)
def test_an_order_on_the_day_arrives_in_time_and_one_a_day_later_may_not(
    mean: float, sd: float, level: float
) -> None:
    from scipy.stats import gamma

    by = confirm_by(APRIL, lead_time_days=mean, lead_time_sd_days=sd, service_level=level)
    assert by is not None
    days = (APRIL - by).days
    lead_time = gamma(a=(mean / sd) ** 2, scale=sd**2 / mean)
    assert lead_time.mean() == pytest.approx(mean)
    assert lead_time.std() == pytest.approx(sd)
    assert lead_time.cdf(days + 1e-6) >= level - 1e-9  # a ten-millionth of a day is no day
    assert days == 0 or lead_time.cdf(days - 1) < level


def test_a_slip_of_the_unit_gives_a_date_that_has_passed() -> None:
    by = confirm_by(APRIL, lead_time_days=9e9, lead_time_sd_days=1.0, service_level=0.9)
    assert by == date.min


def test_months_that_are_too_late_need_not_follow_each_other() -> None:
    dates = _dates(date(2027, 1, 14)).filter(pl.col("ds") != date(2027, 1, 1))
    assert (
        "dosing in December 2026, February 2027 and March 2027 without"
        in (confirm_sentences(dates)[1])
    )


def test_the_service_level_is_met_in_simulation() -> None:
    by = confirm_by(APRIL, lead_time_days=60.0, lead_time_sd_days=20.0, service_level=0.95)
    assert by is not None
    lead = np.random.default_rng(1).gamma(9.0, 60 / 9, 200_000)
    assert (lead <= (APRIL - by).days).mean() == pytest.approx(0.952, abs=0.004)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_service_level_outside_its_range_is_refused(level: float) -> None:
    with pytest.raises(RequestError, match="service_level: found"):
        confirm_by(APRIL, lead_time_days=60.0, lead_time_sd_days=20.0, service_level=level)


def _inputs() -> ClinicalInputs:
    schedule = pl.DataFrame(
        {"study": ["X", "X", "X", "Y", "X"],
         "per": ["enrolled", "enrolled", "enrolled", "screened", "screened"],
         "month_offset": [0, 3, 2, 0, 0],
         "unique_id": ["KIT-A", "KIT-A", "KIT-B", "KIT-C", "KIT-B"],
         "quantity": [1.0, 1.0, 1.0, 1.0, 1.0]}
    )  # fmt: skip
    return clinical_inputs(CYCLE, studies=pl.DataFrame({"study": ["X", "Y"]}), schedule=schedule)


def _demand() -> ItemDemand:
    draws = np.zeros((11, 3, 6))
    draws[:, 0] = np.arange(11)[:, None]
    draws[:, 1, 3:] = 2.0
    draws[:, 2, 1] = 1.0
    flat = draws.mean(axis=0)
    return ItemDemand(("KIT-A", "KIT-B", "KIT-C"), draws, flat, flat, np.ones(3), ())


ITEMS = pl.DataFrame(
    {"unique_id": ["KIT-A", "KIT-B", "KIT-C"], "lead_time_days": [75.2, 20.0, None],
     "lead_time_sd_days": [None, None, 5.0]},
    schema_overrides={"lead_time_sd_days": pl.Float64},
)  # fmt: skip


def _dates(today: date, items: pl.DataFrame = ITEMS) -> pl.DataFrame:
    return confirm_dates(_inputs(), items, _demand(), cycle=CYCLE, service_level=0.95, today=today)


def test_dates_of_every_study_item_and_month() -> None:
    dates = _dates(date(2027, 1, 15))
    assert dict(dates.schema) == CONFIRM_COLUMNS
    kit_a = dates.filter(pl.col("unique_id") == "KIT-A")
    assert kit_a["ds"].to_list()[0] == CYCLE
    assert kit_a["enrolled_ds"].to_list() == kit_a["ds"].to_list()
    assert kit_a["passed"].to_list() == [True] * 4 + [False] * 2
    assert kit_a["mean"].to_list() == [5.0] * 6
    assert kit_a["p90"].to_list() == [9.0] * 6
    kit_b = dates.filter(pl.col("unique_id") == "KIT-B")
    assert kit_b["ds"].to_list() == [date(2027, 3, 1), APRIL, date(2027, 5, 1)]
    assert kit_b["enrolled_ds"].to_list()[0] == date(2027, 1, 1)
    assert kit_b["confirm_date"].to_list()[0] == date(2027, 2, 9)
    kit_c = dates.filter(pl.col("study") == "Y")
    assert kit_c["confirm_date"].to_list() == [None]
    assert kit_c["passed"].to_list() == [None]


def test_sentences() -> None:
    told = confirm_sentences(_dates(date(2027, 1, 14)))
    assert told == (
        "Enrolment must be confirmed by 15 January 2027 to support April dosing without expedite "
        "(study X, item KIT-A: lead time 75.2 days, 95% service).",
        "Study X: too late to confirm enrolment for dosing in December 2026 to March 2027 without "
        "expedite; the last of these dates was 15 December 2026 (item KIT-A: lead time 75.2 days, "
        "95% service).",
        "Study Y: no confirm-by date for item KIT-C: lead_time_days is blank; fill it in in items.",
    )


def test_the_enrolment_month_and_a_year_are_told_where_they_differ() -> None:
    only_b = ITEMS.filter(pl.col("unique_id") == "KIT-B").with_columns(lead_time_days=pl.lit(100.0))
    told = confirm_sentences(_dates(date(2026, 11, 1), only_b))
    assert told[0] == (
        "Enrolment of January 2027 must be confirmed by 21 November 2026 to support March 2027 "
        "dosing without expedite (study X, item KIT-B: lead time 100 days, 95% service)."
    )
    assert "item KIT-A:" in told[1]
    assert confirm_sentences(_dates(date(2026, 11, 1)).clear()) == ()


def test_names_of_months_do_not_hang_on_the_locale() -> None:
    before = locale.setlocale(locale.LC_TIME)
    names = [name for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C") if _can_set(name)]
    try:
        locale.setlocale(locale.LC_TIME, names[0])
        told = confirm_sentences(_dates(CYCLE))[0]
        assert "by 15 December 2026 to support March 2027 dosing" in told
    finally:
        locale.setlocale(locale.LC_TIME, before)


def _can_set(name: str) -> bool:
    before = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_TIME, before)
    return True
