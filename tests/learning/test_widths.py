"""Widths learned from months whose truth is known: right ones stay, wrong ones come right."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.learning_tables import LearnedWidths
from sopforecast.core.months import add_months
from sopforecast.learning.widths import FACTORS, learn_widths

Z90 = 1.2815515655446004  # of the normal
START = date(2023, 1, 1)
LEADS = (1, 2, 3, 6, 9, 12)
SHARE = 0.3


def world(
    seed, months, *, common=1.0, own=1.0, families=5, items=40, applied=(1.0, 1.0),
    of_lead=1.0, applied_lead=1.0,
):  # fmt: skip
    """Cells of a company whose errors share shocks of the month, forecast with normal ranges.

    ``common`` and ``own`` are the true widths over those of factor 1, ``of_lead`` (all leads, or
    one each) multiplies them; ``applied`` and ``applied_lead`` are the factors with which the runs
    were made. An item's variance is SHARE common; sums are all common.
    """
    applied = np.multiply.outer(np.array(applied), np.broadcast_to(applied_lead, len(LEADS)))
    rng = np.random.default_rng(seed)
    shape = (months, families, len(LEADS))
    parts = [0.3, 0.3, 0.4]  # of a month, of a family and month, of a lead too
    wide = [(months, 1, 1), (months, families, 1), shape]
    shared = sum(np.sqrt(p) * rng.standard_normal(s) for p, s in zip(parts, wide, strict=True))
    mean = shared.mean(axis=1) / np.sqrt(0.3 + 0.7 / families)
    total = np.sqrt(0.5) * (mean + rng.standard_normal(mean.shape))
    frames = [
        frame("total", "*", "total", common * of_lead * total, applied[0], "sum"),
        *(
            frame("family", "*", f"family={f}", common * of_lead * shared[:, f], applied[0], "sum")
            for f in range(families)
        ),
    ]
    of_item = np.sqrt(SHARE * applied[0] ** 2 + (1 - SHARE) * applied[1] ** 2)
    for i in range(items):
        lone = np.sqrt(0.5) * rng.standard_normal((months, 1))
        lone = lone + np.sqrt(0.5) * rng.standard_normal((months, len(LEADS)))
        error = np.sqrt(SHARE) * common * shared[:, i % families] + np.sqrt(1 - SHARE) * own * lone
        segment = ("smooth", "seasonal")[i % 2]
        part = frame("item", segment, f"i{i:02d}", of_lead * error, of_item, "paths")
        frames.append(part.with_columns(factor=pl.Series(np.tile(applied[1], months))))
    return pl.concat(frames)


def frame(level, segment, name, error, width, kind):
    """Cells of one node from errors (months, leads) and the width of its range, of all or each."""
    months, leads = error.shape
    width = np.tile(np.broadcast_to(np.asarray(width, dtype=float), leads), months)
    ds = [add_months(START, m) for m in range(months) for _ in range(leads)]
    lead = list(LEADS[:leads]) * months
    return pl.DataFrame(
        {
            "ds": ds,
            "cycle": [add_months(d, 1 - h) for d, h in zip(ds, lead, strict=True)],
            "lead": lead,
            "level": level,
            "segment": segment,
            "unique_id": name,
            "y": 100.0 + 10.0 * error.ravel(),
            "p10": 100.0 - 10.0 * Z90 * width,
            "p50": 100.0,
            "p90": 100.0 + 10.0 * Z90 * width,
            "factor": width,
            "kind": kind,
        }
    )


SHARES = pl.DataFrame({"segment": ["smooth", "seasonal"], "common_share": [SHARE, SHARE]})


def factors(table):
    checked = LearnedWidths.validate(table.with_columns(fit_id=pl.lit("f")))
    return dict(checked.select("part", "factor").iter_rows())


def parts(table, prefix=("common", "own:")):
    """Rows of some parts, in order."""
    return table.filter(pl.any_horizontal(pl.col("part").str.starts_with(p) for p in prefix))


def on_lead(learned, lead):
    """The factor of one month ahead, of learned parts."""
    for part, factor in learned.items():
        if part.startswith("lead:"):
            first, last = part.removeprefix("lead:").split("-")
            if int(first) <= lead <= int(last):
                return factor
    raise AssertionError(f"no part has lead {lead}")


def coverage(true, factor):
    """Share of normal errors inside P10-P90 after the factor, exact."""
    from scipy.stats import norm

    return 2 * norm.cdf(Z90 * np.asarray(factor) / true) - 1


def of_items(learned, part):
    return np.sqrt(SHARE * learned["common"] ** 2 + (1 - SHARE) * learned[part] ** 2)


@pytest.mark.parametrize("true", [0.7, 1.0, 1.4])
def test_after_24_months_eight_of_ten_are_inside_whatever_the_true_width(true):
    runs = [
        factors(learn_widths(world(seed, 24, common=true, own=true), SHARES)) for seed in range(12)
    ]
    sums = coverage(true, [run["common"] for run in runs])
    items = coverage(true, [of_items(run, "own:smooth") for run in runs])
    assert 0.77 <= sums.mean() <= 0.83
    assert 0.77 <= items.mean() <= 0.83
    assert (np.abs(items - 0.80) < 0.05).all()
    if true == 1.0:
        assert np.std([run["common"] for run in runs]) < 0.12
        assert np.mean([run["common"] for run in runs]) == pytest.approx(1.0, abs=0.05)


def test_what_is_learned_holds_in_months_that_did_not_teach():
    """Trained on the first 24 months, judged on the cells of 12 others."""
    inside = []
    for seed in range(6):
        cells = world(seed, 36, common=1.4, own=1.4)
        closed = add_months(START, 23)
        run = factors(learn_widths(cells, SHARES, closed=closed))
        later = cells.filter(pl.col("ds") > closed, pl.col("level") == "item")
        reach = 10.0 * Z90 * of_items(run, "own:seasonal")
        inside.append((later["y"] - 100.0).abs().le(reach).mean())
    assert 0.77 <= np.mean(inside) <= 0.83


def test_later_cells_change_no_byte():
    cells = world(3, 20)
    closed = add_months(START, 11)
    known = learn_widths(cells.filter(pl.col("ds") <= closed), SHARES)
    spoilt = cells.with_columns(
        y=pl.when(pl.col("ds") > closed).then(pl.col("y") * 50 + 7).otherwise("y")
    )
    assert learn_widths(spoilt, SHARES, closed=closed).equals(known)
    assert not learn_widths(spoilt, SHARES).equals(known)


def test_parts_are_told_apart():
    """Only the own part is too narrow: the common factor stays near 1."""
    runs = [factors(learn_widths(world(seed, 24, own=1.5), SHARES)) for seed in range(8)]
    assert np.mean([r["common"] for r in runs]) == pytest.approx(1.0, abs=0.06)
    assert np.mean([r["own:smooth"] for r in runs]) == pytest.approx(1.5, abs=0.1)


def test_the_factor_already_applied_is_taken_into_account():
    """Runs made with factors of 1.4, which were right: they stay, they are not applied again."""
    plain = learn_widths(world(1, 24, common=1.4, own=1.4), SHARES)
    after = learn_widths(world(1, 24, common=1.4, own=1.4, applied=(1.4, 1.4)), SHARES)
    assert after["ratio"].to_list() == pytest.approx(plain["ratio"].to_list())
    # Other factors for both parts: the item's whole width was between the two.
    mixed = learn_widths(world(1, 24, common=1.4, own=1.4, applied=(0.8, 1.3)), SHARES)
    assert mixed["factor"].to_list() == pytest.approx(plain["factor"].to_list())


def test_shrinkage_worked_by_hand():
    """One sum and one item, one lead, every error at 1.5 times the half-width."""
    error = np.full((6, 1), 1.5 * Z90)
    table = pl.concat(
        [
            frame("total", "*", "total", error, 1.0, "sum"),
            frame("item", "smooth", "A", error, 1.0, "paths"),
        ]
    )
    found = factors(learn_widths(table, SHARES))
    weight = 0.5 ** (np.arange(6) / 24)
    months = weight.sum() ** 2 / (weight**2).sum()
    drawn = 1.5 ** (months / (months + 3))
    assert found["common"] == pytest.approx(drawn, rel=1e-12)
    assert found["own:smooth"] == pytest.approx(drawn, rel=1e-12)  # t = c gives own = t
    one = factors(learn_widths(table.filter(pl.col("ds") == START), SHARES))
    assert one["common"] == pytest.approx(1.5**0.25, rel=1e-12)


def test_lead_factors_worked_by_hand():
    """Two sums over 10 months: lead 1 at 1.2 times the half-width, leads 2 and 3 at 0.6.

    Of all, in order of ratio, 2 of 3 are at 0.6, then those of 1.2. The 80% quantile lies behind
    the middle of the last cell of 0.6 and before that of the first cell of 1.2 only if between
    2/3 -+ 1/60: it does not, so it is 1.2.
    """
    error = np.tile(Z90 * np.array([1.2, -0.6, 0.6]), (10, 1))
    table = pl.concat([frame("family", "*", name, error, 1.0, "sum") for name in "ab"])
    found = learn_widths(table, SHARES)
    weight = 0.5 ** (np.arange(10) / 24)
    months = weight.sum() ** 2 / (weight**2).sum()
    drawn = [1.2 ** (months / (months + 3)), 1.0, 0.5 ** (months / (months + 6))]
    assert found["part"].to_list() == ["common", "lead:1-1", "lead:2-3"]
    assert found["ratio"].to_list() == pytest.approx([1.2, 1.0, 0.5], rel=1e-12)
    assert found["factor"].to_list() == pytest.approx(drawn, rel=1e-12)
    assert found.select("months", "cells").rows() == [(10, 60), (10, 20), (10, 40)]
    # Of one month nearly nothing is believed: a seventh, on the log scale.
    one = learn_widths(table.filter(pl.col("ds") == START), SHARES)
    assert one["factor"].to_list() == pytest.approx([1.2**0.25, 1.0, 0.5 ** (1 / 7)], rel=1e-12)


def test_of_leads_every_level_counts_the_same_and_items_count_too():
    """Five items that are twice too wide at lead 3, one total that is right: half and half."""
    right, wide = np.tile([Z90, Z90, Z90], (8, 1)), np.tile([Z90, Z90, Z90 / 2], (8, 1))
    total = frame("total", "*", "total", right, 1.0, "sum")
    items = [frame("item", "smooth", f"i{k}", wide, 1.0, "paths") for k in range(5)]
    third = pl.col("lead") == 3
    found = learn_widths(pl.concat([total, *items]).filter(third), SHARES)
    ratio = dict(found.select("part", "ratio").iter_rows())
    assert ratio == pytest.approx({"common": 1.0, "own:smooth": 0.5, "lead:2-3": 1.0})
    alone = learn_widths(pl.concat(items), SHARES)
    ratio = dict(alone.select("part", "ratio").iter_rows())
    assert ratio == pytest.approx({"own:smooth": 1.0, "lead:1-1": 1.0, "lead:2-3": 1.0})


@pytest.mark.parametrize("true", [0.75, 1.2])
def test_only_leads_that_are_too_wide_or_too_narrow_are_changed(true):
    """Right up to lead 6, wrong at 9 and 12: after 24 months 77-83% are inside at every band."""
    of_lead = np.where(np.array(LEADS) > 6, true, 1.0)
    runs = [factors(learn_widths(world(s, 24, of_lead=of_lead), SHARES)) for s in range(8)]
    inside = {}
    for lead, ratio in zip(LEADS, of_lead, strict=True):
        sums = [run["common"] * on_lead(run, lead) for run in runs]
        items = [of_items(run, "own:smooth") * on_lead(run, lead) for run in runs]
        inside[lead] = (coverage(ratio, sums).mean(), coverage(ratio, items).mean())
    assert all(0.77 <= share <= 0.83 for both in inside.values() for share in both), inside
    # Without factors of leads long ones would stay off.
    left = coverage(true, [run["common"] for run in runs]).mean()
    assert left > 0.85 if true < 1 else left < 0.77
    short = [run["common"] * run["lead:1-1"] for run in runs]
    assert np.mean(short) == pytest.approx(1.0, abs=0.07)


def test_what_runs_have_applied_is_learned_again_and_not_compounded():
    """Cells of runs under learned factors, of all parts, teach the same factors again."""
    true = {"common": 1.3, "own": 0.8, "of_lead": np.where(np.array(LEADS) > 3, 0.7, 1.0)}
    plain = learn_widths(world(4, 24, **true), SHARES)
    learned = factors(plain)
    assert abs(np.log(learned["lead:7-12"])) > 0.1
    again = learned
    for _ in range(3):
        # Both segments with the same own factor, so that every item's width is known.
        applied = (again["common"], again["own:smooth"])
        applied_lead = np.array([on_lead(again, lead) for lead in LEADS])
        cells = world(4, 24, **true, applied=applied, applied_lead=applied_lead)
        again = factors(learn_widths(cells, SHARES))
        assert again == pytest.approx(learned, rel=1e-9)
    # Half of the cycles from a cold start, half under the factors: the same again.
    late = pl.col("cycle") >= add_months(START, 10)
    mixed = pl.concat([world(4, 24, **true).filter(~late), cells.filter(late)])
    assert factors(learn_widths(mixed, SHARES)) == pytest.approx(learned, rel=1e-9)
    # And if the cells did not say what had been applied, it would be undone.
    silent = factors(learn_widths(cells.with_columns(factor=pl.lit(1.0)), SHARES))
    assert abs(np.log(silent["lead:7-12"])) < 0.5 * abs(np.log(learned["lead:7-12"]))


def test_months_ahead_whose_sums_wait_know_the_factors_of_their_cycle():
    """A month in which an item waits has no sums: the other leads of the cycle say what applied."""
    options = {"applied": (1.5, 0.7), "applied_lead": np.linspace(0.8, 1.3, len(LEADS))}
    waits = (pl.col("level") != "item") & (pl.col("ds") == add_months(START, 7))
    plain = learn_widths(world(6, 24).filter(~waits), SHARES)
    found = learn_widths(world(6, 24, **options).filter(~waits), SHARES)
    assert found["ratio"].to_list() == pytest.approx(plain["ratio"].to_list(), rel=1e-9)


def widths_of_draws(rng, count, months, *, factor, true):
    """Cells of a total and its items whose ranges are those of draws, own parts and all."""
    common, own, lead = factor
    sds = np.sqrt(SHARE) * common, np.sqrt(1 - SHARE) * own
    shock = rng.standard_normal((months, 1, len(LEADS)))
    lone = rng.standard_normal((months, count, len(LEADS)))
    error = true * (np.sqrt(SHARE) * shock + np.sqrt(1 - SHARE) * lone)
    drawn = sds[0] * rng.standard_normal((4000, 1)) + sds[1] * rng.standard_normal((4000, count))
    one, total = (np.std(part) for part in (drawn[:, 0], drawn.sum(axis=1)))
    items = [
        frame("item", "smooth", f"i{k}", error[:, k], one * lead, "paths").with_columns(
            factor=pl.Series(np.tile(own * lead, months))
        )
        for k in range(count)
    ]
    whole = frame("total", "*", "total", error.sum(axis=1), total * lead, "sum")
    return pl.concat([whole.with_columns(factor=pl.Series(np.tile(common * lead, months))), *items])


def test_year_after_year_under_their_own_factors_they_stay_where_the_truth_is():
    """Sums are not quite all common; learned on what was learned, nothing drifts."""
    rng = np.random.default_rng(8)
    true = 0.7 * np.where(np.array(LEADS) > 6, 1.3, 1.0)
    factor, shares = (1.0, 1.0, np.ones(len(LEADS))), SHARES.head(1)
    walked = []
    for _ in range(6):  # each from 24 months that the factors before it forecast
        cells = widths_of_draws(rng, 30, 24, factor=factor, true=true)
        found = factors(learn_widths(cells, shares))
        factor = (
            found["common"], found["own:smooth"], np.array([on_lead(found, h) for h in LEADS])
        )  # fmt: skip
        applied = of_items(found, "own:smooth") * factor[2]
        walked.append(np.log(applied / true))
    walked = np.array(walked)
    assert np.abs(walked).max() < 0.25  # the sd of one is 0.09; compounding would be 0.3 a year
    assert np.abs(walked[3:].mean(axis=0)).max() < 0.1


def test_a_segment_is_drawn_to_all_items_and_more_so_when_it_is_small():
    wide = [
        frame("item", "smooth", f"s{i}", np.full((12, 1), 1.3 * Z90), 1.0, "paths")
        for i in range(9)
    ]
    lone = [frame("item", "seasonal", "x", np.full((12, 1), 0.8 * Z90), 1.0, "paths")]
    shares = pl.DataFrame({"segment": ["smooth", "seasonal"], "common_share": [0.0, 0.0]})
    found = factors(learn_widths(pl.concat([*wide, *lone]), shares))
    weight = 0.5 ** (np.arange(12) / 24)
    months = weight.sum() ** 2 / (weight**2).sum()
    n = months / (months + 3)
    trust = months / (months + 20)
    assert found["own:seasonal"] == pytest.approx(0.8 ** (n * trust) * 1.3 ** (n * (1 - trust)))
    assert found["own:smooth"] == pytest.approx(1.3**n)
    assert "common" not in found


def test_every_level_counts_the_same_in_a_month():
    """A total that is always far off, and 9 families that never are: ratios at half and half."""
    off = frame("total", "*", "total", np.full((10, 2), 2.0 * Z90), 1.0, "sum")
    fine = [
        frame("family", "*", f"f{i}", np.full((10, 2), 0.1 * Z90), 1.0, "sum") for i in range(9)
    ]
    table = learn_widths(pl.concat([off, *fine]), SHARES)
    assert table["part"].to_list() == ["common", "lead:1-1", "lead:2-3"]
    # By cells it would be 0.1; no lead is wider than all are.
    assert table["ratio"].to_list() == pytest.approx([2.0, 1.0, 1.0])


def test_counts_clinic_and_cells_without_width_do_not_teach_own_factors():
    wide = np.full((12, 2), 3.0 * Z90)
    table = pl.concat(
        [
            frame("item", "smooth", "a", np.full((12, 2), Z90), 1.0, "paths"),
            frame("item", "smooth", "z", wide, 0.0, "paths").with_columns(factor=pl.lit(1.0)),
            frame("item", "smooth", "b", wide, 1.0, "counts"),
            frame("item", "smooth", "c", wide, 1.0, "clinic"),
            frame("item", "unheard", "d", np.full((12, 2), Z90), 1.0, "paths"),
        ]
    )
    found = learn_widths(table, SHARES)
    assert found.select("part", "months", "cells").rows() == [
        ("lead:1-1", 12, 24), ("lead:2-3", 12, 24), ("own:smooth", 12, 24),
    ]  # fmt: skip
    assert found["factor"].to_list() == pytest.approx([1.0] * 3)


def test_newer_months_count_more():
    """The same 24 months, 5 of them far off: at the beginning or at the end."""
    fine, off = np.full((19, 1), 0.7 * Z90), np.full((5, 1), 1.3 * Z90)
    long_ago = frame("total", "*", "total", np.concatenate([off, fine]), 1.0, "sum")
    lately = frame("total", "*", "total", np.concatenate([fine, off]), 1.0, "sum")
    assert learn_widths(long_ago, SHARES)["ratio"].to_list() == pytest.approx([0.7, 1.0])
    assert learn_widths(lately, SHARES)["ratio"].to_list() == pytest.approx([1.3, 1.0])


def test_factors_stay_within_limits_and_without_cells_there_are_none():
    for size, limit in ((50.0, FACTORS[1]), (0.0, FACTORS[0])):
        table = world(0, 24, items=2)
        table = table.with_columns(y=100.0 + size * 10.0 * Z90 * (pl.col("y") - 100.0).sign())
        found = factors(learn_widths(table, SHARES))
        assert {f for part, f in found.items() if not part.startswith("lead:")} == {limit}
    for few, limits in ((12, {1.0, FACTORS[1]}), (3, {1.0, FACTORS[0]})):  # far off: from lead few
        size = pl.when(pl.col("lead") >= few).then(50.0).otherwise(0.001)
        far = world(0, 24, items=2).with_columns(y=100.0 + 10.0 * Z90 * size)
        found = factors(learn_widths(far, SHARES))
        assert {found["lead:1-1"], found["lead:7-12"]} == limits
    nothing = learn_widths(world(0, 2).clear(), SHARES)
    assert LearnedWidths.validate(nothing.with_columns(fit_id=pl.lit("f"))).is_empty()


def test_when_the_common_part_is_the_whole_error_the_own_factor_is_the_floor():
    shares = SHARES.with_columns(common_share=pl.lit(1.0))
    found = factors(learn_widths(world(2, 24, common=1.5, own=0.8), shares))
    assert found["own:smooth"] == FACTORS[0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_order_of_rows_changes_no_byte(seed, months):
    cells = world(seed, months, items=6)
    found = learn_widths(cells, SHARES)
    mixed = cells.sample(fraction=1.0, shuffle=True, seed=seed)
    assert learn_widths(mixed, SHARES[::-1]).equals(found)


def test_the_quantile_is_as_steady_as_the_factor_of_least_interval_score():
    """What the module says of its choice: log factors of 24 months, by this and by least WIS."""
    from scipy.stats import norm

    levels = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
    tries = np.exp(np.linspace(-0.5, 0.5, 81))
    quantile, least = [], []
    for seed in range(60):
        cells = world(seed, 24, items=0).filter(pl.col("level") == "family")
        ratio = parts(learn_widths(cells, SHARES), ("common",))["ratio"][0]
        error = (cells["y"].to_numpy() - 100.0) / 10.0
        apart = error - tries[:, None, None] * norm.ppf(levels)[:, None]
        loss = np.maximum(levels[:, None] * apart, (levels[:, None] - 1) * apart).mean(axis=(1, 2))
        quantile.append(np.log(ratio))
        least.append(np.log(tries[loss.argmin()]))
    assert abs(np.mean(quantile)) < 0.03
    assert np.std(quantile) < 1.2 * np.std(least)


def test_a_missing_number_is_refused():
    cells = world(0, 2).with_columns(factor=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(ValueError, match="missing value in factor"):
        learn_widths(cells, SHARES)
