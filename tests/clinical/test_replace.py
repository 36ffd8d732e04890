"""Listed patients replace those the site model expects: means, excess, law, months, screening."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.paths import NEVER, SiteCounts
from sopforecast.clinical.replace import with_lines
from sopforecast.clinical.tier_paths import LinePaths

CYCLE, PATHS, MONTHS = date(2026, 12, 1), 20_000, 6
STOCK, CONVERTS, RATE = 5, 0.6, np.array([0.0, 1.0, 1.0, 2.0, 1.0, 1.0])
SITES = (("ABC", "S1"), ("ABC", "S2"), ("XYZ", "S1"))


def panel_of():
    places, blank = np.zeros(3, dtype=int), np.full((3, 1), np.nan)
    return SitePanel(
        sites=SITES, studies=("ABC", "XYZ"), countries=("*",), study_of=np.array([0, 0, 1]),
        country_of=places, months=(date(2026, 11, 1),), opened=places,
        seen_at_first=places > 0, closed=places + 1, exposure=np.ones((3, 1)), enrolled=blank,
        screened=blank, screen_failed=blank, capacity=blank[:, 0], planned_rate=blank[:, 0],
    )  # fmt: skip


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(1)
    size = (PATHS, 3, MONTHS)
    stock = np.zeros(size, dtype=np.int16)
    stock[..., :2] = rng.multinomial(STOCK, [0.3, 0.3, 0.4], size[:2])[..., :2]
    return SiteCounts(
        screened=rng.poisson(RATE / CONVERTS, size).astype(np.int16), from_stock=stock,
        from_new=rng.poisson(RATE, size).astype(np.int16),
        activated=np.full(size[:2], -1, dtype=np.int16),
    )  # fmt: skip


def listed(*lines, chance=CONVERTS, months=(0, 1), seed=2):
    """Lines (tier, site, quantity) of study ABC that convert in one of the months, or never."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        [
            {"line_id": f"L{i:02d}", "study": "ABC", "site": site, "tier": tier, "outcome": "open",
             "quantity": float(quantity), "account": None}
            for i, (tier, site, quantity) in enumerate(lines)
        ],
        schema_overrides={"site": pl.String, "account": pl.String},
    )  # fmt: skip
    month = rng.choice(months, (PATHS, len(lines)))
    month = np.where(rng.random(month.shape) < chance, month, NEVER).astype(np.int16)
    amount = np.tile(frame["quantity"].to_numpy().astype(np.float32), (PATHS, 1))
    return LinePaths(frame=frame, month=month, amount=amount)


def replaced(counts, lines, *, stock=(STOCK, STOCK, STOCK), seed=3):
    blank = {name: pl.lit(None) for name in ("cohort", "unique_id", "owner", "lost_reason")}
    inputs = clinical_inputs(CYCLE, tier_lines=lines.frame.with_columns(**blank))
    return with_lines(
        counts, lines, inputs, panel_of(), stock=np.array(stock, dtype=float), seed=seed
    )


def total(counts, site=0):
    return (counts.from_stock[:, site] + counts.from_new[:, site]).sum(axis=1)


def error(*draws):
    return 3.5 * np.sqrt(sum(one.var() for one in draws) / PATHS)


@pytest.mark.parametrize(
    "lines",
    [
        [("highly_probable", "S1", 1)],
        [("committed", "S1", 1)] * 3 + [("highly_probable", "S1", 1)] * 2,
        [("highly_probable", "S1", 1)] * 8,  # three beyond the stock: they replace new screening
        [("pipeline", "S1", 1)] * 4,
        [("pipeline", "S1", 3)] * 2,
        [("committed", "S1", 1)] * 5 + [("pipeline", "S1", 1)] * 6,
    ],
)
def test_listing_whom_the_model_expected_does_not_raise_the_total(counts, lines):
    """Patients that convert as the model says: 60% of those in screening, fewer than the new."""
    found = replaced(counts, listed(*lines))
    assert total(found).mean() == pytest.approx(
        total(counts).mean(), abs=error(total(found), total(counts))
    )
    assert found.from_new[:, 1:].tobytes() == counts.from_new[:, 1:].tobytes()
    assert found.from_stock[:, 1:].tobytes() == counts.from_stock[:, 1:].tobytes()


