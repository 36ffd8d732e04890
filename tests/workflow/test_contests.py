"""Contests of a closed month, against arms made by hand from the same parts and plain loops.

Three cycles of a company of five items are stored from made-up components, as a run stores them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.baseline.simulate import ItemModel, Pools, draw_items
from sopforecast.baseline.views import Drawn, statistical_frame
from sopforecast.clinical.landmark_loss import conversion_loss
from sopforecast.core.draws import QUANTILES, quantile_view
from sopforecast.core.evidence_tables import Credibility, Overrides
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.learning_tables import (
    Contests,
    Learned,
    LearnedWeights,
    LearnedWidths,
)
from sopforecast.core.months import add_months, cutoff
from sopforecast.core.tables import Components, ResidualPaths, Weights
from sopforecast.errors import SopforecastError
from sopforecast.judgement.consensus import Known, judge, nobody_spoke
from sopforecast.judgement.stages import statistical_stage
from sopforecast.planning_store.learned import save_close
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store, open_store
from sopforecast.settings import Settings, make_settings
from sopforecast.workflow.contests import contests_of
from sopforecast.workflow.shelf import Shelf

MONTH = date(2026, 9, 1)
CYCLES = {lead: add_months(MONTH, 1 - lead) for lead in (1, 2, 3)}
HORIZON, DRAWS, SEED = 5, 120, 11
ITEMS = {"a": "F", "b": "F", "c": "F", "d": "G", "e": "G"}
KINDS = {"a": "paths", "b": "paths", "c": "counts", "d": "paths", "e": "zero"}
SEGMENTS = {"a": "smooth", "b": "rough", "c": "sparse", "d": "smooth", "e": "dead"}
GROUPS = {"total": list(ITEMS), "family=F": ["a", "b", "c"], "family=G": ["d", "e"]}
LEVELS = {"total": "total", "family=F": "family", "family=G": "family"} | dict.fromkeys(
    ITEMS, "item"
)
ACTUAL = {"a": 118.0, "b": 61.0, "c": 3.0, "d": 260.0, "e": 0.0}
FACTORS = {"common": 1.7, "own:smooth": 0.6, "own:unheard": 3.0}
SETTINGS = make_settings(
    {"horizon": HORIZON, "seed": SEED, "levels": ["family"], "advanced": {"draws": DRAWS}}
)
HIERARCHY = build_hierarchy(
    pl.DataFrame({"unique_id": list(ITEMS), "family": list(ITEMS.values())}), levels=["family"]
)
SAID = {
    "override_id": "o", "entered_cycle": None, "node": "family=F", "ds_from": None, "ds_to": None,
    "per": "month", "kind": "delta", "measure": "quantity", "value": 40.0, "probability": 1.0,
    "source": "sales", "owner": "ann", "reason": "promotion", "mode": "evidence",
    "status": "active",
}  # fmt: skip


def whole(schema: type[dy.Schema], rows: list[dict[str, Any]], key: str) -> pl.DataFrame:
    """Rows with every column but the key; what they do not name is null, 0 or empty."""
    columns = {n: c for n, c in schema.columns().items() if n != key}
    empty = {pl.Float64: 0.0, pl.Int64: 0, pl.String: "", pl.Binary: b"", pl.Boolean: False}
    blank = {n: None if c.nullable else empty.get(type(c.dtype)) for n, c in columns.items()}
    return pl.DataFrame(
        [blank | row for row in rows], schema={n: c.dtype for n, c in columns.items()}
    )


def models_of(factors: dict[str, float] | None = None) -> list[ItemModel]:
    """The items, their widths multiplied as a run with learned widths multiplies them."""
    factors = factors or {}
    near, far = factors.get("lead:1-1", 1.0), factors.get("lead:2-3", 1.0)
    models = []
    for k, item in enumerate(ITEMS):
        loadings = np.array([0.3 + 0.1 * k, 0.4, 0.9 - 0.1 * k])
        spread = np.full(HORIZON, [14.0, 9.0, 1.0, 30.0, 1.0][k])
        if KINDS[item] == "paths":
            common = factors.get("common", 1.0)
            own = factors.get(f"own:{SEGMENTS[item]}", 1.0)
            loadings = loadings * np.array([common, common, own])
            spread = spread * np.array([near, far, far, 1.0, 1.0])
        models.append(
            ItemModel(
                unique_id=item, kind=KINDS[item], segment=SEGMENTS[item],
                groups=("total", f"family={ITEMS[item]}"),
                centre=np.array([110.0, 55.0, 2.5, 240.0, 0.0])[k] * np.linspace(1, 1.2, HORIZON),
                spread=spread, loadings=loadings,
                step=1.0, dispersion=0.2 if item == "c" else 0.0, drift=0.0,
            )
        )  # fmt: skip
    return models


def pools() -> Pools:
    """Errors that last: what is off in one month is off in the next ones too."""
    rng = np.random.default_rng(3)

    def lasting(count: int) -> np.ndarray:
        return rng.normal(size=(count, 1)) + 0.5 * rng.normal(size=(count, HORIZON))

    common = (lasting(6), lasting(6))
    return Pools(common, {name: lasting(9) for name in ("rough", "smooth")})


POOLS = pools()


def drawn(factors: dict[str, float] | None = None) -> np.ndarray:
    return draw_items(models_of(factors), POOLS, seed=SEED, draws=DRAWS)


def components_of(models: list[ItemModel]) -> pl.DataFrame:
    same = ("unique_id", "kind", "segment", "step", "dispersion", "drift")
    rows = [
        {name: getattr(model, name) for name in same}
        | {"groups": json.dumps(model.groups), "model": "m"}
        | {name: getattr(model, name).tobytes() for name in ("centre", "spread", "loadings")}
        for model in models
    ]
    return whole(Components, rows, "run_id")


def paths_of(given: Pools) -> pl.DataFrame:
    parts = dict(zip(("common:total", "common:family"), given.common, strict=True))
    parts |= {f"own:{name}": paths for name, paths in given.own.items()}
    rows = [
        {"part": part, "origin": k, "donor": "", "path": path.tobytes()}
        for part, paths in parts.items()
        for k, path in enumerate(paths)
    ]
    return whole(ResidualPaths, rows, "run_id")


def views_by_hand(draws: np.ndarray, lead: int) -> dict[str, dict[str, float]]:
    """Quantiles of every node at a lead, sums made item by item, numpy's own quantiles."""
    at = {item: draws[:, k, lead - 1] for k, item in enumerate(ITEMS)}
    for group, members in GROUPS.items():
        at[group] = np.sum([at[item] for item in members], axis=0)
    return {
        node: {label: float(np.quantile(values, share)) for label, share in QUANTILES}
        for node, values in at.items()
    }


