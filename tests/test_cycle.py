"""A month of a small portfolio with one item of every awkward kind, end to end."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.components import rebuild_draws
from sopforecast.baseline.models import LOCAL_MODELS
from sopforecast.core.months import add_months, month_range
from sopforecast.core.tables import QUANTILE_COLUMNS, Forecasts, History, Items
from sopforecast.cycle import run_cycle
from sopforecast.errors import DataError, RequestError
from sopforecast.settings import Settings

CYCLE = date(2026, 10, 1)
LAST = add_months(CYCLE, -1)
MONTHS, HORIZON, DRAWS = 48, 18, 60
KINDS = {
    "plain-a": "seasonal",
    "plain-b": "seasonal",
    "plain-c": "seasonal",
    "trend": "smooth",
    "small": "smooth",
    "sparse": "sparse",
    "short": "short",
    "dead": "dead",
    "discontinued": "seasonal",
    "launch": "short",
    "constant": "smooth",
    "gaps": "seasonal",
}


def _demand(name, rng):
    """Months of one item up to LAST, None where there is no row."""
    t = np.arange(MONTHS)
    wave = 1 + 0.4 * np.sin(2 * np.pi * t / 12)
    noise = np.exp(0.08 * rng.standard_normal(MONTHS))
    level = 50.0 * (1 + list(KINDS).index(name))
    y = {
        "trend": np.round(level * 1.01**t * noise),
        "small": np.round(3.0 * noise, 2),
        "sparse": rng.poisson(1.5, MONTHS) * (rng.random(MONTHS) < 0.35) * 10.0,
        "dead": np.where(t < 20, np.round(level * noise), 0.0),
        "constant": np.full(MONTHS, 40.0),
    }.get(name, np.round(level * wave * noise))
    cells = y.tolist()
    if name == "short":
        return [None] * (MONTHS - 5) + cells[-5:]
    if name == "launch":
        return [None] * (MONTHS - 3) + cells[-3:]
    if name == "gaps":
        return [None if k in (30, 31, 41) else value for k, value in enumerate(cells)]
    return cells


def _history(names=tuple(KINDS), *, partial=None, ahead=None):
    """``History`` rows; ``partial`` is demand of the cycle's first month, ``ahead`` of the next."""
    rng = np.random.default_rng(12)
    months = month_range(add_months(CYCLE, -MONTHS), MONTHS)
    rows = []
    for name in KINDS:
        cells = zip(months, _demand(name, rng), strict=True)
        mine = [(name, month, y, False) for month, y in cells if y is not None]
        if partial is not None:
            mine.append((name, CYCLE, partial, True))
        if ahead is not None:
            mine += [(name, add_months(CYCLE, k), ahead, False) for k in (1, 2, 17)]
        rows += mine if name in names else []
    frame = pl.DataFrame(rows, schema=["unique_id", "ds", "y", "partial"], orient="row")
    return pl.concat([History.create_empty(), frame], how="diagonal")


def _items(names=tuple(KINDS)):
    rows = [
        {
            "unique_id": name,
            "family": "Oncology" if k % 3 else "Vaccines",
            "region": "EU" if k % 2 else "US",
            "status": {"discontinued": "discontinued", "launch": "launch"}.get(name, "active"),
            "launch_ds": add_months(CYCLE, 4) if name == "launch" else None,
            "end_ds": add_months(CYCLE, 5) if name == "plain-c" else None,
        }
        for k, name in enumerate(KINDS)
        if name in names
    ]
    types = {
        "launch_ds": pl.Date,
        "end_ds": pl.Date,
        "status": Items.create_empty()["status"].dtype,
    }
    return pl.concat(
        [Items.create_empty(), pl.DataFrame(rows, schema_overrides=types)], how="diagonal"
    )


def _settings(levels=("family", "region"), **advanced):
    options = {"draws": DRAWS, "workers": 1} | advanced
    return Settings(levels=levels, horizon=HORIZON, advanced=options)


def _run(history=None, items="default", settings=None, **options):
    return run_cycle(
        _history() if history is None else history,
        _items() if isinstance(items, str) else items,
        cycle=CYCLE,
        settings=settings or _settings(),
        **options,
    )


def _bytes(result):
    frames = (result.forecasts, result.components, result.residual_paths, result.weights)
    return [frame.write_ipc(None, compat_level=None).getvalue() for frame in frames]


@pytest.fixture(scope="module")
def result():
    return _run()


@pytest.fixture(scope="module")
def statistical(result):
    return result.forecasts.filter(pl.col("stage") == "statistical")


