"""What is learned by moments: inflation, errors made together, ranges that are too narrow."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from itertools import permutations

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from sopforecast.judgement import common_errors
from sopforecast.judgement.common_errors import (
    CORRELATIONS,
    OUTLIER,
    explained,
    learned_common_error,
    learned_inflation,
    learned_overconfidence,
    share_of_rows,
)
from sopforecast.judgement.evidence import combine
from sopforecast.judgement.posterior import Posterior, who_spoke

OWNERS = ("ann", "bob", "cyd")
LINES = {"ann": (0.7, 0.1, 0.8), "bob": (0.4, -0.2, 1.2), "cyd": (0.9, 0.0, 1.0)}
"""Weight, shift and spread."""


def observations(
    seed: int, cells: int, *, common: float = 0.6, events: bool = False, speakers: int = 3
) -> pl.DataFrame:
    """Everybody sees the truth with an error; two share a part of the smaller one's variance."""
    rng = np.random.default_rng(seed)
    shares = np.array([1 - LINES[owner][2] ** 2 / 2.0 for owner in OWNERS])
    variance = 2.0 * (1 - shares) / shares
    together = common * np.minimum.outer(variance, variance)
    np.fill_diagonal(together, variance)
    rows = []
    for c in range(cells):
        truth = np.sqrt(2.0) * rng.standard_normal()
        errors = rng.multivariate_normal(np.zeros(3), together)
        for k, owner in enumerate(OWNERS[: speakers if c % 3 else 2]):
            weight, shift, _ = LINES[owner]
            d = shares[k] * (truth - shift + errors[k]) / weight
            event = f"e{c}" if events else None
            rows.append((f"{owner} {c}", "sales", owner, "r", event, f"c{c:04d}", 0.0, truth, d))
    names = ["override_id", "source", "owner", "reason", "event_id", "cell", "age", "y", "d"]
    types = {"event_id": pl.String}
    frame = pl.DataFrame(rows, schema=names, orient="row", schema_overrides=types)
    return frame.with_columns(
        ds_from=pl.lit(date(2026, 1, 1)), stated_sd=pl.lit(None, dtype=pl.Float64)
    )


def fitted(frame: pl.DataFrame, *, tail: float = 8.0) -> Posterior:
    """The lines as they are, as if learned."""
    who = who_spoke(frame)
    lines = [LINES.get(owner, (0.5, 0.0, 1.0)) for owner in who["owner"]]
    columns = zip(*lines, strict=True)
    names = ("weight", "shift", "spread")
    return Posterior(
        who.with_columns(pl.Series(n, c) for n, c in zip(names, columns, strict=True)),
        0.5,
        tail,
        "closed_form",
    )


def ones(frame: pl.DataFrame) -> np.ndarray:
    return np.ones(frame.height)


def as_large(frame: pl.DataFrame, inflation: float) -> pl.Series:
    return pl.Series([inflation] * who_spoke(frame).height)


def foreseen(frame: pl.DataFrame, rho: float, event: float, inflation: float) -> float:
    """Log density of the truths, every cell combined as a live run would."""
    total = 0.0
    for (_,), part in frame.group_by("cell", maintain_order=True):
        lines = [LINES[owner] for owner in part["owner"]]
        said = part.with_columns(
            adjustment="d", unit_sd=pl.lit(1.0), weight_sd=pl.lit(0.0), shift_sd=pl.lit(0.0),
            covariance=pl.lit(0.0), inflation=pl.lit(inflation), common_error=pl.lit(rho),
            event_error=pl.lit(event), overconfidence=pl.lit(1.0), tail=pl.lit(8.0),
            weight=pl.Series([w for w, _, _ in lines]), shift=pl.Series([a for _, a, _ in lines]),
            spread=pl.Series([s for _, _, s in lines]),
        )  # fmt: skip
        mean, scale, tail = combine(said)
        total += float(student.logpdf(part["y"][0], tail, mean, scale))
    return total


def likeliest(log_density: list[float], prior: float) -> float:
    log_density_ = np.array(log_density)
    log_density_ -= 0.5 * ((CORRELATIONS - prior) / common_errors.PRIOR_ERROR_SD) ** 2
    share = np.exp(log_density_ - log_density_.max())
    return float(share @ CORRELATIONS / share.sum())


def test_common_error_is_what_would_have_foreseen_the_cells_best() -> None:
    apart = observations(0, 12)
    inside = observations(1, 9, events=True).with_columns(
        pl.format("{} e", "override_id").alias("override_id"),
        pl.format("{} e", "cell").alias("cell"),
    )
    alone = observations(2, 4).filter(pl.col("owner") == "ann").with_columns(
        pl.format("{} x", "override_id").alias("override_id"),
        pl.format("{} x", "cell").alias("cell"),
    )  # fmt: skip
    frame = pl.concat([apart, inside, alone]).sample(fraction=1, shuffle=True, seed=3)
    common, event = learned_common_error(frame, fitted(frame), as_large(frame, 1.5), ones(frame))
    expected = likeliest(
        [foreseen(apart, rho, rho, 1.5) for rho in CORRELATIONS],
        common_errors.PRIOR_COMMON_ERROR,
    )
    assert common == pytest.approx(expected)
    in_event = likeliest(
        [foreseen(inside, common, max(rho, common), 1.5) for rho in CORRELATIONS],
        common_errors.PRIOR_EVENT_ERROR,
    )
    assert event == pytest.approx(max(in_event, common))