def loss_by_hand(
    views: dict[str, dict[str, float]], actual: dict[str, float], nodes: list[str] | None = None
) -> float:
    """Mean over levels of sum WIS / sum demand; of nodes all of whose items are known."""
    known = dict(actual)
    for group, members in GROUPS.items():
        if all(item in actual for item in members):
            known[group] = sum(actual[item] for item in members)
    shares = []
    for level in ("total", "family", "item"):
        score = demand = 0.0
        for node, y in known.items():
            if LEVELS[node] != level or (nodes is not None and node not in nodes):
                continue
            score += 2 * sum(
                (share if y >= views[node][label] else 1 - share) * abs(y - views[node][label])
                for label, share in QUANTILES
            ) / len(QUANTILES)  # fmt: skip
            demand += y
        if demand:
            shares.append(score / demand)
    return sum(shares) / len(shares)


def width_losses_by_hand(
    cold: dict[str, dict[str, float]], other: dict[str, dict[str, float]], actual: dict[str, float]
) -> tuple[float, float]:
    """How far the ranges of a cell are from 80%, in cold half-widths; levels by root of cells."""
    known = dict(actual)
    for group, members in GROUPS.items():
        if all(item in actual for item in members):
            known[group] = sum(actual[item] for item in members)
    answer = []
    for views in (cold, other):
        of_level: dict[str, list[float]] = {}
        for node, y in known.items():
            unit = (cold[node]["p90"] - cold[node]["p10"]) / 2
            if unit == 0:
                continue  # nothing can widen it
            low, middle, high = (views[node][label] for label in ("p10", "p50", "p90"))
            gap = y - high if y > middle else low - y
            lost = 0.8 * gap if gap > 0 else -0.2 * gap
            of_level.setdefault(LEVELS[node], []).append(lost / unit)
        roots = [len(part) ** 0.5 for part in of_level.values()]
        means = [sum(part) / len(part) for part in of_level.values()]
        answer.append(sum(r * m for r, m in zip(roots, means, strict=True)) / sum(roots))
    return answer[0], answer[1]


WIDE = [node for node in LEVELS if node != "e"]  # whose ranges have a width


