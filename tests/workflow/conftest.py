"""A workspace of two items over two and a half years, and a small stand-in for the engine.

The stand-in is honest: what it forecasts, states and learns follows from the rows it is given and
from nothing else, so that a row that should not have been there shows in its numbers.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.simulate import ItemModel, Pools, draw_nodes
from sopforecast.baseline.views import Drawn, naive_frame, statistical_frame
from sopforecast.core.draws import QUANTILES, mean_view, quantile_view
from sopforecast.core.evidence_tables import (
    Bridge,
    Credibility,
    Observations,
    Overrides,
    Statements,
)
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.learning_tables import CLOSE_TABLES, ModelErrors, ModelPaths, empty
from sopforecast.core.months import add_months, cutoff, month_range
from sopforecast.core.tables import Components, Forecasts, ResidualPaths, Weights
from sopforecast.judgement.consensus import Known, judge, nobody_spoke
from sopforecast.judgement.stages import statistical_stage
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store, open_store
from sopforecast.settings import SETTINGS_FILE, make_settings
from sopforecast.workflow import init
from sopforecast.workflow.learning import Taught
from sopforecast.workspace import Workspace, open_workspace

FIRST, MONTHS = date(2024, 1, 1), 30
NOW = datetime(2026, 8, 3)
ITEMS = ("A", "B")
ADJUSTMENT = {"Ann": 40.0, "Bob": -30.0}


def whole(schema: type[dy.Schema], rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows with every column but run_id and fit_id; what they do not name is null, 0 or empty."""
    columns = {n: c for n, c in schema.columns().items() if n not in ("run_id", "fit_id")}
    empty = {pl.Float64: 0.0, pl.Int64: 0, pl.String: "", pl.Binary: b"", pl.Boolean: False}
    blank = {n: None if c.nullable else empty.get(type(c.dtype)) for n, c in columns.items()}
    types = {name: column.dtype for name, column in columns.items()}
    return pl.DataFrame([blank | row for row in rows], schema=types)