def test_whoever_is_in_stock_follows_the_own_chance(counts):
    """Two of five are named and sure: three fifths of the model's, and two."""
    lines = listed(*[("committed", "S1", 1)] * 2, chance=1.0)
    found = replaced(counts, lines)
    expected = 0.6 * counts.from_stock[:, 0].sum(axis=1).mean() + 2
    assert found.from_stock[:, 0].sum(axis=1).mean() == pytest.approx(expected, abs=0.05)
    assert found.from_new.tobytes() == counts.from_new.tobytes()
    assert found.from_stock[:, 0].sum(axis=1).min() >= 2


def test_listing_more_than_expected_raises_it_by_the_excess(counts):
    lines = listed(*[("pipeline", "S1", 1)] * 10, chance=1.0, months=(1, 2))
    found = replaced(counts, lines)
    assert RATE.sum() == 6
    change = total(found).mean() - total(counts).mean()
    assert change == pytest.approx(10 - 6, abs=error(total(found), total(counts)))
    # nobody is left of the model's own, so everything from new screening is a named patient
    assert (found.from_new[:, 0].sum(axis=1) == 10).all()
    more = found.screened[:, 0].sum(axis=1).mean() - counts.screened[:, 0].sum(axis=1).mean()
    assert more == pytest.approx(4 / CONVERTS, abs=0.15)


def test_screening_stays_where_nobody_is_beyond_expectation(counts):
    found = replaced(counts, listed(*[("pipeline", "S1", 1)] * 4))
    assert found.screened.tobytes() == counts.screened.tobytes()
    assert found.activated is counts.activated


def test_what_a_month_lacks_is_taken_from_the_nearest_ones(counts):
    """Two sure patients in month 1, where one is expected: the other comes off month 2, not 5."""
    found = replaced(counts, listed(*[("pipeline", "S1", 1)] * 2, chance=1.0, months=(1,)))
    mean = found.from_new[:, 0].mean(axis=0)
    assert mean == pytest.approx([0.0, 2.0, 0.0, 2.0, 1.0, 1.0], abs=0.05)


def test_what_is_left_of_the_model_is_still_poisson(counts):
    lines = listed(*[("pipeline", "S1", 1)] * 2, chance=0.5, months=(3,))
    found = replaced(counts, lines)
    own = found.from_new[:, 0, 3] - (lines.month == 3).sum(axis=1)
    assert own.min() >= 0
    assert own.mean() == pytest.approx(1.0, abs=0.04)
    assert own.var() == pytest.approx(1.0, abs=0.06)


def test_a_line_without_a_site_is_at_one_in_proportion(counts):
    lines = listed(*[("pipeline", None, 1)] * 4, chance=1.0, months=(1, 2, 3, 4, 5))
    found = replaced(counts, lines)
    both = total(found, 0) + total(found, 1)
    before = total(counts, 0) + total(counts, 1)
    assert both.mean() == pytest.approx(before.mean(), abs=error(both, before))
    assert total(found, 0).mean() == pytest.approx(total(counts, 0).mean(), abs=0.1)
    assert found.from_new[:, 2].tobytes() == counts.from_new[:, 2].tobytes()


def test_stock_that_is_not_known_is_none(counts):
    lines = listed(*[("committed", "S1", 1)] * 3)
    found = replaced(counts, lines, stock=(np.nan, STOCK, STOCK))
    assert found.from_stock.tobytes() == counts.from_stock.tobytes()
    assert total(found).mean() == pytest.approx(total(counts).mean(), abs=0.12)


def test_nobody_enrols_before_the_site_opens_or_where_it_never_does(counts):
    opens = np.full((PATHS, 3), -1, dtype=np.int16)
    opens[::2, 0], opens[1::2, 0] = 4, NEVER
    bare = np.zeros_like(counts.from_new)
    shut = SiteCounts(screened=bare, from_stock=bare, from_new=bare, activated=opens)
    found = replaced(shut, listed(("pipeline", "S1", 1), chance=1.0))
    assert not found.from_new[1::2].any()
    assert (found.from_new[::2, 0, 4] == 1).all()
    assert not found.from_new[:, 0, :4].any()
    assert (found.screened >= found.from_new).all()


def test_same_seed_same_bytes_and_no_lines_no_change(counts):
    lines = listed(*[("pipeline", "S1", 1)] * 2)
    one, again, other = (replaced(counts, lines, seed=seed) for seed in (1, 1, 2))
    assert one.from_new.tobytes() == again.from_new.tobytes() != other.from_new.tobytes()
    nobody = LinePaths(
        frame=lines.frame.clear(), month=lines.month[:, :0], amount=lines.amount[:, :0]
    )
    assert replaced(counts, nobody) is counts