def credibility_of(weight: float, *, opinions: int = 9) -> pl.DataFrame:
    numbers = {
        "weight": weight, "weight_sd": 0.05, "shift": 0.2, "shift_sd": 0.1, "spread": 0.5,
        "inflation": 1.0, "common_error": 0.3, "event_error": 0.3, "overconfidence": 1.0,
        "tail": 5.0, "opinions": opinions, "observations": opinions, "closed": MONTH,
        "known_at": datetime(2026, 1, 1), "method": "closed_form",
    }  # fmt: skip
    key = {"source": "sales", "owner": "*", "reason": "*"}
    rows = [numbers | key | {"direction": way} for way in ("up", "down")]
    return whole(Credibility, rows, "fit_id")


def widths_of(factors: dict[str, float]) -> pl.DataFrame:
    rows = [{"part": part, "factor": factor} for part, factor in factors.items()]
    return whole(LearnedWidths, rows, "fit_id")


def weights_of(weight: float) -> pl.DataFrame:
    rows = [
        {"segment": "smooth", "model": m, "weight": w}
        for m, w in (("A", weight), ("B", 1 - weight))
    ]
    return whole(LearnedWeights, rows, "fit_id")


def cut(cycle: date) -> datetime:
    return cutoff(cycle, cutoff_day=15)


@dataclass
class Bench:
    """A store, and how to fill it."""

    store: Store
    settings: Settings = SETTINGS
    reruns: list[tuple[str, Learned]] = field(default_factory=list)

    def run(
        self,
        cycle: date,
        *,
        factors: dict[str, float] | None = None,
        used: dict[str, tuple[str, str | None]] | None = None,
        said: list[dict[str, Any]] | None = None,
        credibility: pl.DataFrame | None = None,
        horizon: int = HORIZON,
        models: list[ItemModel] | None = None,
    ) -> str:
        """Store a run; what judgement makes of ``said`` belongs to it."""
        run_id = f"r-{cycle:%Y-%m}"
        draws = drawn(factors)
        steps = np.ones(len(ITEMS))
        frame = statistical_of(draws, cycle)
        judged = nobody_spoke(frame)
        if said:
            judged = judged_by_engine(draws, frame, cycle, said, credibility)
        tables = [
            {"table": table, "procedure": procedure, "fit_id": fit}
            for table, (procedure, fit) in (used or {}).items()
        ]
        row = {
            "run_id": run_id, "cycle": cycle, "horizon": horizon, "known_by": cut(cycle),
            "seed": SEED, "draws": DRAWS, "code_version": "0", "input_hash": "in",
            "settings_hash": self.settings.numbers_hash(),
            "settings": self.settings.numbers_text(), "levels": '["family"]', "items": len(steps),
            "notes": "", "created_at": cut(cycle),
        }  # fmt: skip
        save_run(
            self.store,
            run=row,
            forecasts=pl.concat([frame, judged.forecasts]),
            components=components_of(models or models_of(factors)),
            residual_paths=paths_of(POOLS),
            weights=whole(Weights, [], "run_id"),
            loads_used=(),
            statements=judged.statements if judged.statements.height else None,
            bridge=judged.bridge if judged.bridge.height else None,
            run_tables=pl.DataFrame(tables) if tables else None,
        )
        return run_id

    def close(
        self,
        closed: date,
        fit_id: str,
        *,
        known_at: datetime | None = None,
        credibility: pl.DataFrame | None = None,
        **tables: pl.DataFrame,
    ) -> None:
        """Store what a close learned; known by the cut-off of the next cycle unless told."""
        at = known_at or cut(add_months(closed, 1))
        nothing = credibility_of(1.0).clear()
        save_close(
            self.store,
            close={
                "closed": closed, "fit_id": fit_id, "known_at": at, "made_at": at,
                "method": "closed_form", "inputs_hash": fit_id, "scored": 0, "fresh": 0,
                "opinions": 0, "waiting": 0, "notes": "",
            },
            credibility=nothing if credibility is None else credibility,
            tables=tables,
        )  # fmt: skip

    def rerun(self, run_id: str, learned: Learned) -> tuple[Hierarchy, np.ndarray]:
        """The forecast made again: higher with more weight on model A, as with no table at all."""
        self.reruns.append((run_id, learned))
        share = 0.5 if learned.weights is None else float(learned.weights["weight"][0])
        return HIERARCHY, np.floor(drawn(FACTORS) * (0.8 + share))

    def contests(self, shelf: Shelf | None = None, **changed: Any) -> pl.DataFrame:
        """Contests of the month; unless told, all that is known by the cut-off after it."""
        given = {
            "known_by": cut(add_months(MONTH, 1)), "settings": self.settings,
            "shelf": shelf or Shelf(self.store, self.settings), "actuals": actual_rows(),
            "rerun": self.rerun, "month": MONTH,
        } | changed  # fmt: skip
        return contests_of(self.store, given.pop("month"), **given)


