"""What tiers convert at, by hand from the draws; disagreements in words."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.conversion import fit_conversion
from sopforecast.clinical.conversion_model import laws
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.tiers import disagreements, tier_frame
from sopforecast.core.clinical_tables import TierConversion

CYCLE = date(2026, 12, 1)


def line(name, tier, known, outcome="open", **more):
    return {
        "line_id": name, "study": "ABC", "site": "S1", "tier": tier, "quantity": 1.0,
        "owner": "ann", "outcome": outcome, "converted_ds": None, "converted_quantity": None,
        "expected_ds": None, "known_at": datetime(*known), "account": None, **more,
    }  # fmt: skip


def inputs_of(rows, **tables):
    schema = {
        "converted_ds": pl.Date, "expected_ds": pl.Date, "account": pl.String, "study": pl.String,
        "converted_quantity": pl.Float64, "site": pl.String, "known_at": pl.Datetime("us"),
        "owner": pl.String,
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    names = ("cohort", "unique_id", "probability_low", "probability_high", "lost_reason")
    blank = {name: pl.lit(None) for name in names if name not in frame.columns}
    return clinical_inputs(CYCLE, tier_lines=frame.with_columns(**blank), **tables)


@pytest.fixture(scope="module")
def book():
    done = {"outcome": "converted", "converted_ds": date(2026, 9, 1)}
    rows = [
        line("A", "pipeline", (2026, 5, 1)),
        line("A", "committed", (2026, 7, 1)),
        line("A", "committed", (2026, 10, 2), **done),
        line("B", "committed", (2026, 5, 1), owner="bob"),
        line("C", "committed", (2026, 5, 1), owner=None, study="XYZ"),
        line("C", "committed", (2026, 8, 1), "lost", owner=None, study="XYZ"),
        line("D", "committed", (2026, 5, 1)),
        line("D", "committed", (2026, 6, 1), expected_ds=CYCLE),
    ]
    return inputs_of(rows)


@pytest.fixture(scope="module")
def conversion(book):
    return fit_conversion(book, seed=1)


def test_rows_are_of_the_schema_with_each_line_counted_once(book, conversion):
    found = tier_frame(conversion, book)
    TierConversion.validate(found.with_columns(run_id=pl.lit("r")), cast=True)
    assert found.columns == [n for n in TierConversion.column_names() if n != "run_id"]
    keys = found.select("name", "owner").unique(maintain_order=True).rows()
    assert sorted(keys) == [("*", "*"), ("*", "ann"), ("*", "bob"), ("ABC", "*"), ("XYZ", "*")]
    counts = ("lines", "open_lines", "converted", "lost")
    by = {(r["name"], r["owner"], r["tier"]): r for r in found.iter_rows(named=True)}
    assert [by["*", "*", "committed"][c] for c in counts] == [4, 2, 1, 1]
    assert [by["*", "*", "pipeline"][c] for c in counts] == [1, 0, 1, 0]
    assert [by["*", "*", "highly_probable"][c] for c in counts] == [0, 0, 0, 0]
    assert [by["*", "ann", "committed"][c] for c in counts] == [2, 1, 1, 0]
    assert [by["XYZ", "*", "committed"][c] for c in counts] == [1, 0, 0, 1]
    assert set(found["method"].cast(pl.String)) == {"laplace"}


def test_chances_are_those_of_the_lines(book, conversion):
    row = tier_frame(conversion, book).row(
        by_predicate=(pl.col("name") == "*") & (pl.col("owner") == "*")
        & (pl.col("tier").cast(pl.String) == "committed"),
        named=True,
    )  # fmt: skip
    lines, theta = conversion.lines["study"], conversion.theta["study"]
    law = laws(lines, theta)
    here = np.flatnonzero(lines.tier == 0)
    # A, B, C and the two spells of D, which count half each
    assert lines.weight[here].tolist() == [1, 1, 1, 0.5, 0.5]
    draws = (law.chance[:, here] * np.array([1, 1, 1, 0.5, 0.5])).sum(axis=1) / 4
    assert row["mean"] == pytest.approx(draws.mean())
    assert [row[q] for q in ("p05", "p50", "p95")] == pytest.approx(
        np.quantile(draws, [0.05, 0.5, 0.95]).tolist()
    )


def test_delays_are_the_median_of_those_that_convert(book, conversion):
    """The continuous Weibull's median, less the half month that whole months lose."""
    row = tier_frame(conversion, book).row(
        by_predicate=(pl.col("name") == "*") & (pl.col("owner") == "*")
        & (pl.col("tier").cast(pl.String) == "highly_probable"),
        named=True,
    )  # fmt: skip
    theta = conversion.theta["study"]
    rng = np.random.default_rng(1)
    medians = [
        np.median(np.exp(one[4]) * rng.weibull(np.exp(one[6]), 20_000)) for one in theta[:200]
    ]
    assert row["delay_months"] == pytest.approx(np.mean(medians) - 0.5, rel=0.1)
    nobody = 1 / (1 + np.exp(-theta[:, 1]))
    assert row["mean"] == pytest.approx(nobody.mean())


