"""The loss of open lines at a past cut-off: by plain loops, by hand, and never looking ahead."""

from __future__ import annotations

import math
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.book import landmarks
from sopforecast.clinical.conversion import fit_conversion
from sopforecast.clinical.conversion_lines import PLACE, SHARED
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.landmark_loss import PROCEDURES, conversion_loss
from sopforecast.core import learning_tables
from sopforecast.core.clinical_tables import TIERS
from sopforecast.core.months import add_months, months_between

CYCLE = date(2026, 9, 1)
LATER = date(2026, 12, 1)
CHANCE, SCALE = (0.75, 0.5, 0.15), (2.0, 3.0, 5.0)
BLANK = ("site", "cohort", "unique_id", "expected_ds", "lost_reason", "account", "owner",
         "converted_ds", "converted_quantity", "probability_low", "probability_high")  # fmt: skip


def _version(line, tier, known, **more):
    return dict.fromkeys(BLANK) | {
        "line_id": line, "study": "NOVA", "tier": tier, "quantity": 1.0, "outcome": "open",
        "known_at": datetime(known.year, known.month, known.day),
    } | more  # fmt: skip


def _book(rows, cycle) -> ClinicalInputs:
    """Versions known by the 15th of the cycle."""
    last = cycle.replace(day=15)
    known = [row for row in rows if row["known_at"].date() <= last]
    types = dict.fromkeys(BLANK, pl.String) | {
        "converted_ds": pl.Date, "expected_ds": pl.Date, "converted_quantity": pl.Float64,
        "probability_low": pl.Float64, "probability_high": pl.Float64,
        "known_at": pl.Datetime("us"), "line_id": pl.String, "study": pl.String, "tier": pl.String,
        "outcome": pl.String,
    }  # fmt: skip
    return clinical_inputs(cycle, tier_lines=pl.DataFrame(known, schema_overrides=types))


def _simulated(seed, size=80, *, stated=None):
    """Every version of a book: listed over 20 months, followed to March 2027."""
    rng = np.random.default_rng(seed)
    first, rows = date(2025, 3, 1), []
    for i in range(size):
        tier, begun = int(rng.choice(3)), int(rng.integers(0, 20))
        listed = add_months(first, begun)
        low, high = (None, None) if stated is None else stated[tier]
        more = {"owner": ("ann", "bob")[i % 2], "probability_low": low, "probability_high": high}
        rows.append(_version(f"{i:03d}", TIERS[tier], listed.replace(day=2), **more))
        will = rng.random() < CHANCE[tier]
        delay = int(SCALE[tier] * rng.weibull(1.3)) if will else int(rng.integers(2, 9))
        month = add_months(listed, delay)
        if will:
            end = {"outcome": "converted", "converted_ds": month}
            rows.append(_version(f"{i:03d}", TIERS[tier], month.replace(day=20), **more | end))
        elif rng.random() < 0.6:
            end = {"outcome": "lost"}
            rows.append(_version(f"{i:03d}", TIERS[tier], month.replace(day=20), **more | end))
    return rows


def _plain_chance(then, procedure, line, horizon, *, seed):
    """P(converts in the first months of the cycle | open at its age), draw by draw."""
    fitted = fit_conversion(then, seed=seed, conversion=procedure)
    lines, marks = fitted.lines["study"], landmarks(then)
    row = int(np.flatnonzero(((marks["line_id"] == line) & marks["is_current"]).to_numpy())[0])
    tier, age = int(lines.tier[row]), float(lines.month[row])
    total = 0.0
    for theta in fitted.theta["study"]:
        at = {name: theta[place] for name, place in PLACE.items()}
        logit = theta[tier] + at["own"] * lines.own[row]
        logit += math.exp(at["name_sd"]) * theta[SHARED + int(lines.name[row])]
        if lines.owner[row] >= 0:
            first = SHARED + len(lines.names)
            logit += math.exp(at["owner_sd"]) * theta[first + int(lines.owner[row])]
        p = 1 / (1 + math.exp(-logit))
        scale = math.exp(theta[3 + tier] + at["lead"] * lines.lead[row])

        shape = math.exp(at["shape"])
        not_yet = [math.exp(-(((age + h + 1) / scale) ** shape)) for h in (0, horizon)]
        lost_scale, lost_shape = math.exp(at["loss_scale"]), math.exp(at["loss_shape"])
        declared = 1 / (1 + math.exp(-at["declared"]))
        not_lost = 1 - declared * (1 - math.exp(-(((age + 1) / lost_scale) ** lost_shape)))
        stays = {}
        for kind, is_will in (("will", 1), ("never", 0)):
            stays[kind] = 1.0
            for k, way in enumerate(("up", "down")):
                rate = math.exp(at[way] + is_will * at[f"{way}_ratio"])
                stays[kind] *= math.exp(-rate * lines.stay[row, k])
        now = p * (not_yet[0] - not_yet[1]) * stays["will"]
        is_open = p * not_yet[0] * stays["will"] + (1 - p) * not_lost * stays["never"]
        total += now / is_open
    return total / len(fitted.theta["study"])