def statistical_of(draws: np.ndarray, cycle: date) -> pl.DataFrame:
    view = quantile_view(draws)
    quantiles = np.stack([view[label] for label, _ in QUANTILES])
    whole_drawn = Drawn(draws.mean(axis=0), quantiles, HIERARCHY.aggregate(draws))
    return statistical_frame(whole_drawn, np.ones(len(ITEMS)), HIERARCHY, cycle=cycle)


def judged_by_engine(
    draws: np.ndarray,
    frame: pl.DataFrame,
    cycle: date,
    said: list[dict[str, Any]],
    credibility: pl.DataFrame | None,
) -> Any:
    rows = [SAID | {"entered_cycle": cycle, "known_at": cut(cycle)} | row for row in said]
    types = {name: c.dtype for name, c in Overrides.columns().items()}
    blank = {name: None for name, c in Overrides.columns().items() if c.nullable}
    overrides = pl.DataFrame([blank | row for row in rows], schema_overrides=types)
    steps = np.ones(len(ITEMS))
    sums = HIERARCHY.aggregate(draws)
    return judge(
        overrides, HIERARCHY, statistical_stage(frame, sums, HIERARCHY, steps=steps),
        lambda items: draws[:, items].copy(), cycle=cycle, seed=SEED, min_closed=6,
        known=Known(credibility=credibility),
    )  # fmt: skip


def actual_rows(**changed: float | None) -> pl.DataFrame:
    told = ACTUAL | changed
    return pl.DataFrame({"unique_id": list(told), "y": list(told.values())})


def one(rows: pl.DataFrame, table: str, lead: int) -> dict[str, Any]:
    return rows.row(by_predicate=(pl.col("table") == table) & (pl.col("lead") == lead), named=True)


def said_of(month: date, **changed: Any) -> dict[str, Any]:
    return {"ds_from": month, "ds_to": month} | changed


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = open_store(f"sqlite:///{tmp_path / 'planning.db'}")
    yield Bench(opened)
    opened.close()


@pytest.fixture
def lived(bench: Bench) -> Bench:
    """Runs of three cycles from a cold start; before each the month before was closed."""
    for lead, cycle in CYCLES.items():
        bench.run(cycle)
        factors = {part: value + 0.05 * lead for part, value in FACTORS.items()}
        bench.close(add_months(cycle, -1), f"c{lead}", learned_widths=widths_of(factors))
    return bench


def test_widths_are_what_the_same_parts_give_by_hand(lived: Bench) -> None:
    rows = lived.contests()
    assert rows["table"].to_list() == ["widths"] * 3
    assert not lived.reruns
    for lead, cycle in CYCLES.items():
        factors = {part: value + 0.05 * lead for part, value in FACTORS.items()}
        row = one(rows, "widths", lead)
        views = [views_by_hand(draws, lead) for draws in (drawn(), drawn(factors))]
        cold, other = width_losses_by_hand(views[0], views[1], ACTUAL)
        assert abs(cold - other) > 1e-3, "the factors make a difference"
        assert row["cold_loss"] == pytest.approx(cold, rel=1e-12)
        assert row["other_loss"] == pytest.approx(other, rel=1e-12)
        assert (row["cycle"], row["ds"], row["learned_fit"]) == (cycle, MONTH, f"c{lead}")
        assert (row["size"], row["cells"]) == (1.0, len(WIDE))
    Contests.validate(rows.with_columns(fit_id=pl.lit("c")))


def test_an_arm_that_the_run_used_is_undone_for_the_other(bench: Bench) -> None:
    """A run under learned widths has both arms of a run from a cold start."""
    cycle = CYCLES[2]
    bench.close(add_months(cycle, -1), "c1", learned_widths=widths_of(FACTORS))
    bench.run(cycle, factors=FACTORS, used={"widths": ("live", "c1")})
    row = one(bench.contests(), "widths", 2)
    views = [views_by_hand(draws, 2) for draws in (drawn(), drawn(FACTORS))]
    cold, other = width_losses_by_hand(views[0], views[1], ACTUAL)
    assert (row["cold_loss"], row["other_loss"]) == pytest.approx((cold, other), rel=1e-9)