def test_no_lines_no_rows():
    nothing = clinical_inputs(CYCLE)
    assert tier_frame(fit_conversion(nothing, seed=1), nothing).is_empty()
    assert disagreements(nothing) == ()


def enrolment(*rows):
    return pl.DataFrame(
        [
            {"study": "ABC", "site": site, "cohort": cohort, "ds": ds, "enrolled": enrolled}
            for site, cohort, ds, enrolled in rows
        ],
        schema_overrides={"enrolled": pl.Float64},
    ).with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name)
        for name in ("screened", "screen_failed", "dropped_out", "completed")
    )


def sites(*names):
    blank = ("country", "planned_activation_date", "activated_date", "closed_date", "owner",
             "slip_days_low", "slip_days_high", "activation_probability", "planned_rate",
             "capacity", "status")  # fmt: skip
    return pl.DataFrame({"study": ["ABC"] * len(names), "site": list(names)}).with_columns(
        **{name: pl.lit(None) for name in blank}
    )


def test_more_marked_converted_than_enrolled_is_said():
    month = date(2026, 10, 1)
    done = {"outcome": "converted", "converted_ds": month}
    rows = [line(f"A{i}", "committed", (2026, 11, 1), **done) for i in range(3)]
    inputs = inputs_of(
        rows, sites=sites("S1"), enrolment=enrolment(("S1", "a", month, 1), ("S1", "b", month, 0))
    )
    assert disagreements(inputs) == (
        "Study ABC at site S1, October 2026: 3 patients in tiers are marked converted, "
        "but enrolment reports 1 enrolled; check the month and the counts.",
    )


@pytest.mark.parametrize("enrolled", [3.0, 5.0, None])
def test_as_many_enrolled_or_not_reported_is_no_disagreement(enrolled):
    month = date(2026, 10, 1)
    done = {"outcome": "converted", "converted_ds": month}
    rows = [line(f"A{i}", "committed", (2026, 11, 1), **done) for i in range(3)]
    found = disagreements(
        inputs_of(rows, sites=sites("S1"), enrolment=enrolment(("S1", "all", month, enrolled)))
    )
    assert found == ()


def test_lines_without_a_site_are_held_against_the_whole_study():
    month = date(2026, 10, 1)
    done = {"outcome": "converted", "converted_ds": month}
    rows = [
        line("A", "committed", (2026, 11, 1), **done),
        line("B", "committed", (2026, 11, 1), site=None, quantity=2.0, **done),
    ]
    counted = enrolment(("S1", "all", month, 1), ("S2", "all", month, 1))
    found = disagreements(inputs_of(rows, sites=sites("S1", "S2"), enrolment=counted))
    assert found == (
        "Study ABC, October 2026: 3 patients in tiers are marked converted, "
        "but enrolment reports 2 enrolled; check the month and the counts.",
    )


def test_committed_patients_long_past_their_month_are_said():
    rows = [
        line(f"A{i}", "committed", (2026, 5, 1), expected_ds=date(2026, 5 + i, 1)) for i in range(4)
    ]
    rows.append(line("B", "committed", (2026, 5, 1), expected_ds=date(2026, 9, 1)))
    rows.append(line("C", "pipeline", (2026, 5, 1), expected_ds=date(2026, 5, 1)))
    assert disagreements(inputs_of(rows, sites=sites("S1"))) == (
        "Study ABC: 4 committed patients are still open though expected by August 2026 or earlier "
        "(A0, A1, A2 and 1 more); mark them converted or lost, or move the month.",
    )


def test_a_study_without_sites_is_said():
    rows = [line("A", "pipeline", (2026, 5, 1)), line("B", "pipeline", (2026, 5, 1))]
    assert disagreements(inputs_of(rows)) == (
        "Study ABC: 2 patients in tiers, but the study has no site in sites; "
        "they are not in its forecast until it has one.",
    )


def test_far_more_listed_than_ever_enrolled_is_said():
    """60 open patients at a site that enrolled 3 in the year; 6 at another are no news."""
    from datetime import datetime

    lines = pl.DataFrame(
        {
            "line_id": ["BIG", "SMALL"], "study": ["A", "A"], "site": ["S1", "S2"],
            "tier": ["committed", "pipeline"], "quantity": [60.0, 6.0], "outcome": ["open", "open"],
            "known_at": [datetime(2026, 11, 2)] * 2,
        }
    )  # fmt: skip
    counts = pl.DataFrame(
        {"study": ["A"], "site": ["S1"], "cohort": ["all"], "ds": [date(2026, 10, 1)],
         "enrolled": [3.0]}
    )  # fmt: skip
    sites = pl.DataFrame({"study": ["A", "A"], "site": ["S1", "S2"]})
    inputs = clinical_inputs(date(2026, 11, 1), tier_lines=lines, enrolment=counts, sites=sites)
    said = [one for one in disagreements(inputs) if "listed at site" in one]
    assert len(said) == 1
    assert said[0].startswith("Study A: 60 open patients listed at site S1, which enrolled 3 ")
