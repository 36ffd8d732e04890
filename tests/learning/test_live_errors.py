"""Live errors against a plain loop over runs, models, nodes and months."""

from __future__ import annotations

import json
import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.learning_tables import ModelPaths
from sopforecast.core.months import add_months, months_between
from sopforecast.learning.live_errors import live_errors

ORIGIN = date(2024, 12, 1)
SEGMENT_OF = {"a": "smooth", "b": "smooth", "c": "sparse", "total": "aggregate"}


def path_row(run, origin, model, names, values, *, is_end=True):
    values = np.asarray(values, dtype="<f8")
    return {
        "run_id": run,
        "origin": origin,
        "model": model,
        "horizon": values.shape[1],
        "code": "1",
        "is_end": is_end,
        "names": json.dumps(names),
        "keys": b"k" * 16 * len(names),
        "paths": values.tobytes(),
    }


def frame_of(rows):
    return ModelPaths.validate(pl.DataFrame(rows, infer_schema_length=None), cast=True)


def company(seed, *, runs=4, horizon=5, silent=0.2):
    """Random paths of 3 models, some silent; actuals of some months; nodes with yardsticks."""
    rng = np.random.default_rng(seed)
    names = list(SEGMENT_OF)
    paths, nodes = [], []
    for r in range(runs):
        origin = add_months(ORIGIN, r)
        for model in ("A", "B", "C"):
            values = rng.uniform(0, 20, (len(names), horizon))
            values[rng.random(values.shape) < silent] = np.nan
            paths.append(path_row(f"r{r}", origin, model, names, values))
            paths.append(path_row(f"r{r}-past", origin, model, names, values * 9, is_end=False))
        for name, segment in SEGMENT_OF.items():
            scale = 0.0 if rng.random() < 0.1 else float(rng.uniform(0.5, 3))
            nodes.append((f"r{r}", name, segment, scale))
            nodes.append((f"r{r}-past", name, segment, scale))
    actuals = [
        (name, add_months(ORIGIN, m), float(rng.uniform(0, 20)) if rng.random() < 0.9 else None)
        for name in names
        for m in range(1, runs + 2)
    ]
    return (
        frame_of(paths),
        pl.DataFrame(nodes, schema=["run_id", "unique_id", "segment", "scale"], orient="row"),
        pl.DataFrame(actuals, schema=["unique_id", "ds", "y"], orient="row"),
    )


def plain_loop(paths, nodes, actuals, closed):
    """Errors of each model and of the reference on shared cells, one cell after the other."""
    y = {(u, d): v for u, d, v in actuals.iter_rows() if v is not None and d <= closed}
    about = {(r, u): (s, c) for r, u, s, c in nodes.iter_rows()}
    cells = {}
    for row in paths.iter_rows(named=True):
        if not row["is_end"]:
            continue
        values = np.frombuffer(row["paths"]).reshape(-1, row["horizon"])
        for name, path in zip(json.loads(row["names"]), values, strict=True):
            segment, scale = about[row["run_id"], name]
            for lead, forecast in enumerate(path, start=1):
                ds = add_months(row["origin"], lead)
                if (name, ds) in y and not math.isnan(forecast) and scale > 0:
                    error = min(abs(forecast - y[name, ds]) / scale, 10.0)
                    cells.setdefault(segment, {}).setdefault(row["model"], {})[
                        row["run_id"], name, ds
                    ] = error
    answer = {}
    for segment, models in cells.items():
        reference = min(models, key=lambda m: (-len(models[m]), m))
        power = 2 if segment in ("sparse", "aggregate_sparse") else 1
        found = {}
        for model, errors in models.items():
            both = [key for key in errors if key in models[reference]]
            if not both:
                continue
            weight = {key: 0.5 ** (months_between(key[2], closed) / 12) for key in both}
            size = [
                (sum(weight[k] * e[k] ** power for k in both) / sum(weight.values())) ** (1 / power)
                for e in (errors, models[reference])
            ]
            months = {key[2] for key in both}
            found[model] = (
                size[0],
                size[0] / size[1],
                len(both),
                len({key[1] for key in both}),
                len(months),
                sum(0.5 ** (months_between(m, closed) / 12) for m in months),
            )
        best = min(f[1] for f in found.values())
        answer |= {(segment, m): (f[0], f[1] / best, *f[2:]) for m, f in found.items()}
    return answer


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.7]))
def test_against_a_plain_loop(seed, silent):
    paths, nodes, actuals = company(seed, silent=silent)
    closed = add_months(ORIGIN, 4)
    found = live_errors(paths, nodes, actuals, closed=closed)
    expected = plain_loop(paths, nodes, actuals, closed)
    assert [tuple(row[:2]) for row in found.iter_rows()] == sorted(expected)
    for row in found.iter_rows():
        assert row[2:] == pytest.approx(expected[row[:2]], rel=1e-12)


def test_worked_by_hand():
    """Two months, the older one a year old and so worth half; B silent in the newer one."""
    names = ["a"]
    rows = [
        path_row("old", add_months(ORIGIN, -12), "A", names, [[12.0]]),
        path_row("old", add_months(ORIGIN, -12), "B", names, [[11.0]]),
        path_row("new", ORIGIN, "A", names, [[13.0]]),
        path_row("new", ORIGIN, "B", names, [[np.nan]]),
    ]
    nodes = pl.DataFrame(
        {"run_id": ["old", "new"], "unique_id": "a", "segment": "smooth", "scale": [2.0, 1.0]}
    )
    actuals = pl.DataFrame(
        {"unique_id": "a", "ds": [add_months(ORIGIN, -11), add_months(ORIGIN, 1)], "y": 10.0}
    )
    found = live_errors(frame_of(rows), nodes, actuals)
    # A: errors 1 (weight 1/2) and 3 (weight 1). B: 0.5, on the old month only, where A had 1.
    assert found.rows() == [
        ("smooth", "A", pytest.approx(3.5 / 1.5), 2.0, 2, 1, 2, 1.5),
        ("smooth", "B", 0.5, 1.0, 1, 1, 1, 0.5),
    ]


def test_order_of_rows_and_months_after_the_close_change_no_byte():
    paths, nodes, actuals = company(7)
    closed = add_months(ORIGIN, 3)
    found = live_errors(paths, nodes, actuals, closed=closed)
    mixed = (table.sample(fraction=1.0, shuffle=True, seed=2) for table in (paths, nodes, actuals))
    assert live_errors(*mixed, closed=closed).equals(found)
    spoilt = actuals.with_columns(y=pl.when(pl.col("ds") > closed).then(pl.lit(1e6)).otherwise("y"))
    assert live_errors(paths, nodes, spoilt, closed=closed).equals(found)
    assert not live_errors(paths, nodes, spoilt).equals(found)


def test_nothing_to_learn_from_gives_no_rows():
    paths, nodes, actuals = company(1)
    early = add_months(ORIGIN, -1)
    expected = live_errors(paths, nodes, actuals).schema
    for found in (
        live_errors(paths.clear(), nodes, actuals),
        live_errors(paths, nodes.clear(), actuals),
        live_errors(paths, nodes, actuals.clear()),
        live_errors(paths, nodes, actuals, closed=early),
    ):
        assert found.is_empty()
        assert found.schema == expected


def test_a_damaged_path_is_refused():
    row = path_row("r", ORIGIN, "A", ["a", "b"], [[1.0, 2.0]])
    _, nodes, actuals = company(1)
    with pytest.raises(ValueError, match="paths of A in run r: found 2 numbers; allowed: 2 names"):
        live_errors(frame_of([row]), nodes, actuals)