def test_months_ahead_have_widths_of_their_own_in_both_directions(bench: Bench) -> None:
    """Of runs from a cold start and of one that used the factors: each cell by that of its lead."""
    factors = FACTORS | {"lead:1-1": 0.6, "lead:2-3": 1.4}
    for lead, cycle in CYCLES.items():
        bench.close(add_months(cycle, -1), f"c{lead}", learned_widths=widths_of(factors))
        used = {"widths": ("live", "c2")} if lead == 2 else None
        bench.run(cycle, factors=factors if lead == 2 else None, used=used)
    rows = bench.contests()
    for lead in CYCLES:
        row = one(rows, "widths", lead)
        views = [views_by_hand(draws, lead) for draws in (drawn(), drawn(factors))]
        plain = width_losses_by_hand(views[0], views_by_hand(drawn(FACTORS), lead), ACTUAL)
        cold, other = width_losses_by_hand(views[0], views[1], ACTUAL)
        assert abs(other - plain[1]) > 1e-3, "the factor of the lead makes a difference"
        assert (row["cold_loss"], row["other_loss"]) == pytest.approx((cold, other), rel=1e-9)


def test_widths_alone_are_compared_further_ahead_than_three_months(bench: Bench) -> None:
    """A cycle whose last month it is, and one before it that did not look so far."""
    tables = {
        "learned_widths": widths_of(FACTORS), "learned_weights": weights_of(0.9),
        "credibility": credibility_of(0.9),
    }  # fmt: skip
    cycles = {lead: add_months(MONTH, 1 - lead) for lead in (3, HORIZON, HORIZON + 1)}
    for lead, cycle in cycles.items():
        bench.close(add_months(cycle, -1), f"c{lead}", **tables)
        bench.run(cycle, said=[said_of(MONTH)] if lead <= HORIZON else None)
    rows = bench.contests()
    found = rows.filter(pl.col("lead") > 3)
    assert found.select("table", "cycle", "lead").rows() == [("widths", cycles[HORIZON], HORIZON)]
    three = rows.filter(pl.col("lead") == 3)["table"].to_list()
    assert sorted(three) == ["credibility", "weights", "widths"]
    views = [views_by_hand(draws, HORIZON) for draws in (drawn(), drawn(FACTORS))]
    losses = width_losses_by_hand(views[0], views[1], ACTUAL)
    row = one(rows, "widths", HORIZON)
    assert (row["cold_loss"], row["other_loss"]) == pytest.approx(losses, rel=1e-12)


class Rebuilt(Shelf):
    """A shelf to which the draws of one run were given."""

    def give(self, draws: np.ndarray) -> Rebuilt:
        self.given = draws
        return self

    def draws(self, run_id: str) -> np.ndarray:
        return self.given.copy()


def test_patients_are_the_same_in_both_arms(bench: Bench) -> None:
    """Of an item of the clinic no loading is learned; its draws are the run's, in its sums too."""
    bench.close(date(2026, 8, 1), "c1", learned_widths=widths_of(FACTORS))
    patients = [replace(m, kind="clinic", segment="clinic") for m in models_of()[2:3]]
    bench.run(MONTH, models=[*models_of()[:2], *patients, *models_of()[3:]])
    counts = np.random.default_rng(1).poisson(6.0, size=(DRAWS, HORIZON)).astype(float)
    cold, other = drawn(), drawn(FACTORS)
    cold[:, 2] = other[:, 2] = counts
    row = one(bench.contests(Rebuilt(bench.store, bench.settings).give(cold)), "widths", 1)
    views = [views_by_hand(draws, 1) for draws in (cold, other)]
    losses = width_losses_by_hand(views[0], views[1], ACTUAL)
    assert (row["cold_loss"], row["other_loss"]) == pytest.approx(losses, rel=1e-12)


def test_a_run_under_an_older_fit_is_held_against_the_newest(bench: Bench) -> None:
    """As after a restatement closed again: neither arm is the run's own."""
    cycle, older = CYCLES[2], {"common": 0.5, "own:rough": 2.0}
    bench.close(add_months(cycle, -1), "c1", learned_widths=widths_of(older),
                known_at=datetime(2026, 8, 1))  # fmt: skip
    bench.run(cycle, factors=older, used={"widths": ("live", "c1")})
    bench.close(add_months(cycle, -1), "c2", learned_widths=widths_of(FACTORS))
    row = one(bench.contests(), "widths", 2)
    views = [views_by_hand(draws, 2) for draws in (drawn(), drawn(FACTORS))]
    cold, other = width_losses_by_hand(views[0], views[1], ACTUAL)
    assert row["learned_fit"] == "c2"
    assert (row["cold_loss"], row["other_loss"]) == pytest.approx((cold, other), rel=1e-9)