@pytest.mark.parametrize("month", [date(2026, 9, 1), date(2026, 11, 1)])
def test_every_line_by_plain_loops(month):
    rows = _simulated(3, 30)
    rows.append(_version("up", "pipeline", date(2026, 3, 1)))  # one that moved up
    rows.append(_version("up", "highly_probable", date(2026, 6, 1)))
    then, now = _book(rows, CYCLE), _book(rows, LATER)
    marks = landmarks(then).filter("is_current")
    ended = {
        row["line_id"]
        for row in rows
        if row["outcome"] == "converted" and row["converted_ds"] <= month
    }
    horizon = months_between(CYCLE, month) + 1
    want = []
    for procedure in PROCEDURES:
        loss = 0.0
        for line in marks["line_id"]:
            p = _plain_chance(then, procedure, line, horizon, seed=5)
            assert 0.0 < p < 1.0
            loss += (p - (line in ended)) ** 2
        want.append(loss)
    cold, other, cells = conversion_loss(then, now, month=month, seed=5)
    assert cells == marks.height > 5
    assert (cold, other) == pytest.approx(tuple(want), rel=1e-9)
    assert cold != other


def test_the_procedures_are_those_that_the_gate_compares():
    assert learning_tables.PROCEDURES["conversion"] == PROCEDURES


def test_without_a_record_both_know_the_same():
    rows = [_version(f"{k}", TIERS[k % 3], date(2026, 6 + k % 3, 1)) for k in range(9)]
    rows.append(_version("0", TIERS[0], date(2026, 10, 3), outcome="converted",
                         converted_ds=date(2026, 9, 1)))  # fmt: skip
    cold, other, cells = conversion_loss(
        _book(rows, CYCLE), _book(rows, LATER), month=CYCLE, seed=1
    )
    assert cold == other > 0.0
    assert cells == 9


def test_a_long_record_beats_statements_that_are_far_too_high():
    wrong = ((0.9, 0.98), (0.85, 0.95), (0.8, 0.95))
    gains, cells = [], 0
    for seed in range(8):
        rows = _simulated(seed, 150, stated=wrong)
        then, now = _book(rows, CYCLE), _book(rows, LATER)
        cold, other, lines = conversion_loss(then, now, month=date(2026, 11, 1), seed=1)
        assert 0.0 <= cold <= lines
        assert 0.0 <= other <= lines
        gains.append(other - cold)
        cells += lines
    assert cells > 200
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / np.sqrt(len(gains))


def test_statements_beat_a_record_that_misleads():
    """Twelve lines of the past all failed; those open now are stated at nine in ten, and come."""
    rows, stated = [], {"probability_low": 0.9, "probability_high": 0.97}
    for k in range(12):
        rows.append(_version(f"old {k}", "committed", date(2025, 6, 1), **stated))
        rows.append(_version(f"old {k}", "committed", date(2025, 8, 1), **stated, outcome="lost"))
    for k in range(5):
        rows.append(_version(f"new {k}", "committed", date(2026, 8, 1), **stated))
        rows.append(_version(f"new {k}", "committed", date(2026, 11, 20), **stated,
                             outcome="converted", converted_ds=date(2026, 10, 1)))  # fmt: skip
    cold, other, cells = conversion_loss(
        _book(rows, CYCLE), _book(rows, LATER), month=date(2026, 11, 1), seed=1
    )
    assert cells == 5
    assert other < cold


