"""Conversions of open lines: against rejection sampling, exact chances, and what accounts ask."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.conversion import fit_conversion, rebuild_conversion
from sopforecast.clinical.conversion_model import laws
from sopforecast.clinical.counts import mixture
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.paths import NEVER
from sopforecast.clinical.tier_paths import account_demand, month_chances, sample_lines
from sopforecast.core.months import add_months

CYCLE, PATHS, HORIZON = date(2026, 12, 1), 4000, 12


def line(i, tier, begun, *, scope="study", end=None, outcome="converted", **more):
    """Versions of a line listed ``begun`` months before the cycle, which ends ``end`` later."""
    listed = add_months(CYCLE, -begun)
    open_ = {
        "line_id": f"L{i:03d}", scope: f"N{i % 2}", "tier": tier, "quantity": 1.0, "owner": "ann",
        "outcome": "open", "converted_ds": None, "converted_quantity": None,
        "unique_id": f"P{i % 2}" if scope == "account" else None,
        "known_at": datetime(listed.year, listed.month, 2), **more,
    }  # fmt: skip
    if end is None:
        return [open_]
    month = add_months(listed, end)
    done = {
        "outcome": outcome, "converted_ds": month if outcome == "converted" else None,
        "converted_quantity": 0.8 * open_["quantity"] if outcome == "converted" else None,
        "known_at": datetime(month.year, month.month, 20),
    }  # fmt: skip
    return [open_, {**open_, **done}]


def inputs_of(rows):
    schema = {
        "study": pl.String, "account": pl.String, "unique_id": pl.String,
        "converted_ds": pl.Date, "converted_quantity": pl.Float64, "known_at": pl.Datetime("us"),
    }  # fmt: skip
    blank = {
        name: pl.lit(None)
        for name in ("site", "cohort", "expected_ds", "probability_low", "probability_high",
                     "lost_reason", "study", "account", "unique_id")
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    blank = {name: value for name, value in blank.items() if name not in frame.columns}
    return clinical_inputs(CYCLE, tier_lines=frame.with_columns(**blank))


@pytest.fixture(scope="module")
def inputs():
    tiers = ("committed", "highly_probable", "pipeline")
    rows = []
    for i in range(60):
        end = None if i % 2 else (i * 7) % 5
        outcome = "lost" if i % 6 == 0 else "converted"
        more = {"scope": "account", "quantity": 100.0} if i >= 40 else {}
        rows += line(i, tiers[i % 3], 6 + i % 5, end=end, outcome=outcome, **more)
    return inputs_of([*rows, *line(90, "pipeline", 0), *line(91, "committed", 30)])


@pytest.fixture(scope="module")
def conversion(inputs):
    return fit_conversion(inputs, seed=1)


@pytest.fixture(scope="module")
def lines(conversion, inputs):
    return sample_lines(conversion, inputs, paths=PATHS, horizon=HORIZON, seed=5)


def test_only_open_lines_and_none_before_the_cycle(lines):
    assert lines.frame.height == 32
    assert lines.month.dtype == np.int16
    assert lines.month.shape == lines.amount.shape == (PATHS, 32)
    assert lines.month.min() >= 0
    assert (lines.month == NEVER).any()


def test_shares_by_month_are_the_exact_chances(lines, conversion, inputs):
    exact = month_chances(conversion, inputs, horizon=HORIZON)
    for k in range(lines.frame.height):
        share = np.bincount(lines.month[:, k], minlength=HORIZON)[:HORIZON] / PATHS
        assert share == pytest.approx(exact[:, k].mean(axis=0), abs=0.03)


def test_counts_of_paths_are_the_exact_counts(lines, conversion, inputs):
    """Lines share the parameters of a path: their counts spread as the mixture says."""
    studies = lines.frame["study"].is_not_null().to_numpy()
    exact = mixture(month_chances(conversion, inputs, horizon=6).sum(axis=2)[:, studies])
    drawn = (lines.month[:, studies] < 6).sum(axis=1)
    found = np.bincount(drawn, minlength=len(exact)) / PATHS
    assert np.abs(np.cumsum(found) - np.cumsum(exact)).max() < 0.035


@pytest.mark.parametrize("name", ["L001", "L005", "L091"])
def test_against_rejection_sampling(name, lines, conversion, inputs):
    """Draw lines from their landmark on and throw away those that are not open at their age."""
    column = lines.frame["line_id"].to_list().index(name)
    book, theta = conversion.lines["study"], conversion.theta["study"]
    age = -1 - lines.frame["begun"][column]
    rows = np.flatnonzero((book.month == age) & (book.outcome == 0))
    tier = ("committed", "highly_probable", "pipeline").index(lines.frame["tier"][column])
    place = book.names.index(lines.frame["study"][column])
    row = next(r for r in rows if book.tier[r] == tier and book.name[r] == place)
    law = laws(book, theta, np.array([row]))
    rng = np.random.default_rng(1)
    size = (len(theta), 6000)
    converts = rng.random(size) < law.chance
    delay = np.floor(np.exp(law.log_scale) * rng.weibull(np.broadcast_to(law.shape, size)))
    shape = np.broadcast_to(law.loss_shape, size)
    loss = np.floor(np.exp(law.loss_log_scale) * rng.weibull(shape))
    declared = rng.random(size) < law.declared
    gone = (converts & (delay <= age)) | (~converts & declared & (loss <= age))
    month = np.where(converts, delay - age - 1, NEVER)
    # Parameter draws count alike, however many of their lines are still open.
    kept = ~gone
    for at in (1, 3, HORIZON):
        share = [(month[r][kept[r]] < at).mean() for r in range(len(theta)) if kept[r].any()]
        assert (lines.month[:, column] < at).mean() == pytest.approx(np.mean(share), abs=0.035)


def test_amounts_are_patients_or_units_of_what_converts(lines, conversion):
    studies = lines.frame["study"].is_not_null().to_numpy()
    assert (lines.amount[:, studies] == 1).all()
    units = lines.amount[:, ~studies]
    assert (units == np.rint(units)).all()
    ratio = np.exp(conversion.ratio[:, 0] + conversion.ratio[:, 1] ** 2 / 2).mean()
    assert units.mean() == pytest.approx(100 * ratio, rel=0.02)
    assert 80 < units.mean() < 95  # eight of ten units came, ten lines said so


def test_account_demand_is_the_sum_of_what_converts(lines, inputs):
    items, draws = account_demand(lines, inputs, paths=PATHS, horizon=HORIZON)
    assert items == ("P0", "P1")
    assert draws.shape == (PATHS, 2, HORIZON)
    mine = (lines.frame["unique_id"] == "P1").fill_null(False).to_numpy()
    by_hand = np.where(lines.month[:, mine] == 3, lines.amount[:, mine], 0).sum(axis=1)
    assert draws[:, 1, 3] == pytest.approx(by_hand)
    assert not draws[:, 0].any()  # every line of P0 is closed
    with pytest.raises(ValueError, match="paths"):
        account_demand(lines, inputs, paths=10, horizon=HORIZON)


def test_a_line_draws_the_same_whoever_stands_beside_it(conversion, inputs, lines):
    again = sample_lines(conversion, inputs, paths=PATHS, horizon=HORIZON, seed=5)
    assert again.month.tobytes() == lines.month.tobytes()
    assert again.amount.tobytes() == lines.amount.tobytes()
    other = sample_lines(conversion, inputs, paths=PATHS, horizon=HORIZON, seed=6)
    assert other.month.tobytes() != lines.month.tobytes()
    longer = sample_lines(conversion, inputs, paths=PATHS, horizon=24, seed=5)
    assert longer.month.tobytes() == lines.month.tobytes()


def test_a_rebuilt_conversion_gives_the_same_bytes(conversion, inputs, lines):
    again = rebuild_conversion(conversion.parameters(), inputs)
    found = sample_lines(again, inputs, paths=PATHS, horizon=HORIZON, seed=5)
    assert found.month.tobytes() == lines.month.tobytes()
    assert found.amount.tobytes() == lines.amount.tobytes()


def test_a_book_without_lines():
    nothing = clinical_inputs(CYCLE)
    found = sample_lines(fit_conversion(nothing, seed=1), nothing, paths=8, horizon=3, seed=1)
    assert found.month.shape == (8, 0)
    items, draws = account_demand(found, nothing, paths=8, horizon=3)
    assert items == ()
    assert draws.shape == (8, 0, 3)
