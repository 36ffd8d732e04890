"""Where a statement's news goes: the experiment runs small; what it is held against is right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from scipy import integrate, stats

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "locality"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"locality_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exact() -> ModuleType:
    return _load("exact")


@pytest.mark.parametrize(
    ("value", "error_sd"), [(80.0, 5.0), (20.0, 5.0), (10.0, 30.0), (70.0, 25.0), (140.0, 10.0)]
)
def test_posterior_of_a_gamma_number_by_quadrature(exact, value, error_sd):
    law = stats.gamma(5.0, scale=10.0)
    z = law.ppf((np.arange(4_000) + 0.5) / 4_000)

    def moment(power: int) -> float:
        def integrand(x: float) -> float:
            return x**power * law.pdf(x) * np.exp(-0.5 * ((x - value) / error_sd) ** 2)

        return integrate.quad(integrand, 0, 400, points=[value], limit=400)[0]

    true = moment(1) / moment(0)
    true_sd = np.sqrt(moment(2) / moment(0) - true**2)
    mean, sd = exact.posterior_moments(z, value=value, error_sd=error_sd)
    assert mean == pytest.approx(true, rel=0.003)
    assert sd == pytest.approx(true_sd, rel=0.01)


def test_posterior_at_the_ends(exact):
    z = np.random.default_rng(0).gamma(4.0, 10.0, 1_000)
    assert exact.posterior_moments(z, value=70.0, error_sd=0.0) == (70.0, 0.0)
    assert exact.posterior_moments(z, value=-70.0, error_sd=0.0) == (0.0, 0.0)
    vague = exact.posterior_moments(z, value=70.0, error_sd=1e7)
    assert vague == pytest.approx((z.mean(), z.std(ddof=1)), rel=0.01)
    assert exact.posterior_moments(np.full(9, 3.0), value=70.0, error_sd=1.0) == (3.0, 0.0)


def test_posterior_draws_decide_where_there_are_many_of_them(exact):
    """A two-humped number: no gamma distribution would see the gap."""
    rng = np.random.default_rng(0)
    z = np.where(
        rng.random(4_000) < 0.5, rng.normal(100.0, 5.0, 4_000), rng.normal(200.0, 5.0, 4_000)
    )
    mean, sd = exact.posterior_moments(z, value=190.0, error_sd=20.0)
    assert mean == pytest.approx(199.0, abs=3.0)
    assert sd < 16.0


def test_part_a_small():
    frame = _load("run").run(part="A", engines=2, oracle_draws=100_000)
    assert frame.height == 19 * 3
    strong = frame.filter(pl.col("rule") != "linear")
    assert strong["mean_gap"].abs().max() < 0.06
    assert strong["sd_gap"].abs().max() < 0.15


def test_whole_runs_are_held_side_by_side_number_by_number():
    whole = _load("whole_run")
    numbers = {name: [1.0, None] for name in whole.VALUES}
    stage = pl.DataFrame({"unique_id": ["a", "b"], "ds": [1, 1], **numbers})
    assert whole._changed(stage, stage) == (2, 0)
    moved = stage.with_columns(p95=pl.Series([1.0 + 2**-52, None]))
    assert whole._changed(stage, moved) == (2, 1)
    assert whole._changed(stage, stage.with_columns(p05=pl.lit(1.0))) == (2, 1)


def test_committed_results_are_whole():
    results = pl.read_csv(FOLDER / "results.csv", infer_schema_length=None)
    assert not results.is_duplicated().any()
    checks = results.filter(pl.col("part") == "B")
    assert checks.height >= 20
    assert (checks["cells"] > 0).all()
    assert (checks["violations"] == 0).all()
    rules = results.filter(pl.col("part") == "A")["rule"].value_counts()
    assert dict(rules.iter_rows()) == {"linear": 19, "numerical": 19, "exact": 19}
    assert (FOLDER / "README.md").read_text().startswith("# ")