def test_weights_are_varied_with_the_widths_the_run_used(bench: Bench) -> None:
    cycle = CYCLES[3]
    bench.close(add_months(cycle, -1), "c1", learned_weights=weights_of(0.7),
                learned_widths=widths_of(FACTORS))  # fmt: skip
    used = {
        "widths": ("live", "c1"),
        "weights": ("backtest", None),
        "conversion": ("elicited", None),
    }
    bench.run(cycle, factors=FACTORS, used=used)
    row = one(bench.contests(), "weights", 3)
    [(run_id, learned)] = bench.reruns
    assert (run_id, learned.conversion) == ("r-2026-07", "elicited")
    assert learned.widths["factor"].to_list() == [FACTORS[part] for part in sorted(FACTORS)]
    assert learned.weights["weight"].to_list() == [0.7, pytest.approx(0.3)]
    cold = loss_by_hand(views_by_hand(drawn(FACTORS), 3), ACTUAL)
    other = loss_by_hand(views_by_hand(np.floor(drawn(FACTORS) * 1.5), 3), ACTUAL)
    assert (row["cold_loss"], row["other_loss"]) == pytest.approx((cold, other), rel=1e-12)


def test_a_run_under_learned_weights_is_made_again_without(bench: Bench) -> None:
    cycle = CYCLES[1]
    bench.close(add_months(cycle, -1), "c1", learned_weights=weights_of(0.7))
    bench.run(cycle, used={"weights": ("live", "c1")})
    row = one(bench.contests(), "weights", 1)
    [(_, learned)] = bench.reruns
    assert (learned.weights, learned.widths, learned.conversion) == (None, None, "learned")
    cold = loss_by_hand(views_by_hand(np.floor(drawn(FACTORS) * 1.3), 1), ACTUAL)
    other = loss_by_hand(views_by_hand(drawn(), 1), ACTUAL)
    assert (row["cold_loss"], row["other_loss"]) == pytest.approx((cold, other), rel=1e-12)


def test_a_replay_makes_a_forecast_again_once_a_cycle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sopforecast.workflow.contests.WIDTH_LEADS", 3)  # runs kept
    shelf = Shelf(bench.store, bench.settings)
    months = [add_months(MONTH, k) for k in range(5)]
    apart = []
    for month in months:
        before = add_months(month, -1)
        bench.close(before, f"c-{before:%m}", learned_weights=weights_of(0.6 + 0.01 * month.month))
        bench.run(month)
        known_by = cut(add_months(month, 1))
        rows = bench.contests(shelf, month=month, known_by=known_by)
        assert rows.height == min(3, len(apart) + 1)
        again = bench.contests(shelf, month=month, known_by=known_by)
        assert_frame_equal(rows, again, check_exact=True)
        apart.append(rows)
    assert [run_id for run_id, _ in bench.reruns] == [f"r-{month:%Y-%m}" for month in months]
    bench.contests(shelf, month=months[0], known_by=cut(months[1]))
    assert len(bench.reruns) == len(months) + 1, "of three runs it is kept, not for ever"
    for month, rows in zip(months, apart, strict=True):
        fresh = bench.contests(month=month, known_by=cut(add_months(month, 1)))
        assert_frame_equal(rows, fresh, check_exact=True)


def test_a_forecast_made_again_of_other_nodes_is_refused(bench: Bench) -> None:
    bench.close(add_months(MONTH, -1), "c1", learned_weights=weights_of(0.7))
    bench.run(MONTH)
    fewer = build_hierarchy(pl.DataFrame({"unique_id": ["a"], "family": ["F"]}), levels=["family"])

    def other(run_id: str, learned: Learned) -> tuple[Hierarchy, np.ndarray]:
        return fewer, drawn()[:, :1]

    with pytest.raises(
        SopforecastError, match="run r-2026-09 made again has 3 nodes and not the 8"
    ):
        bench.contests(rerun=other)