@dataclass
class Engine:
    """Stands in for ``run_cycle`` and ``close_cycle``; remembers what it was given."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    closes: list[dict[str, Any]] = field(default_factory=list)

    def run_cycle(
        self, history: pl.DataFrame, items: Any = None, *, cycle: date, settings: Any, **given: Any
    ) -> SimpleNamespace:
        self.runs.append({"cycle": cycle, "history": history} | given)
        months = month_range(cycle, settings.horizon)
        recent = history.filter(pl.col("ds") >= add_months(cycle, -3))
        level = dict(recent.group_by("unique_id").agg(pl.col("y").mean()).iter_rows())
        level = {item: round(level[item], 3) for item in sorted(level)}
        overrides, credibility = given["overrides"], given["credibility"]
        weight = 0.5
        if credibility is not None and credibility.height:
            weight = float(credibility["weight"].mean())
        statements = [
            self._statement(row, month, cycle, sum(level.values()), weight, given["entered"])
            for row in overrides.sort("override_id").iter_rows(named=True)
            for month in months
            if row["status"] == "active" and row["ds_from"] <= month <= row["ds_to"]
        ]
        change = dict.fromkeys(months, 0.0)
        bridge: list[dict[str, Any]] = []
        for row in statements:
            change[row["ds_from"]] += row["moved"]
        spoken = sorted({row["source"] for row in statements})
        for month in months:
            plan = sum(level.values())
            steps = ["statistical", *(f"source:{name}" for name in spoken)]
            for place, step in enumerate(steps):
                moved = sum(
                    row["moved"]
                    for row in statements
                    if f"source:{row['source']}" == step and row["ds_from"] == month
                )
                step_row = {"unique_id": "total", "ds": month, "position": place, "step": step}
                plan += moved
                bridge.append(step_row | {"change": moved if place else plan, "plan": plan})
        stages = {"naive": {}, "statistical": {}}
        stages |= {f"source:{name}": change for name in spoken}
        stages |= {"consensus": change} if spoken else {}
        forecasts = [
            {
                "cycle": cycle, "stage": stage, "unique_id": node, "ds": month, "lead": lead,
                "plan": max(value + moved.get(month, 0.0), 0.0), "mean": value,
                "p10": value - 1, "p50": value, "p90": value + 1,
            }
            for stage, moved in stages.items()
            for node, value in {**level, "total": sum(level.values())}.items()
            if not stage.startswith("source:") or node == "total"
            for lead, month in enumerate(months, start=1)
        ]  # fmt: skip
        components = [
            {"unique_id": item, "kind": "paths", "groups": '["total"]', "step": 1.0, "model": "m"}
            for item in level
        ]
        told: dict[str, tuple[str, ...]] = dict.fromkeys(
            ("new", "carried", "changed", "expired", "in_history", "waiting"), ()
        )
        for row in statements:
            said = f"{row['owner']} said {row['override_id']}"
            told[row["state"]] = tuple(dict.fromkeys((*told[row["state"]], said)))
        return SimpleNamespace(
            forecasts=whole(Forecasts, forecasts),
            components=whole(Components, components),
            residual_paths=whole(ResidualPaths, []),
            weights=whole(Weights, []),
            statements=whole(Statements, statements) if statements else pl.DataFrame(),
            bridge=whole(Bridge, bridge) if spoken else pl.DataFrame(),
            told=told,
            hierarchy=SimpleNamespace(items=tuple(level)),
            checks=(),
            notes=(),
            seconds={"forecast": 0.1},
            history_nodes=history.select("unique_id", "ds", "y"),
            backtest=pl.DataFrame(
                {"lead": [1], "wmape": [9.0], "bias_percent": [0.0], "coverage80": [0.8]}
            ),
            model_paths=empty(ModelPaths, without="run_id"),
            model_errors=empty(ModelErrors, without="run_id"),
            clinic=None,
        )

    def _statement(
        self, row: dict[str, Any], month: date, cycle: date, baseline: float, weight: float,
        entered: pl.DataFrame,
    ) -> dict[str, Any]:  # fmt: skip
        at_entry = entered.filter(
            pl.col("override_id") == row["override_id"], pl.col("cycle") == row["entered_cycle"]
        )
        same = ("override_id", "node", "per", "kind", "mode", "source", "owner", "reason")
        adjustment = row["value"]
        return {name: row[name] for name in same} | {
            "ds_from": month,
            "ds_to": month,
            "cycle": cycle,
            "state": "new" if row["entered_cycle"] == cycle else "carried",
            "entered_cycle": row["entered_cycle"],
            "entered_lead": 1,
            "probability": 1.0,
            "stated": baseline + adjustment,
            "baseline": baseline,
            "baseline_at_entry": at_entry["baseline"][0] if at_entry.height else None,
            "unit_sd": 10.0,
            "adjustment": adjustment,
            "direction": "up" if adjustment >= 0 else "down",
            "weight": weight,
            "tail": 4.0,
            "moved": weight * adjustment,
        }

    def close_cycle(
        self, statements: pl.DataFrame, history: pl.DataFrame, items: pl.DataFrame, *, closed: date,
        known_at: datetime, settings: Any, method: str = "closed_form", last_good: Any = None,
        clinical: Any = None,
    ) -> SimpleNamespace:  # fmt: skip
        assert clinical is not None
        self.closes.append({"closed": closed, "method": method, "last_good": last_good})
        actual = dict(history.group_by("ds").agg(pl.col("y").sum()).iter_rows())
        known = dict(history.drop_nulls("y").group_by("ds").len().iter_rows())
        opinions = statements.filter(
            pl.col("entered_cycle") == pl.col("cycle"), pl.col("ds_to") <= closed
        )
        seen = [
            {
                **{name: row[name] for name in ("override_id", "ds_from", "source", "owner")},
                "reason": row["reason"],
                "cell": f"{row['node']} {row['ds_to']}",
                "age": float(12 * (closed.year - row["ds_to"].year) + closed.month
                             - row["ds_to"].month),
                "y": (actual[row["ds_to"]] - row["baseline"]) / row["unit_sd"],
                "d": row["adjustment"] / row["unit_sd"],
            }
            for row in opinions.iter_rows(named=True)
            if known.get(row["ds_to"]) == len(ITEMS)
        ]  # fmt: skip
        rows: list[dict[str, Any]] = []
        for source, owner in sorted({(row["source"], row["owner"]) for row in seen}):
            own = [row for row in seen if (row["source"], row["owner"]) == (source, owner)]
            weight = sum(r["y"] * r["d"] for r in own) / sum(r["d"] ** 2 for r in own)
            numbers = {
                "source": source, "reason": "*", "closed": closed, "known_at": known_at,
                "direction": "up" if own[0]["d"] >= 0 else "down", "tail": 5.0, "method": method,
                "weight": weight, "weight_p10": weight - 0.1, "weight_p90": weight + 0.1,
                "observations": len(own), "opinions": len({row["override_id"] for row in own}),
            }  # fmt: skip
            rows += [numbers | {"owner": name} for name in (owner, "*")]
        return SimpleNamespace(
            observations=whole(Observations, seen),
            credibility=whole(Credibility, rows).unique(
                ["source", "owner", "direction"], keep="first", maintain_order=True
            ),
            notes=("looked at closely",),
        )


def history_rows(*, months: int = MONTHS, spoiled_from: date | None = None) -> pl.DataFrame:
    """A rises by 1 a month from 100, B by 2 from 50; from a month on everything can be spoiled."""
    rows = [
        {"unique_id": item, "ds": month, "y": start + step * index}
        for item, start, step in (("A", 100.0, 1.0), ("B", 50.0, 2.0))
        for index, month in enumerate(month_range(FIRST, months))
    ]
    frame = pl.DataFrame(rows)
    if spoiled_from is None:
        return frame
    spoiled = pl.when(pl.col("ds") >= spoiled_from).then(7777.0).otherwise(pl.col("y"))
    return frame.with_columns(y=spoiled)


def override_rows(cycles: list[date], *, owner: str = "Ann", months: int = 2) -> pl.DataFrame:
    """One delta a cycle, over its first months."""
    return pl.DataFrame(
        [
            {
                "override_id": f"{owner}-{cycle:%Y-%m}",
                "entered_cycle": cycle,
                "node": "total",
                "ds_from": cycle,
                "ds_to": add_months(cycle, months - 1),
                "per": "month",
                "kind": "delta",
                "measure": "quantity",
                "value": ADJUSTMENT[owner],
                "probability": 1.0,
                "source": "sales" if owner == "Ann" else "supply",
                "owner": owner,
                "reason": "promotion",
                "mode": "evidence",
                "status": "active",
            }
            for cycle in cycles
        ]
    )


def put(workspace: Workspace, table: str, frame: pl.DataFrame, *, at: datetime = NOW) -> None:
    """Load rows as they are."""
    append_load(
        workspace.store(), table, frame, file=table, file_hash=f"{table}{at}{frame.hash_rows()}",
        loaded_by="Ann", loaded_at=at, through=date(2030, 1, 1),
    )  # fmt: skip


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The stand-in, in place of the real engine; its runs have no draws, so nothing is scored."""
    made = Engine()
    tables = {name: empty(table, without="fit_id") for name, table in CLOSE_TABLES.items()}
    # By import: as an attribute of the package ``close`` is the function.
    closing = importlib.import_module("sopforecast.workflow.close")
    monkeypatch.setattr(closing, "teach", lambda *_, **__: Taught(tables, ()))
    monkeypatch.setattr("sopforecast.workflow.month.run_cycle", made.run_cycle)
    monkeypatch.setattr("sopforecast.cycle.close_cycle", made.close_cycle, raising=False)
    monkeypatch.setattr(
        "sopforecast.workflow.showing._sentences", lambda said: ["a sentence"] * bool(said.height)
    )
    return made