def test_a_cell_counts_by_how_old_it_is() -> None:
    frame = observations(4, 30, common=0.1)
    weak = learned_common_error(frame, fitted(frame), as_large(frame, 1.5), 0.01 * ones(frame))[0]
    strong = learned_common_error(frame, fitted(frame), as_large(frame, 1.5), ones(frame))[0]
    assert strong < weak == pytest.approx(common_errors.PRIOR_COMMON_ERROR, abs=0.08)


@pytest.mark.parametrize("common", [0.15, 0.5, 0.85])
def test_what_people_share_is_found_again(common: float) -> None:
    frame = observations(5, 5000, common=common)
    normal = fitted(frame, tail=1e6)
    found, event = learned_common_error(frame, normal, as_large(frame, 2.0**0.5), ones(frame))
    assert found == pytest.approx(common, abs=0.12)
    assert event >= found


def test_alone_nothing_is_learned_of_others() -> None:
    frame = observations(6, 20).filter(pl.col("owner") == "ann")
    found = learned_common_error(frame, fitted(frame), as_large(frame, 1.5), ones(frame))
    assert found == pytest.approx(
        (likeliest([0.0] * len(CORRELATIONS), common_errors.PRIOR_COMMON_ERROR),
         likeliest([0.0] * len(CORRELATIONS), common_errors.PRIOR_EVENT_ERROR))
    )  # fmt: skip
    assert (share_of_rows(frame, fitted(frame)) == 1.0).all()


def test_a_cell_counts_once_however_many_speak() -> None:
    frame = observations(7, 40, common=0.9)
    share = share_of_rows(frame, fitted(frame))
    z: defaultdict[str, list[float]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        weight, shift, spread = LINES[row["owner"]]
        residual = (row["y"] - shift - weight * row["d"]) / spread
        z[row["cell"]].append(min(max(residual, -OUTLIER), OUTLIER))
    alike = sum(np.mean([a * b for a, b in permutations(cell, 2)]) for cell in z.values())
    square = sum(np.mean(np.square(cell)) for cell in z.values())
    prior = common_errors.PRIOR_CELLS
    r = (prior * common_errors.PRIOR_COMMON_ERROR + alike) / (prior + square)
    owners = [len(z[cell]) for cell in frame["cell"]]
    assert share.to_list() == pytest.approx([1 / (1 + (n - 1) * r) for n in owners])
    assert 0.5 < r < 1


def test_inflation_is_what_line_and_size_of_words_make_it() -> None:
    frame = pl.DataFrame(
        {
            "source": ["sales"] * 4,
            "owner": ["ann", "ann", "bob", "bob"],
            "d": [3.0, -1.0, 0.5, 400.0],
        }
    )
    power = np.array([1.0, 0.5, 1.0, 0.25])
    lines = pl.DataFrame(
        {
            "source": ["sales", "sales", "sales", "*"],
            "owner": ["ann", "bob", "*", "*"],
            "weight": [0.5, 0.0, -1.0, 1.0],
            "spread": [1.0, 0.7, 0.0, 2.0],
        }
    )
    n = common_errors.PRIOR_ROWS
    everybody = (9.0 + 0.5 + 0.25 + 25.0 / 4) / 2.75  # one wild statement is no size
    ann = (9.0 + 0.5 + n * everybody) / (1.5 + n)
    expected = [1.0 + 0.25 * ann, 0.49, everybody, 4.0 + everybody]
    found = learned_inflation(frame, lines, power)
    assert found.to_list() == pytest.approx(np.sqrt(expected).tolist())


def ranges(owner: str, errors: list[float], stated_sd: float | None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "source": ["sales"] * len(errors),
            "owner": [owner] * len(errors),
            "d": [1.0] * len(errors),
            "y": [1.0 + error for error in errors],
            "stated_sd": pl.Series([stated_sd] * len(errors), dtype=pl.Float64),
        }
    )


def test_ranges_are_widened_by_how_often_they_missed() -> None:
    frame = pl.concat(
        [ranges("ann", [0.4, -0.2], 0.2), ranges("bob", [3.0], 0.1), ranges("cyd", [9.0], None),
         ranges("dan", [1.0], 0.0)]
    )  # fmt: skip
    found = learned_overconfidence(frame, np.array([1.0, 0.5, 1.0, 1.0, 1.0]))
    by = {owner: value for _, owner, value in found.rows()}
    n = common_errors.PRIOR_RANGES
    everybody = (n * common_errors.PRIOR_OVERCONFIDENCE**2 + 4.0 + 0.5 + 25.0) / (n + 2.5)
    assert by["*"] ** 2 == pytest.approx(everybody)
    assert by["ann"] ** 2 == pytest.approx((n * everybody + 4.5) / (n + 1.5))
    assert by["bob"] ** 2 == pytest.approx((n * everybody + 25.0) / (n + 1.0))
    assert by["cyd"] == by["dan"] == pytest.approx(by["*"])  # who gave no range is everybody
    assert sorted(found.select("source", "owner").rows()) == [
        ("*", "*"), ("sales", "*"), *(("sales", who) for who in ("ann", "bob", "cyd", "dan"))
    ]  # fmt: skip


def test_over_confidence_is_found_again() -> None:
    errors = np.random.default_rng(1).normal(0, 0.5, 4000).tolist()
    found = learned_overconfidence(ranges("ann", errors, 0.2), np.ones(4000))
    assert found["overconfidence"].to_list() == pytest.approx([2.5] * 3, rel=0.05)


def test_what_a_statement_explains_is_never_nothing() -> None:
    share, variance = explained(np.array([0.5, 1.0, 9.0]), 2.0)
    np.testing.assert_allclose(variance, [4.0, 4.0, 81.0 / 0.95])
    np.testing.assert_allclose(share, [1 - 0.25 / 4.0, 0.75, 0.05])