@pytest.mark.parametrize("ruling", ["prior", "learned"])
def test_credibility_is_what_judgement_makes_of_it(bench: Bench, ruling: str) -> None:
    """Whichever of the two the run used, and whatever was fixed on top."""
    fit = credibility_of(0.95)
    for lead, cycle in CYCLES.items():
        bench.close(add_months(cycle, -1), f"c{lead}", credibility=fit)
        said = [
            said_of(MONTH, override_id="o1"),
            said_of(MONTH, override_id="o2", node="a", value=-9.0, low=-12.0, high=-5.0),
            said_of(MONTH, override_id="o3", node="d", value=300.0, mode="fixed", kind="absolute"),
        ]
        bench.run(cycle, said=said, credibility=fit if ruling == "learned" else None)
    rows = bench.contests()
    assert rows["table"].to_list() == ["credibility"] * 3
    touched = ["a", "b", "c", "family=F", "total"]
    for lead, cycle in CYCLES.items():
        losses = []
        for credibility in (None, fit):
            judged = judged_by_engine(
                drawn(), statistical_of(drawn(), cycle), cycle, said, credibility
            )
            stage = judged.forecasts.filter(pl.col("stage") == "consensus", pl.col("lead") == lead)
            views = {row["unique_id"]: row for row in stage.iter_rows(named=True)}
            losses.append(loss_by_hand(views, ACTUAL, touched))
        row = one(rows, "credibility", lead)
        assert abs(losses[0] - losses[1]) > 1e-3
        assert (row["cold_loss"], row["other_loss"]) == pytest.approx(losses, rel=1e-12)
        assert (row["cells"], row["learned_fit"]) == (len(touched), f"c{lead}")


def test_months_nobody_spoke_of_and_records_that_do_not_count_are_no_contest(bench: Bench) -> None:
    bench.close(date(2026, 6, 1), "c1", credibility=credibility_of(0.9))
    bench.run(CYCLES[3], said=[said_of(CYCLES[3])])  # of July alone
    bench.run(CYCLES[2], said=[said_of(MONTH, source="supply")])  # who has no record
    bench.run(CYCLES[1], said=[said_of(MONTH, mode="fixed", kind="absolute", value=400.0)])
    assert bench.contests().is_empty()


def test_a_level_that_was_stated_for_an_earlier_month_counts_later(bench: Bench) -> None:
    bench.close(date(2026, 6, 1), "c1", credibility=credibility_of(0.9))
    bench.run(CYCLES[3], said=[said_of(CYCLES[3], reason="level")])
    assert one(bench.contests(), "credibility", 3)["cells"] == 5


def test_too_few_opinions_are_the_prior_and_no_contest(bench: Bench) -> None:
    bench.close(date(2026, 8, 1), "c1", credibility=credibility_of(0.9, opinions=2))
    bench.run(MONTH, said=[said_of(MONTH)])
    assert bench.contests().is_empty()


def test_no_close_before_the_cycle_by_its_cut_off_is_no_contest(bench: Bench) -> None:
    for cycle in CYCLES.values():
        bench.run(cycle, said=[said_of(MONTH)])
    tables = {
        "learned_widths": widths_of(FACTORS), "learned_weights": weights_of(0.9),
        "credibility": credibility_of(0.9),
    }  # fmt: skip
    assert bench.contests().is_empty()
    late = datetime(2026, 9, 16)
    bench.close(date(2026, 6, 1), "c1", known_at=late, **tables)
    bench.close(MONTH, "c2", known_at=cut(date(2026, 7, 1)), **tables)
    assert bench.contests().is_empty()
    bench.close(
        date(2026, 8, 1),
        "c3",
        learned_widths=widths_of({}),
        learned_weights=weights_of(0.9).clear(),
    )
    assert bench.contests().is_empty(), "a close that learned nothing"
    assert not bench.reruns


def test_what_is_learned_or_loaded_later_changes_no_byte(bench: Bench) -> None:
    tables = {
        "learned_widths": widths_of(FACTORS), "learned_weights": weights_of(0.9),
        "credibility": credibility_of(0.9),
    }  # fmt: skip
    for lead, cycle in CYCLES.items():
        bench.close(add_months(cycle, -1), f"c{lead}", **tables)
        bench.run(cycle, said=[said_of(MONTH)])
    first = bench.contests()
    assert first.height == 9
    wild = {
        "learned_widths": widths_of({"common": 9.0}), "learned_weights": weights_of(0.01),
        "credibility": credibility_of(0.0),
    }  # fmt: skip
    bench.close(MONTH, "later", **wild)
    bench.close(date(2026, 10, 1), "much later", **wild)
    for cycle in CYCLES.values():
        again = f"again {cycle}"
        bench.close(add_months(cycle, -1), again, known_at=cut(date(2026, 10, 1)), **wild)
    history = pl.DataFrame(
        [{"unique_id": i, "ds": m, "y": 7777.0} for i in ITEMS for m in (MONTH, date(2025, 1, 1))]
    )
    append_load(
        bench.store, "history", history, file="h", file_hash="h", loaded_by="x",
        loaded_at=datetime(2026, 12, 1), through=date(2026, 10, 1),
    )  # fmt: skip
    bench.run(date(2026, 10, 1), said=[said_of(date(2026, 10, 1))])
    assert_frame_equal(bench.contests(), first, check_exact=True)
    kept = bench.contests(known_by=cut(date(2026, 12, 1)))
    assert_frame_equal(kept, first, check_exact=True)