@pytest.fixture
def ungated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was learned counts at once, proved or not."""
    monkeypatch.setenv("SOPFORECAST_ADVANCED__GATE", "false")


@pytest.fixture
def make_workspace(tmp_path: Path) -> Callable[..., Workspace]:
    """Make a workspace with a horizon of three months, and load tables into it."""

    def make(name: str = "ws", **tables: pl.DataFrame) -> Workspace:
        init(tmp_path / name, name="Mini")
        settings = tmp_path / name / SETTINGS_FILE
        text = settings.read_text(encoding="utf-8").replace("horizon = 18", "horizon = 3")
        text = text.replace("# mlflow = true", "mlflow = false")
        settings.write_text(text, encoding="utf-8")
        workspace = open_workspace(tmp_path / name)
        for table, frame in tables.items():
            put(workspace, table, frame)
        return workspace

    return make


@pytest.fixture
def bench() -> SimpleNamespace:
    """Rows to load, and how to load them."""
    return SimpleNamespace(
        history=history_rows, overrides=override_rows, put=put, now=NOW, last=date(2026, 6, 1)
    )


@dataclass
class StoredCompany:
    """Runs of six items in two families and two regions, stored without fitting anything.

    What a fit would have found is given; draws, stages and rows are the engine's own. ``kinds`` of
    the items: four with paths, one of counts, one from which no demand is to come.
    """

    store: Store
    settings: Any
    made: dict[date, SimpleNamespace] = field(default_factory=dict)
    first = date(2026, 1, 1)
    horizon, n_draws = 4, 60
    items = tuple(f"i{k}" for k in range(6))
    kinds = ("paths", "paths", "paths", "paths", "counts", "zero")

    def hierarchy(self, items: tuple[str, ...] | None = None) -> Hierarchy:
        """Of some of the items."""
        names = list(items or self.items)
        place = [self.items.index(name) for name in names]
        family, region = ["AAABBB"[k] for k in place], ["EU" if k % 2 else "US" for k in place]
        frame = pl.DataFrame({"unique_id": names, "family": family, "region": region})
        return build_hierarchy(frame, levels=self.settings.levels)

    def run(
        self,
        cycle: date,
        overrides: pl.DataFrame | None = None,
        *,
        items: tuple[str, ...] | None = None,
        kinds: dict[str, str] | None = None,
        shift: float = 0.0,
        prices: pl.DataFrame | None = None,
        at: datetime | None = None,
    ) -> SimpleNamespace:
        """Make and store a run of a cycle; returns run_id, hierarchy, draws (S, B, H), judged."""
        hierarchy, seed = self.hierarchy(items), self.settings.seed
        models = [self._model(item, k, cycle, kinds, shift, hierarchy) for k, item in
                  enumerate(hierarchy.items)]  # fmt: skip
        pools = self._pools(hierarchy)
        nodes = draw_nodes(models, pools, hierarchy, seed=seed, draws=self.n_draws)
        above, bottom = np.split(nodes, [len(hierarchy.aggregates)], axis=1)
        steps = np.array([model.step for model in models])
        views = quantile_view(bottom)
        drawn = Drawn(mean_view(bottom), np.stack([views[label] for label, _ in QUANTILES]), above)
        statistical = statistical_frame(drawn, steps, hierarchy, cycle=cycle)
        level = np.stack([np.full(self.horizon, model.centre[0]) for model in models])
        naive = naive_frame(level, steps, hierarchy, cycle=cycle)
        judged = nobody_spoke(statistical)
        if overrides is not None:
            judged = judge(
                overrides, hierarchy,
                statistical_stage(statistical, above, hierarchy, steps=steps),
                lambda members: bottom[:, members].copy(),
                cycle=cycle, seed=seed, min_closed=6, known=Known(prices=prices),
            )  # fmt: skip
        run_id = f"r-{cycle:%Y-%m}-{shift:g}"
        known_by = at or cutoff(cycle, cutoff_day=15)
        save_run(
            self.store,
            run={
                "run_id": run_id, "cycle": cycle, "horizon": self.horizon, "known_by": known_by,
                "seed": seed, "draws": self.n_draws, "code_version": "c", "input_hash": "i",
                "settings_hash": "s", "settings": self.settings.numbers_text(), "levels": "[]",
                "items": len(models), "notes": "", "created_at": known_by,
            },
            forecasts=pl.concat([naive, statistical, judged.forecasts]),
            components=self._components(models),
            residual_paths=self._paths(pools, hierarchy),
            weights=pl.DataFrame(schema={n: c.dtype for n, c in Weights.columns().items()}),
            statements=judged.statements if judged.statements.height else None,
            bridge=judged.bridge if judged.bridge.height else None,
            loads_used=[],
        )  # fmt: skip
        made = SimpleNamespace(
            run_id=run_id, cycle=cycle, hierarchy=hierarchy, draws=bottom, judged=judged,
            statistical=statistical, steps=steps,
        )  # fmt: skip
        self.made[cycle] = made
        return made

    def history(
        self, last: date, *, months: int = 30, lacking: tuple[str, ...] = ("i5",)
    ) -> pl.DataFrame:
        """Demand up to a month; the lacking items end half a year before."""
        rows = []
        for k, item in enumerate(self.items):
            rng = np.random.default_rng(k)
            values = rng.poisson((80, 40, 30, 120, 3, 20)[k], 200)
            begin = add_months(self.first, 6 - months)
            for n, month in enumerate(month_range(begin, 200)):
                ends = add_months(last, -6) if item in lacking else last
                if month <= ends:
                    rows.append((item, month, float(values[n])))
        return pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")

    def _model(
        self, item: str, k: int, cycle: date, kinds: Any, shift: float, hierarchy: Hierarchy
    ) -> ItemModel:
        place = self.items.index(item)
        rng = np.random.default_rng((place, cycle.month))
        level = (80.0, 40.0, 30.0, 120.0, 3.0, 20.0)[place] + shift
        codes = hierarchy.codes[:, k]
        return ItemModel(
            unique_id=item,
            kind=(kinds or {}).get(item, self.kinds[place]),
            segment="smooth" if place < 4 else "sparse",
            groups=tuple(hierarchy.aggregates[code] for code in codes),
            centre=level * rng.uniform(0.8, 1.2, self.horizon),
            spread=np.full(self.horizon, level / 4),
            loadings=np.array([0.4, 0.5, 0.3, 0.7]),
            step=0.5 if item == "i2" else 1.0,
            dispersion=0.2 if place == 4 else 0.0,
            drift=0.0,
        )

    def _pools(self, hierarchy: Hierarchy) -> Pools:
        rng = np.random.default_rng(11)
        common = tuple(rng.normal(0, 1, (5, self.horizon)) for _ in hierarchy.level_labels[:-1])
        own = {name: rng.normal(0, 1, (9, self.horizon)) for name in ("smooth", "sparse")}
        return Pools(common, own)

    @staticmethod
    def _components(models: list[ItemModel]) -> pl.DataFrame:
        same = ("unique_id", "kind", "segment", "step", "dispersion", "drift")
        arrays = ("centre", "spread", "loadings")
        return pl.DataFrame(
            [
                {name: getattr(model, name) for name in same}
                | {name: getattr(model, name).astype("<f8").tobytes() for name in arrays}
                | {"groups": json.dumps(model.groups), "model": "m", "reason": None}
                for model in models
            ],
            schema_overrides={"reason": pl.String},
        )

    @staticmethod
    def _paths(pools: Pools, hierarchy: Hierarchy) -> pl.DataFrame:
        labels = hierarchy.level_labels[:-1]
        parts = {f"common:{label}": p for label, p in zip(labels, pools.common, strict=True)}
        parts |= {f"own:{name}": paths for name, paths in pools.own.items()}
        rows = [
            {"part": part, "origin": n, "donor": "d", "path": path.astype("<f8").tobytes()}
            for part, paths in parts.items()
            for n, path in enumerate(paths)
        ]
        return pl.DataFrame(rows)

    @staticmethod
    def overrides(cycle: date, *rows: dict[str, Any]) -> pl.DataFrame:
        """Deltas of 20 in the first month on ``family=A`` unless a row says other; months count."""
        base = {
            "entered_cycle": cycle, "node": "family=A", "ds_from": 0, "ds_to": 0, "per": "month",
            "kind": "delta", "measure": "quantity", "value": 20.0, "low": None, "high": None,
            "confidence": None, "probability": 1.0, "source": "sales", "owner": "ann",
            "reason": "promotion", "event_id": None, "assumption": None, "mode": "evidence",
            "expires_cycle": None, "status": "active", "scenario": None,
            "known_at": datetime.combine(cycle, datetime.min.time()),
        }  # fmt: skip
        full = [base | {"override_id": f"o{k}"} | row for k, row in enumerate(rows)]
        for row in full:
            row["ds_from"], row["ds_to"] = (
                add_months(cycle, row[name]) for name in ("ds_from", "ds_to")
            )
        types = {name: c.dtype for name, c in Overrides.columns().items()}
        return pl.DataFrame(full, schema_overrides=types)


@pytest.fixture
def stored_company(tmp_path: Path) -> StoredCompany:
    """A store to put runs in, levels family and region."""
    store = open_store(tmp_path / "planning.db")
    settings = make_settings(
        {"levels": ["family", "region"], "horizon": 4, "advanced": {"draws": 60},
         "sources": ["sales", "marketing", "finance"]}
    )  # fmt: skip
    return StoredCompany(store, settings)