def test_what_comes_after_the_month_changes_nothing():
    """Conversions of November, told in November, and all that the next months brought."""
    rows, month = _simulated(11, 60), date(2026, 10, 1)
    then, now = _book(rows, CYCLE), _book(rows, date(2026, 11, 1))
    found = conversion_loss(then, now, month=month, seed=2)
    still_open = landmarks(now).filter("is_current")["line_id"]
    end = {"outcome": "converted", "converted_ds": date(2026, 11, 1)}
    more = [_version(line, "pipeline", date(2026, 11, 16), **end) for line in still_open]
    assert len(more) > 3
    assert conversion_loss(then, _book([*rows, *more], LATER), month=month, seed=2) == found
    assert conversion_loss(then, _book(rows, date(2027, 3, 1)), month=month, seed=2) == found


def test_what_was_not_known_at_the_cut_off_is_not_used():
    """Versions that came later, of lines of then and of others, reach `now` only."""
    rows = _simulated(12, 60)
    then = _book(rows, CYCLE)
    more = [_version(f"late {k}", "committed", date(2026, 9, 20)) for k in range(30)]
    one = conversion_loss(then, _book(rows, LATER), month=CYCLE, seed=2)
    assert conversion_loss(then, _book(rows + more, LATER), month=CYCLE, seed=2) == one


def test_a_line_taken_back_is_left_out():
    rows = _simulated(13, 40)
    then, now = _book(rows, CYCLE), _book(rows, LATER)
    line = landmarks(then).filter("is_current")["line_id"][0]
    fewer = _book([row for row in rows if row["line_id"] != line], LATER)
    whole = conversion_loss(then, now, month=CYCLE, seed=2)
    rest = conversion_loss(then, fewer, month=CYCLE, seed=2)
    assert rest[2] == whole[2] - 1
    for k in (0, 1):
        assert 0.0 < whole[k] - rest[k] < 1.0


def test_a_conversion_dated_back_counts():
    rows = [_version("a", "committed", date(2026, 6, 1)),
            _version("b", "committed", date(2026, 6, 1))]  # fmt: skip
    told = _version("a", "committed", date(2026, 10, 1), outcome="converted",
                    converted_ds=date(2026, 8, 1))  # fmt: skip
    then = _book(rows, CYCLE)
    none = conversion_loss(then, _book(rows, LATER), month=CYCLE, seed=2)
    one = conversion_loss(then, _book([*rows, told], LATER), month=CYCLE, seed=2)
    p = math.sqrt(none[0] / 2)  # both lines have the same chance
    assert one[0] == pytest.approx(p**2 + (1 - p) ** 2)


def test_account_lines_are_judged_too():
    rows = [
        row | {"study": None, "account": "ACME", "unique_id": "PUMP"} for row in _simulated(14, 40)
    ]
    studies = [row | {"line_id": "s" + row["line_id"]} for row in _simulated(15, 40)]
    month = date(2026, 10, 1)
    apart = [
        conversion_loss(_book(part, CYCLE), _book(part, LATER), month=month, seed=2)
        for part in (rows, studies)
    ]
    both = conversion_loss(
        _book(rows + studies, CYCLE), _book(rows + studies, LATER), month=month, seed=2
    )
    assert both == pytest.approx(tuple(sum(pair) for pair in zip(*apart, strict=True)))


def test_no_open_line_is_no_contest():
    rows = [_version("a", "committed", date(2026, 3, 1)),
            _version("a", "committed", date(2026, 6, 1), outcome="lost")]  # fmt: skip
    assert conversion_loss(_book(rows, CYCLE), _book(rows, LATER), month=CYCLE, seed=1) is None
    nothing = clinical_inputs(CYCLE), clinical_inputs(LATER)
    assert conversion_loss(*nothing, month=CYCLE, seed=1) is None


@pytest.mark.parametrize("month", [date(2026, 8, 1), LATER])
def test_a_month_outside_is_refused(month):
    with pytest.raises(ValueError, match="allowed: from 2026-09-01"):
        conversion_loss(clinical_inputs(CYCLE), clinical_inputs(LATER), month=month, seed=1)


def test_same_seed_same_numbers(trial_tables):
    """Of the demo's trial, as known at two cut-offs."""

    def at(cycle):
        moment = datetime(cycle.year, cycle.month, 15)
        lines = trial_tables["tier_lines"].filter(pl.col("known_at") <= moment)
        return clinical_inputs(cycle, **(trial_tables | {"tier_lines": lines}))

    one, again, other = (
        conversion_loss(at(CYCLE), at(LATER), month=date(2026, 10, 1), seed=seed)
        for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other