def test_unknown_demand_is_left_out_with_the_sums_above_it(lived: Bench) -> None:
    known = {item: y for item, y in ACTUAL.items() if item != "b"}
    for actuals in (actual_rows(b=None), actual_rows().filter(pl.col("unique_id") != "b")):
        row = one(lived.contests(actuals=actuals), "widths", 1)
        assert row["cells"] == len(WIDE) - 3
        views = views_by_hand(drawn(), 1)
        cold, _ = width_losses_by_hand(views, views, known)
        assert row["cold_loss"] == pytest.approx(cold, rel=1e-12)
    nothing = actual_rows().clear()
    assert lived.contests(actuals=nothing).is_empty(), "only an item forecast as zero is known"


def test_what_an_absent_row_means(lived: Bench) -> None:
    whole_rows = lived.contests()
    without_e = actual_rows().filter(pl.col("unique_id") != "e")
    assert_frame_equal(lived.contests(actuals=without_e), whole_rows, check_exact=True)
    zero = SETTINGS.model_copy(
        update={"history": SETTINGS.history.model_copy(update={"missing": "zero"})}
    )
    without_b = actual_rows().filter(pl.col("unique_id") != "b")
    assert_frame_equal(
        lived.contests(actuals=without_b, settings=zero),
        lived.contests(actuals=actual_rows(b=0.0)),
        check_exact=True,
    )


def test_sums_are_of_the_items_of_the_run(lived: Bench) -> None:
    """An item launched since then is in today's total and was not in that forecast."""
    more = pl.concat(
        [actual_rows(), pl.DataFrame({"unique_id": ["new", "total"], "y": [900.0, 1342.0]})]
    )
    assert_frame_equal(lived.contests(actuals=more), lived.contests(), check_exact=True)


def test_a_horizon_that_does_not_reach_the_month_is_no_contest(bench: Bench) -> None:
    bench.close(date(2026, 6, 1), "c1", learned_widths=widths_of(FACTORS))
    short = [replace(m, centre=m.centre[:2], spread=m.spread[:2]) for m in models_of()]
    bench.run(CYCLES[3], horizon=2, models=short)
    assert bench.contests().is_empty()


def test_conversion_is_asked_with_what_was_known_then_and_now(
    bench: Bench, trial_tables: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def loss(then: Any, now: Any, **given: Any) -> tuple[float, float, int]:
        asked.append({"then": then, "now": now} | given)
        return 3.5, 2.5, 14

    monkeypatch.setattr("sopforecast.workflow.contests.conversion_loss", loss)
    bench.run(CYCLES[3])
    assert bench.contests().is_empty()
    assert not asked, "no line was ever listed"
    lines = trial_tables["tier_lines"]
    for name in ("studies", "tier_lines"):
        append_load(
            bench.store, name, trial_tables[name], file=name, file_hash=name, loaded_by="x",
            loaded_at=datetime(2026, 12, 1), through=date(2026, 10, 1),
        )  # fmt: skip
    rows = bench.contests()
    [call] = asked
    assert (call["month"], call["seed"]) == (MONTH, SEED)
    assert (call["then"].cycle, call["now"].cycle) == (CYCLES[3], date(2026, 10, 1))
    for key, moment in (("then", cut(CYCLES[3])), ("now", cut(date(2026, 10, 1)))):
        known = lines.filter(pl.col("known_at") <= moment)
        assert call[key].tier_lines.height == known.height > 0
    assert rows.drop("learned_fit").rows() == [
        ("conversion", CYCLES[3], MONTH, 3, 3.5, 2.5, 14.0, 14)
    ]
    monkeypatch.setattr("sopforecast.workflow.contests.conversion_loss", lambda *_, **__: None)
    assert bench.contests().is_empty()
    monkeypatch.undo()
    cold, other, cells = conversion_loss(call["then"], call["now"], month=MONTH, seed=SEED)
    row = one(bench.contests(), "conversion", 3)
    assert (row["cold_loss"], row["other_loss"], row["size"]) == (cold, other, float(cells))
    assert cold != other