def _of(frame, node, column):
    return frame.filter(pl.col("unique_id") == node).sort("ds")[column].to_numpy()


def _component(result, name):
    return result.components.filter(pl.col("unique_id") == name).row(0, named=True)


# Same bytes


@pytest.mark.parametrize(
    "advanced", [{"chunk_size": 1}, {"chunk_size": 3}, {"workers": 2, "chunk_size": 4}], ids=str
)
def test_same_bytes_with_any_workers_and_chunks(advanced, result):
    assert _bytes(_run(settings=_settings(**advanced))) == _bytes(result)


def test_the_order_of_rows_does_not_matter(result):
    history = _history().sample(fraction=1.0, shuffle=True, seed=1)
    items = _items().sample(fraction=1.0, shuffle=True, seed=2)
    assert _bytes(_run(history, items)) == _bytes(result)


@pytest.mark.parametrize("rows", [{"ahead": 1e6}, {"partial": 1e6}, {"ahead": 0.0, "partial": 0.0}])
def test_rows_of_the_cycles_own_months_and_partial_ones_change_no_byte(rows, result):
    history = _history(**rows)
    assert history.height > _history().height
    assert _bytes(_run(history)) == _bytes(result)


def test_the_last_month_does_change_the_forecast(result):
    history = _history().with_columns(
        y=pl.when(pl.col("ds") == LAST).then(pl.col("y") * 1.3).otherwise(pl.col("y"))
    )
    assert _bytes(_run(history)) != _bytes(result)


def test_another_seed_gives_other_draws_around_the_same_centre(result):
    settings = _settings().model_copy(update={"seed": 99})
    other = _run(settings=settings)
    assert _bytes(other)[0] != _bytes(result)[0]
    one, two = (_component(r, "plain-a")["centre"] for r in (other, result))
    np.testing.assert_allclose(np.frombuffer(one), np.frombuffer(two), rtol=0.05)


# Sums


def test_rows_are_those_of_the_declared_table(result):
    Forecasts.validate(result.forecasts.with_columns(pl.lit("r1").alias("run_id")), cast=True)
    nodes = len(result.hierarchy.nodes)
    assert result.forecasts.height == 2 * nodes * HORIZON
    assert nodes == 12 + 1 + 2 + 2


@pytest.mark.parametrize("stage", ["naive", "statistical"])
def test_plan_adds_exactly_at_every_node_and_month(stage, result):
    frame = result.forecasts.filter(pl.col("stage") == stage)
    hierarchy = result.hierarchy
    for node in hierarchy.aggregates:
        items = [_of(frame, hierarchy.items[i], "plan") for i in hierarchy.descendants(node)]
        np.testing.assert_array_equal(_of(frame, node, "plan"), np.sum(items, axis=0))


def test_every_draw_adds_up_and_is_what_the_forecasts_were_made_of(result, statistical):
    seed = _settings().seed
    hierarchy, draws = rebuild_draws(
        result.components, result.residual_paths, seed=seed, draws=DRAWS
    )
    bottom = draws[:, len(hierarchy.aggregates) :]
    for a, node in enumerate(hierarchy.aggregates):
        sums = bottom[:, hierarchy.descendants(node)].sum(axis=1)
        np.testing.assert_array_equal(draws[:, a], sums)
    for k, node in enumerate(hierarchy.nodes):
        p90 = np.quantile(draws[:, k], 0.9, axis=0)
        np.testing.assert_allclose(_of(statistical, node, "p90"), p90, rtol=1e-12)
        mean = draws[:, k].mean(axis=0)
        np.testing.assert_allclose(_of(statistical, node, "mean"), mean, rtol=1e-12)


def test_nothing_negative_and_quantiles_in_order(statistical):
    values = statistical.select("plan", "mean", *QUANTILE_COLUMNS).to_numpy()
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (np.diff(values[:, 2:], axis=1) >= 0).all()


def test_living_items_have_a_range_around_their_mean(statistical):
    for name in ("plain-a", "plain-b", "trend", "small", "sparse", "short", "gaps", "total"):
        low, mean, high = (_of(statistical, name, c) for c in ("p05", "mean", "p95"))
        assert (high > low).all()
        assert ((mean > low) & (mean < high)).mean() > 0.9


# Statuses and reasons


