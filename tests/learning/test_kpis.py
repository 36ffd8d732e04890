"""KPIs against plain loops over the cells they are made of, and against figures worked by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from sopforecast.core.learning_tables import empty
from sopforecast.core.months import add_months, month_range
from sopforecast.core.score_tables import EnrolmentScores, Kpis, Scores, SiteActivation, ValueAdded
from sopforecast.learning.kpi_words import colour
from sopforecast.learning.kpis import kpi_trend, kpis, restated
from sopforecast.learning.value_added import value_added
from sopforecast.settings import Settings, make_settings
from sopforecast.settings_sections import KPIS, KpiSettings

OCTOBER = date(2026, 10, 1)


def _asked(*show: str, **values: Any) -> KpiSettings:
    return make_settings({"kpi": {"show": show or ("accuracy", "bias"), **values}}).kpi


def _kpis(made: Any, settings: KpiSettings, closed: date = OCTOBER, **other: Any) -> pl.DataFrame:
    frames = {
        "scores": made.scores,
        "value_added": value_added(made.scores, closed=closed, sources=(), seed=1),
        "enrolment_scores": made.enrolment_scores,
        "site_activation": made.site_activation.filter(pl.col("closed") == closed),
    }
    rows = kpis(closed, settings=settings, **(frames | other))
    Kpis.validate(rows.with_columns(fit_id=pl.lit("c-1")), cast=True)
    return rows


def _trend(made: Any, settings: KpiSettings, **other: Any) -> pl.DataFrame:
    frames = {
        "scores": made.scores,
        "enrolment_scores": made.enrolment_scores,
        "site_activation": made.site_activation,
    }
    return kpi_trend(OCTOBER, settings=settings, **(frames | other))


def _nothing(settings: KpiSettings) -> pl.DataFrame:
    frames = {
        "scores": empty(Scores), "value_added": empty(ValueAdded),
        "enrolment_scores": empty(EnrolmentScores), "site_activation": empty(SiteActivation),
    }  # fmt: skip
    return kpis(OCTOBER, settings=settings, **frames)


def _value(rows: pl.DataFrame, kpi: str, within: str = "total") -> float | None:
    found: list[float | None] = rows.filter(pl.col("kpi") == kpi, pl.col("within") == within)[
        "value"
    ].to_list()
    assert len(found) == 1
    return found[0]


def _sentence(rows: pl.DataFrame, kpi: str, within: str = "total") -> str:
    return str(rows.filter(pl.col("kpi") == kpi, pl.col("within") == within)["sentence"].item())


def _published(
    made: Any, closed: date, window: int, lead: int | None, family: str | None
) -> list[dict[str, Any]]:
    """Cells of the stage that was published, one by one: consensus where there is one."""
    first = add_months(closed, 1 - window)
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in made.cells:
        inside = first <= cell["ds"] <= closed and cell["stage"] != "naive"
        if inside and lead in (None, cell["lead"]) and family in (None, cell["family"]):
            key = (cell["ds"], cell["lead"], cell["item"])
            if key not in best or cell["stage"] == "consensus":
                best[key] = cell
    return list(best.values())


@pytest.mark.parametrize("closed", [date(2026, 8, 1), OCTOBER])
@pytest.mark.parametrize(("lag", "window"), [(1, 12), (0, 3), (2, 1)])
@pytest.mark.parametrize("family", [None, "Oncology", "Vaccines"])
def test_percentages_are_sums_divided_once(
    closed_months: Any, closed: date, lag: int, window: int, family: str | None
) -> None:
    asked = _asked("accuracy", "bias", "coverage", lag=lag, window=window)
    rows = _kpis(closed_months, asked, closed)
    cells = _published(closed_months, closed, window, lag + 1, family)
    demand = sum(abs(cell["actual"]) for cell in cells)
    missed = sum(abs(cell["forecast"] - cell["actual"]) for cell in cells)
    net = sum(cell["forecast"] - cell["actual"] for cell in cells)
    within = "total" if family is None else f"family={family}"
    assert _value(rows, "accuracy", within) == pytest.approx(100 - 100 * missed / demand)
    assert _value(rows, "bias", within) == pytest.approx(100 * net / demand)
    every = _published(closed_months, closed, window, None, family)
    inside = sum(abs(cell["forecast"] - cell["actual"]) <= cell["half"] for cell in every)
    assert _value(rows, "coverage", within) == pytest.approx(100 * inside / len(every))
    said = f"{10 * inside / len(every):.1f} did ({inside} of {len(every)} forecasts"
    assert said in _sentence(rows, "coverage", within)


def _row(**values: Any) -> dict[str, Any]:
    """One row of scores at lead 2 of the total; what is not named is nothing."""
    blank = {
        name: 0 if column.dtype == pl.Int64 else 0.0
        for name, column in Scores.columns().items()
        if column.dtype in (pl.Int64, pl.Float64)
    }
    ds = values.get("ds", OCTOBER)
    return blank | {
        "fit_id": "c-1", "version": "first", "ds": ds, "cycle": add_months(ds, -1), "lead": 2,
        "stage": "statistical", "level": "item", "within": "total", "measure": "quantity",
        "source": "*", "owner": "*", "run_id": f"r-{add_months(ds, -1)}", "cells": 1,
    } | values  # fmt: skip


def _scores(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=empty(Scores).schema)


def _sums(actual: float, forecast: float) -> dict[str, float]:
    error = abs(forecast - actual)
    return {"actual": actual, "forecast": forecast, "demand": actual, "absolute_error": error}


def test_a_small_bad_month_does_not_outweigh_a_large_good_one() -> None:
    scores = _scores(
        _row(**_sums(10.0, 20.0)), _row(ds=date(2026, 9, 1), **_sums(90.0, 90.0)),
    )  # fmt: skip
    rows = _kpis_of(scores)
    assert _value(rows, "accuracy") == pytest.approx(90.0)  # the mean of 0% and 100% is 50%
    assert _value(rows, "bias") == pytest.approx(10.0)
    assert "+10.0% of demand over 2 months to 2026-10" in _sentence(rows, "bias")
    assert "lay above demand, 110 against 100" in _sentence(rows, "bias")
    assert "10.0% of demand over 2 months" in _sentence(rows, "accuracy")


def _kpis_of(scores: pl.DataFrame, *show: str) -> pl.DataFrame:
    return kpis(
        OCTOBER, settings=_asked(*show), scores=scores, value_added=empty(ValueAdded),
        enrolment_scores=empty(EnrolmentScores), site_activation=empty(SiteActivation),
    )  # fmt: skip


def test_the_published_stage_counts_and_falls_back_run_by_run() -> None:
    september = date(2026, 9, 1)
    scores = _scores(
        _row(**_sums(100.0, 150.0)),
        _row(stage="consensus", **_sums(100.0, 130.0)),
        _row(stage="approved", **_sums(100.0, 110.0)),
        _row(ds=september, **_sums(100.0, 140.0)),
        _row(ds=september, stage="consensus", **_sums(100.0, 120.0)),
        _row(ds=september, stage="source:sales", **_sums(100.0, 900.0)),
        _row(ds=date(2026, 8, 1), **_sums(100.0, 130.0)),
    )
    assert _value(_kpis_of(scores), "accuracy") == pytest.approx(100 - 100 * 60 / 300)


def test_rows_of_other_kinds_are_left_out_and_late_items_are_added() -> None:
    own = _row(**_sums(60.0, 66.0))
    late = _row(fit_id="c-2", **_sums(40.0, 44.0))
    others = [
        _row(measure="value", **_sums(10.0, 99.0)),
        _row(owner="Ann", source="sales", stage="stated", **_sums(10.0, 99.0)),
        _row(owner="Ann", source="sales", **_sums(10.0, 99.0)),
        _row(level="family", **_sums(10.0, 99.0)),
        _row(lead=1, cycle=OCTOBER, **_sums(10.0, 99.0)),
        _row(version="restated", **_sums(10.0, 99.0)),
        _row(ds=date(2026, 11, 1), **_sums(10.0, 99.0)),
        _row(ds=date(2025, 10, 1), **_sums(10.0, 99.0)),
    ]
    rows = _kpis_of(_scores(own, late, *others))
    assert _value(rows, "accuracy") == pytest.approx(90.0)
    assert "over 1 month to 2026-10" in _sentence(rows, "accuracy")


def test_restated_months_are_named_and_counted_as_they_are_now() -> None:
    scores = _scores(
        _row(**_sums(100.0, 80.0)),
        _row(ds=date(2026, 9, 1), **_sums(100.0, 120.0)),
        _row(fit_id="c-2", version="restated", **_sums(90.0, 80.0)),
        _row(fit_id="c-3", version="restated", **_sums(80.0, 80.0)),
    )
    seq = scores.with_columns(seq=pl.col("fit_id").str.slice(2).cast(pl.Int64))
    months, accuracy = restated(OCTOBER, settings=_asked(), scores=seq)
    assert months == [OCTOBER]
    assert accuracy == pytest.approx(100 - 100 * 20 / 180)
    assert _value(_kpis_of(scores), "accuracy") == pytest.approx(80.0)
    first = seq.filter(pl.col("version") == "first")
    assert restated(OCTOBER, settings=_asked(), scores=first) == ([], None)


def test_value_added_is_what_loops_over_the_same_cells_give(closed_months: Any) -> None:
    asked = _asked("value_added")
    rows = _kpis(closed_months, asked)
    missed = {"statistical": 0.0, "consensus": 0.0}
    demand = 0.0
    for cell in closed_months.cells:
        if cell["lead"] == 2 and cell["ds"] >= date(2025, 11, 1) and cell["stage"] in missed:
            missed[cell["stage"]] += abs(cell["forecast"] - cell["actual"])
            demand += cell["actual"] if cell["stage"] == "consensus" else 0.0
    points = 100 * (missed["statistical"] - missed["consensus"]) / demand
    assert _value(rows, "value_added") == pytest.approx(points)
    assert f"+{points:.1f} points of WMAPE (90% range +" in _sentence(rows, "value_added")
    assert "told apart from zero" in _sentence(rows, "value_added")
    last = _trend(closed_months, asked).row(-1, named=True)
    assert (last["closed"], last["value"]) == (OCTOBER, pytest.approx(points))
    assert rows["within"].to_list() == [
        "total", "family=Cardio & renal", "family=Oncology", "family=Vaccines",
    ]  # fmt: skip


def _added(points: float, low: float | None, high: float | None, months: int) -> pl.DataFrame:
    row = dict.fromkeys(ValueAdded.columns()) | {
        "fit_id": "c-1", "closed": OCTOBER, "window": 12, "measure": "quantity", "within": "total",
        "lead": 2, "position": 2, "stage": "consensus", "alone": False, "months": months,
        "cells": 9, "over_statistical": points, "over_statistical_low": low,
        "over_statistical_high": high,
    }  # fmt: skip
    other = row | {"lead": 0, "over_statistical": 99.0}
    return pl.DataFrame([row, other], schema=empty(ValueAdded).schema)


@pytest.mark.parametrize(
    ("points", "low", "high", "months", "value", "light", "said"),
    [
        (1.3, 0.2, 2.5, 12, 1.3, "green", "+1.3 points of WMAPE (90% range +0.2 to +2.5, told"),
        (0.3, -0.9, 1.5, 12, 0.3, "green", "−0.9 to +1.5, not told apart from zero)"),
        (-0.5, -1.5, -0.1, 6, -0.5, "yellow", "−0.5 points of WMAPE (90% range −1.5 to −0.1, told"),
        (-2.0, None, None, 12, -2.0, "red", "−2.0 points of WMAPE; plus is nearer"),
        (4.0, None, None, 5, None, "grey", "Not enough yet: 5 of 6 months; +4.0 points so far."),
    ],
)
def test_what_is_said_of_value_added(
    points: float, low: float | None, high: float | None, months: int,
    value: float | None, light: str, said: str,
) -> None:  # fmt: skip
    scores = _scores(_row(), _row(stage="consensus"))
    rows = kpis(
        OCTOBER, settings=_asked("value_added"), scores=scores,
        value_added=_added(points, low, high, months),
        enrolment_scores=empty(EnrolmentScores), site_activation=empty(SiteActivation),
    )  # fmt: skip
    assert rows.height == 1
    assert (rows["value"].item(), rows["colour"].item()) == (value, light)
    assert said in rows["sentence"].item()


def test_where_nobody_spoke_nothing_is_claimed() -> None:
    rows = kpis(
        OCTOBER, settings=_asked("value_added"), scores=_scores(_row()),
        value_added=_added(0.0, 0.0, 0.0, 12),
        enrolment_scores=empty(EnrolmentScores), site_activation=empty(SiteActivation),
    )  # fmt: skip
    assert (rows["value"].item(), rows["colour"].item()) == (None, "grey")
    assert rows["sentence"].item().startswith("Nobody spoke in these months")


def test_enrolment_counts_each_month_once_and_only_months_with_a_plan(closed_months: Any) -> None:
    rows = _kpis(closed_months, _asked("enrolment"))
    # Patients of the study are 10, 11, .. 15 against 14 a month; leads 1 and 2 tell of the same.
    assert _value(rows, "enrolment") == pytest.approx(100 * 75 / 84)
    assert _sentence(rows, "enrolment") == (
        "75 patients were enrolled and 84 planned over 6 months with a plan, to 2026-10."
    )
    assert _value(rows, "enrolment", "study=NOVA-1/cohort=child") == pytest.approx(100 * 39 / 42)
    assert _value(rows, "enrolment", "study=NOVA-1/site=S2") == pytest.approx(100 * 39 / 48)
    assert _value(rows, "enrolment", "study=NOVA-1/site=S3") is None
    assert rows.filter(pl.col("within").str.ends_with("S3"))["colour"].item() == "grey"
    assert "study=NOVA-1" not in rows["within"].to_list()  # the only study is the total


def test_two_studies_are_added_up_and_told_apart(closed_months: Any) -> None:
    half = closed_months.enrolment_scores.filter(pl.col("level") == "study").with_columns(
        study=pl.lit("a/b"), node=pl.lit("a/b"), planned=pl.lit(30.0)
    )
    both = pl.concat([closed_months.enrolment_scores, half])
    rows = _kpis(closed_months, _asked("enrolment"), enrolment_scores=both)
    assert _value(rows, "enrolment") == pytest.approx(100 * 150 / (84 + 180))
    assert _value(rows, "enrolment", "study=a%2Fb") == pytest.approx(100 * 75 / 180)
    assert _value(rows, "enrolment", "study=NOVA-1") == pytest.approx(100 * 75 / 84)


def test_sites_still_waiting_count_as_late_as_they_are(closed_months: Any) -> None:
    rows = _kpis(closed_months, _asked("site_activation"))
    assert _value(rows, "site_activation") == pytest.approx((10 + 30 + 91) / 3)
    assert _sentence(rows, "site_activation") == (
        "2 of 3 sites due by 2026-10 are open, on average 43.7 days late, counting 1 site still "
        "waiting up to that month's end."
    )
    assert _value(rows, "site_activation", "study=NOVA-1/country=DE") == pytest.approx(20.0)
    colours = dict(rows.select("within", "colour").iter_rows())
    assert (colours["total"], colours["study=NOVA-1/country=DE"]) == ("red", "yellow")
    trend = _trend(closed_months, _asked("site_activation"))
    late = {date(2026, 8, 1): 30, date(2026, 9, 1): 60, OCTOBER: 91}
    told = trend.filter(pl.col("value").is_not_null())
    assert told["closed"].to_list() == list(late)
    assert told["value"].to_list() == pytest.approx([(40 + days) / 3 for days in late.values()])


def test_sites_planned_for_later_are_not_late(closed_months: Any) -> None:
    later = closed_months.site_activation.filter(pl.col("closed") == OCTOBER).with_columns(
        planned=pl.lit(date(2027, 1, 1)),
        days_late=pl.lit(-62, pl.Int64),
        activated=pl.when(pl.col("site") == "S1").then(pl.lit(date(2026, 10, 31))),
    )
    rows = _kpis(closed_months, _asked("site_activation"), site_activation=later)
    assert _value(rows, "site_activation") == pytest.approx(-62.0)
    assert "1 of 1 site due by 2026-10 is open, on average 62.0 days early" in _sentence(
        rows, "site_activation"
    )


@pytest.mark.parametrize(
    ("kpi", "lights"),
    [
        ("accuracy", {80.0: "green", 79.95: "green", 79.94: "yellow", 70.0: "yellow", 69.9: "red"}),
        ("bias", {5.04: "green", -5.0: "green", -5.1: "yellow", 10.0: "yellow", -10.1: "red"}),
        ("value_added", {-0.04: "green", -0.1: "yellow", -1.0: "yellow", -1.1: "red"}),
        (
            "coverage",
            {76.0: "green", 84.0: "green", 75.9: "yellow", 84.1: "yellow", 88.0: "yellow",
             72.0: "yellow", 71.9: "red", 88.1: "red"},
        ),
        ("enrolment", {95.0: "green", 140.0: "green", 94.9: "yellow", 85.0: "yellow", 84.9: "red"}),
        ("site_activation", {-9.0: "green", 14.0: "green", 14.1: "yellow", 30.0: "yellow",
                             30.1: "red"}),
    ],
)  # fmt: skip
def test_colours_follow_what_is_shown(kpi: Any, lights: dict[float, str]) -> None:
    line = Settings().kpi.threshold(kpi)
    assert {value: colour(kpi, value, line) for value in lights} == lights
    assert colour(kpi, None, line) == "grey"


def test_thresholds_and_owner_come_from_the_settings(closed_months: Any) -> None:
    asked = _asked("accuracy", accuracy={"green": 99, "yellow": 88, "owner": "supply chain"})
    row = _kpis(closed_months, asked).row(0, named=True)
    assert (row["colour"], row["owner"]) == ("red", "supply chain")
    assert row["target"] == "green from 99%, yellow from 88%"


@pytest.mark.parametrize("show", [KPIS[:5], KPIS[1:]])
def test_without_scores_every_light_is_grey(show: tuple[str, ...]) -> None:
    rows = _nothing(_asked(*show))
    assert rows["kpi"].to_list() == list(show)
    assert set(rows["colour"]) == {"grey"}
    assert set(rows["within"]) == {"total"}
    assert rows["value"].null_count() == len(show)
    assert all(said.endswith(".") for said in rows["sentence"])


def test_the_order_of_the_settings_is_the_order_shown(closed_months: Any) -> None:
    rows = _kpis(closed_months, _asked("coverage", "accuracy"))
    assert rows["kpi"].unique(maintain_order=True).to_list() == ["coverage", "accuracy"]


def test_a_month_without_demand_has_no_percentage() -> None:
    rows = _kpis_of(_scores(_row(forecast=5.0, absolute_error=5.0)))
    assert rows["value"].to_list() == [None, None]
    assert set(rows["sentence"]) == {"There was no demand over 1 month to 2026-10."}


def test_the_trend_is_made_of_the_sums_of_each_window(closed_months: Any) -> None:
    trend = _trend(closed_months, _asked("accuracy", "bias", window=3))
    assert trend["closed"].to_list() == month_range(date(2025, 9, 1), 14) * 2
    for kpi, closed, value in trend.iter_rows():
        cells = _published(closed_months, closed, 3, 2, None)
        errors = [cell["forecast"] - cell["actual"] for cell in cells]
        demand = sum(cell["actual"] for cell in cells)
        expected = {"accuracy": 100 - 100 * sum(map(abs, errors)) / demand,
                    "bias": 100 * sum(errors) / demand}  # fmt: skip
        assert value == pytest.approx(expected[kpi])


def test_the_trend_is_as_long_as_asked_for_and_empty_without_scores(closed_months: Any) -> None:
    asked = _asked("accuracy")
    short = kpi_trend(
        OCTOBER, settings=asked, scores=closed_months.scores, months=5,
        enrolment_scores=empty(EnrolmentScores),
        site_activation=closed_months.site_activation.clear(),
    )  # fmt: skip
    assert short["closed"].to_list() == month_range(date(2026, 6, 1), 5)
    nothing = kpi_trend(
        OCTOBER, settings=asked, scores=empty(Scores), enrolment_scores=empty(EnrolmentScores),
        site_activation=closed_months.site_activation.clear(),
    )  # fmt: skip
    assert nothing.is_empty()
    assert nothing.columns == ["kpi", "closed", "value"]


def test_the_order_of_rows_changes_nothing(closed_months: Any) -> None:
    asked = _asked(*KPIS[:5])
    mixed = closed_months._replace(
        scores=closed_months.scores.sample(fraction=1.0, shuffle=True, seed=5),
        enrolment_scores=closed_months.enrolment_scores.sample(fraction=1.0, shuffle=True, seed=6),
    )
    assert _kpis(mixed, asked).equals(_kpis(closed_months, asked))
    assert _trend(mixed, asked).equals(_trend(closed_months, asked))


def test_later_months_change_nothing(closed_months: Any) -> None:
    august, asked = date(2026, 8, 1), _asked(*KPIS[:5])
    until = closed_months._replace(
        scores=closed_months.scores.filter(pl.col("ds") <= august),
        enrolment_scores=closed_months.enrolment_scores.filter(pl.col("ds") <= august),
    )
    assert _kpis(until, asked, august).equals(_kpis(closed_months, asked, august))
