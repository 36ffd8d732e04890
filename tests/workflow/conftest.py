"""A workspace of two items over two and a half years, and a small stand-in for the engine.

The stand-in is honest: what it forecasts, states and learns follows from the rows it is given and
from nothing else, so that a row that should not have been there shows in its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from sopforecast.core.evidence_tables import Bridge, Credibility, Observations, Statements
from sopforecast.core.months import add_months, month_range
from sopforecast.core.tables import Components, Forecasts, ResidualPaths, Weights
from sopforecast.planning_store.loading import append_load
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workflow import init
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
    """The stand-in, in place of the real engine."""
    made = Engine()
    monkeypatch.setattr("sopforecast.workflow.month.run_cycle", made.run_cycle)
    monkeypatch.setattr("sopforecast.cycle.close_cycle", made.close_cycle, raising=False)
    monkeypatch.setattr(
        "sopforecast.workflow.showing._sentences", lambda said: ["a sentence"] * bool(said.height)
    )
    return made


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