def test_segments_and_kinds_are_recorded(result):
    segments = dict(result.components.select("unique_id", "segment").iter_rows())
    for name in ("sparse", "short", "dead", "launch"):
        assert segments[name] == KINDS[name]
    kinds = dict(result.components.select("unique_id", "kind").iter_rows())
    assert kinds["sparse"] == "counts"
    assert kinds["dead"] == kinds["discontinued"] == "zero"
    assert {kinds[name] for name in KINDS if name not in ("sparse", "dead", "discontinued")} == {
        "paths"
    }


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("plain-a", "pool", None),
        ("short", "RecentMean", "mean of the last six months (too few months for any model)"),
        ("dead", "none", "no demand in the last 24 months: forecast as zero"),
        ("discontinued", "pool", "status discontinued: forecast as zero"),
        (
            "launch",
            "RecentMean",
            "no demand before its launch_ds 2027-02; "
            "mean of the last six months (too few months for any model)",
        ),
        ("plain-c", "pool", "no demand after its end_ds 2027-03"),
    ],
)
def test_models_and_reasons_are_recorded(name, model, reason, result):
    row = _component(result, name)
    assert (row["model"], row["reason"]) == (model, reason)


def test_no_demand_after_the_end_and_before_the_launch(statistical):
    for name in ("dead", "discontinued"):
        assert (_of(statistical, name, "p95") == 0).all()
        assert (_of(statistical, name, "plan") == 0).all()
    assert (_of(statistical, "launch", "p95")[:4] == 0).all()
    assert (_of(statistical, "launch", "plan")[4:] > 0).all()
    assert (_of(statistical, "plain-c", "plan")[:6] > 0).all()
    assert (_of(statistical, "plain-c", "p95")[6:] == 0).all()


def test_notes_tell_how_many_items_end_or_start(result):
    assert any(note.startswith("3 items have months before a launch") for note in result.notes)


def test_constant_demand_stays_about_where_it_is(statistical):
    np.testing.assert_allclose(_of(statistical, "constant", "plan"), 40.0, rtol=0.1)


def test_trend_and_season_are_followed(statistical):
    wave = 1 + 0.4 * np.sin(2 * np.pi * np.arange(MONTHS, MONTHS + HORIZON) / 12)
    plan = _of(statistical, "plain-b", "plan")
    np.testing.assert_allclose(plan, 100.0 * wave, rtol=0.15)
    trend = _of(statistical, "trend", "mean")
    assert trend[-1] > 0.95 * trend[0] > 200.0


def test_checks_notes_seconds_and_history_come_along(result):
    assert {check.check for check in result.checks} >= {"history_gap_months", "history_short"}
    assert set(result.seconds) == {"check", "cleanse", "forecast", "draw", "view"}
    assert all(seconds >= 0 for seconds in result.seconds.values())
    total = result.history_nodes.filter(pl.col("unique_id") == "total")
    assert total["ds"].max() == LAST
    # A gap of one item is filled in for the sum, not for the item.
    gaps = result.history_nodes.filter(pl.col("unique_id") == "gaps")
    assert (total.height, gaps.height) == (MONTHS, MONTHS - 3)
    assert result.backtest["lead"].to_list() == list(range(1, result.backtest.height + 1))


def test_progress_is_told_stage_by_stage():
    told = []
    _run(
        _history(("plain-a", "sparse")),
        _items(("plain-a", "sparse")),
        on_progress=lambda stage, share: told.append((stage, share)),
    )
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == [
        "check",
        "cleanse",
        "forecast",
        "fit",
        "learn",
        "combine",
        "reconcile",
        "ranges",
        "calibrate",
        "draw",
        "view",
    ]
    assert all(0 <= share <= 1 for _, share in told)
    assert told[-1] == ("view", 1.0)


# Failures


def _explode(y, horizon):
    return y.max() * 2.0 ** np.arange(horizon)


def _singular(y, horizon):
    raise ZeroDivisionError("singular")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_singular, "DOT: ZeroDivisionError: singular"),
        (lambda y, horizon: np.full(horizon, np.nan), "DOT: the forecast is not finite"),
        (_explode, "DOT: the forecast exceeds 5 times the largest month"),
    ],
    ids=["raises", "nan", "explodes"],
)
def test_a_failing_model_is_recorded_and_the_month_goes_on(model, reason, result, monkeypatch):
    monkeypatch.setitem(LOCAL_MODELS, "DOT", model)
    found = _run()
    row = _component(found, "plain-a")
    assert (row["model"], row["reason"]) == ("pool", reason)
    assert reason in _component(found, "discontinued")["reason"]
    assert _component(found, "sparse")["reason"] is None
    plan, usual = (
        _of(r.forecasts.filter(pl.col("stage") == "statistical"), "plain-b", "plan")
        for r in (found, result)
    )
    np.testing.assert_allclose(plan, usual, rtol=0.25)


def test_when_every_model_fails_the_recent_mean_stands_in(monkeypatch):
    for name in LOCAL_MODELS:
        monkeypatch.setitem(LOCAL_MODELS, name, _singular)
    found = _run()
    for name in ("plain-a", "sparse", "gaps"):
        row = _component(found, name)
        assert row["model"] == "RecentMean"
        assert "ZeroDivisionError: singular" in row["reason"]
    plan = _of(found.forecasts.filter(pl.col("stage") == "statistical"), "plain-a", "plan")
    assert (plan > 0).all()


# Requests that are wrong


def test_a_model_that_does_not_exist_is_refused():
    with pytest.raises(RequestError, match=r"found 'AutoEts'; allowed: DOT, .*mean AutoETS\?"):
        _run(settings=_settings(models=("AutoEts",)))


def test_history_that_begins_after_the_cycle_is_refused():
    history = _history().with_columns(ds=pl.col("ds").dt.offset_by("10y"))
    with pytest.raises(RequestError, match="no item has a known month of demand up to 2026-09"):
        _run(history)


def test_an_item_without_a_place_in_a_level_is_refused():
    with pytest.raises(DataError, match="'gaps'"):
        _run(items=_items().filter(pl.col("unique_id") != "gaps"))


def test_an_unknown_level_is_refused():
    with pytest.raises(RequestError, match="brand"):
        _run(settings=_settings(levels=("brand",)))


# Little history


def _little(items, months, *, horizon=HORIZON):
    """The last ``months`` of some plain items; history alone."""
    history = _history(("plain-a", "plain-b", "plain-c", "trend")[:items])
    history = history.filter(pl.col("ds") > add_months(LAST, -months))
    return _run(history.select("unique_id", "ds", "y"), None, _settings(levels=()))


@pytest.mark.parametrize(
    ("items", "months"),
    [(items, months) for items in (1, 4) for months in (1, 2, 6, 12, 14, 18, 24, 30, 42, 48)]
    + [(4, 13), (1, 13)],
)
def test_any_length_of_history_gives_a_forecast_with_a_range_and_says_what_it_rests_on(
    items, months
):
    found = _little(items, months)
    frame = found.forecasts.filter(pl.col("stage") == "statistical")
    low, mean, high = (_of(frame, "plain-a", c) for c in ("p10", "mean", "p90"))
    assert ((mean > 10) & (mean < 150)).all()
    assert (high - low > 0.05 * mean).all()
    assert found.forecasts.height == 2 * (items + 1) * HORIZON
    said = " ".join(found.notes)
    if months < 13:
        assert "too short for a backtest" in said
    elif months <= 42:
        assert "few errors are known for all 18 months ahead" in said
        assert "independent stretches" in said
    low, high = (_of(frame, "total", c) for c in ("p10", "p90"))
    assert (high > low).all()


def test_one_item_of_one_month():
    history = pl.DataFrame({"unique_id": ["a"], "ds": [LAST], "y": [9.0]})
    found = _run(history, None, _settings(levels=()))
    statistical = found.forecasts.filter(pl.col("stage") == "statistical")
    assert found.hierarchy.nodes == ("total", "a")
    assert set(_of(statistical, "a", "plan")) == {9.0}
    assert _of(statistical, "a", "plan").tolist() == _of(statistical, "total", "plan").tolist()
    assert (_of(statistical, "a", "p90") > _of(statistical, "a", "p10")).all()
    assert _component(found, "a")["segment"] == "short"
    assert found.backtest.height == 0


def test_history_alone_stands_under_one_total():
    found = _run(_history().select("unique_id", "ds", "y"), None, _settings(levels=()))
    assert found.hierarchy.aggregates == ("total",)
    assert _component(found, "discontinued")["reason"] is None


def test_only_constant_and_only_dead_portfolios():
    constant = _run(_history(("constant",)), _items(("constant",)))
    frame = constant.forecasts.filter(pl.col("stage") == "statistical")
    assert set(_of(frame, "constant", "plan")) == {40.0}
    assert not constant.weights.is_empty()
    dead = _run(_history(("dead",)), _items(("dead",)))
    assert (dead.forecasts["plan"] == 0).all()
    assert (dead.forecasts.filter(pl.col("stage") == "statistical")["p95"] == 0).all()
