"""What was fitted before is not fitted again, and no byte of a run shows it."""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline import known_paths, learner, model_runs
from sopforecast.baseline.fit import fit_nodes
from sopforecast.baseline.known_paths import (
    KnownPaths,
    model_paths_frame,
    paths_code,
    series_key,
)
from sopforecast.baseline.learner import LEARNERS
from sopforecast.baseline.models import LOCAL_MODELS
from sopforecast.core.executor import Executor, open_executor
from sopforecast.core.learning_tables import ModelPaths
from sopforecast.core.months import add_months

HORIZON, OFFSETS, MONTHS, SIZE = 6, (6, 12, 18, 24), 72, 14
SEGMENTS = ("aggregate", *["seasonal"] * (SIZE - 3), "sparse", "short", "dead")
END = date(2026, 9, 1)
SLOW = {"DOT", "DampedETS"}


@pytest.fixture(scope="module", autouse=True)
def _little_is_enough_to_learn_from():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "MIN_TRAINING_ROWS", 60)
        yield


@pytest.fixture(scope="module")
def demand(seasonal_demand):
    y = seasonal_demand(SIZE, MONTHS)
    y[-3] = np.where(np.arange(MONTHS) % 3 == 0, 4.0, 0.0)  # sparse
    y[-2, :-20] = np.nan  # short
    y[-1, -30:] = 0.0  # dead
    return y


@pytest.fixture(scope="module")
def panel(demand, make_panel, make_hierarchy):
    return make_panel(demand, make_hierarchy(SIZE))


@pytest.fixture
def asked(monkeypatch):
    """Names of series and models, and of learners, that were fitted."""
    told = []
    chunk, learn = model_runs.forecast_chunk, model_runs.learn_chunk

    def forecast_chunk(tasks, offsets, horizon, models):
        told.extend((t.unique_id, o, m) for t in tasks for o in offsets for m in t.models
                    if t.asks(o, m))  # fmt: skip
        return chunk(tasks, offsets, horizon, models)

    def learn_chunk(tasks):
        told.extend((t.learner, t.origin) for t in tasks)
        return learn(tasks)

    monkeypatch.setattr(model_runs, "forecast_chunk", forecast_chunk)
    monkeypatch.setattr(model_runs, "learn_chunk", learn_chunk)
    return told


def _fit(panel, *, known=None, segments=None, **changes):
    size = len(panel.nodes)
    options = {
        "offsets": OFFSETS,
        "horizon": HORIZON,
        "seed": 1,
        "executor": Executor(1, 100),
        "tell": lambda stage, share: None,
    } | changes
    return fit_nodes(panel, segments or SEGMENTS[:size], known=known, **options)


def _bytes(fitted):
    weights = {name: w.weights.tobytes() for name, w in fitted.weights.items()}
    return (
        fitted.combined.tobytes(),
        fitted.naive.tobytes(),
        fitted.backtest.paths.tobytes(),
        weights,
        fitted.fitted,
        fitted.failures,
    )


@pytest.fixture(scope="module")
def fitted(panel):
    return _fit(panel)


@pytest.fixture(scope="module")
def stored(fitted):
    return fitted.model_paths


def _names(rows):
    return {
        (o, m): json.loads(n) for o, m, n in rows.select("origin", "model", "names").iter_rows()
    }


def test_the_learners_spoke_so_that_they_are_tested_here(fitted):
    place = [fitted.backtest.models.index(name) for name in LEARNERS]
    spoke = np.isfinite(fitted.backtest.paths[1:-3, :, place]).all(axis=(0, 3))
    assert spoke.T.tolist() == [[True] * 4, [True] * 3 + [False]]  # or (models, origins)


def test_with_a_full_book_nothing_slow_is_fitted_and_bytes_are_the_same(
    panel, fitted, stored, asked
):
    again = _fit(panel, known=KnownPaths(stored))
    assert _bytes(again) == _bytes(fitted)
    assert not {what[2] for what in asked if len(what) == 3} & SLOW
    # Only a learner that had too little to learn from is asked again, to the same end.
    assert [what for what in asked if len(what) == 2] == [(LEARNERS[1], add_months(END, -24))]
    assert again.model_paths["is_end"].all()


def test_the_book_of_a_replay_and_none_give_the_same_bytes(demand, make_panel, make_hierarchy):
    """Two cycles with one book; the second has a month more and its origins are where they were."""
    book, hierarchy = KnownPaths(), make_hierarchy(SIZE)
    panels = [make_panel(demand[:, :-1], hierarchy), make_panel(demand, hierarchy)]
    panels[0] = type(panels[0])(panels[0].nodes, panels[0].y, panels[0].scored, date(2026, 8, 1))
    for panel, offsets in zip(panels, [(5, 11, 17), (6, 12, 18)], strict=True):
        with_book = _fit(panel, known=book, offsets=offsets)
        without = _fit(panel, offsets=offsets)
        assert _bytes(with_book) == _bytes(without)
        end = with_book.model_paths.filter("is_end")
        assert end.equals(without.model_paths.filter("is_end"))
    past = with_book.model_paths.filter(~pl.col("is_end"))
    assert without.model_paths.filter(~pl.col("is_end")).height == 11
    assert past.is_empty()
    # Two slow models and two learners from three origins; the furthest has nothing to correct from.
    assert book.found.height == 2 * end.height + 12 - 1


def test_workers_and_chunks_change_no_byte(
    seasonal_demand, make_panel, make_hierarchy, monkeypatch
):
    """Enough series to learn from in workers too, which know nothing of what is patched here."""
    monkeypatch.undo()
    monkeypatch.setattr(learner, "MIN_TRAINING_ROWS", 3_000)
    panel = make_panel(seasonal_demand(45, 72), make_hierarchy(45))
    options = {"segments": ["aggregate", *["seasonal"] * 45], "offsets": (12,)}
    alone = _fit(panel, **options)
    assert np.isfinite(alone.backtest.paths[:, 0, alone.backtest.models.index(LEARNERS[0])]).all()
    half = alone.model_paths.filter(pl.col("model") == "DOT")
    with open_executor(2, 7) as executor:
        again = _fit(panel, executor=executor, **options)
        from_book = _fit(panel, known=KnownPaths(half), executor=executor, **options)
    assert _bytes(again) == _bytes(from_book) == _bytes(alone)


def test_one_changed_month_is_fitted_anew_from_there_on(panel, stored, asked, demand):
    """An item's month between the origins 18 and 12 months back, and with it the sum above."""
    y = panel.y.copy()
    y[5, -15] *= 1.5
    y[0, -15] += 0.5 * panel.y[5, -15]
    changed = type(panel)(panel.nodes, y, y, END)
    found = _fit(changed, known=KnownPaths(stored))
    slow = {what for what in asked if len(what) == 3 and what[2] in SLOW}
    assert slow == {(panel.nodes[k], o, m) for k in (0, 5) for o in (0, 6, 12) for m in SLOW}
    learned = {origin for _, origin in (what for what in asked if len(what) == 2)}
    assert {END, add_months(END, -6), add_months(END, -12)} <= learned
    assert (LEARNERS[0], add_months(END, -18)) not in asked
    assert _bytes(found) == _bytes(_fit(changed))
    names = _names(found.model_paths.filter(~pl.col("is_end"), pl.col("model") == "DOT"))
    assert set(names) == {(add_months(END, -k), "DOT") for k in (6, 12)}
    assert all(nodes == [panel.nodes[0], panel.nodes[5]] for nodes in names.values())


def test_what_was_told_from_later_months_is_not_read_at_a_past_origin(panel, stored, asked):
    """Two months that were repaired since: the origins before the repair see what was there."""
    y = panel.y.copy()
    y[4, -40] += 9.0
    past = [panel.y[:, :-offset] for offset in OFFSETS]
    now = type(panel)(panel.nodes, y, y, END)
    found = _fit(now, known=KnownPaths(stored), past=past)
    slow = {what for what in asked if len(what) == 3 and what[2] in SLOW}
    assert slow == {(panel.nodes[4], 0, m) for m in SLOW}
    assert _bytes(found) == _bytes(_fit(now, past=past))


def test_a_failure_is_told_by_every_run(panel, stored, monkeypatch):
    def singular(y, horizon):
        raise FloatingPointError("singular")

    monkeypatch.setitem(LOCAL_MODELS, "DOT", singular)
    book = KnownPaths()
    first, second = (_fit(panel, known=book) for _ in range(2))
    assert len(first.failures) == 12 * 5 + 2  # the short one had 12 months at two origins
    assert second.failures == first.failures == _fit(panel).failures
    assert _bytes(first) == _bytes(second)
    ends = book.found.filter(pl.col("model") == "DOT")
    assert ends["is_end"].all()  # kept, as of every model, but it says nothing


def test_the_end_holds_every_node_and_model_of_the_run(panel, fitted, stored):
    end = stored.filter("is_end")
    assert set(end["origin"]) == {END}
    assert end["model"].to_list() == list(fitted.backtest.models)
    for row in end.iter_rows(named=True):
        assert tuple(json.loads(row["names"])) == panel.nodes
        assert len(row["keys"]) == 16 * len(panel.nodes)
        assert len(row["paths"]) == 8 * HORIZON * len(panel.nodes)
    dot = end.row(by_predicate=pl.col("model") == "DOT", named=True)
    paths = np.frombuffer(dot["paths"], dtype="<f8").reshape(-1, HORIZON)
    with np.errstate(invalid="ignore"):
        expected = LOCAL_MODELS["DOT"](panel.y[3], HORIZON)
    np.testing.assert_array_equal(paths[3], expected)
    assert np.isnan(paths[-1]).all()  # dead
    assert dot["keys"][48:64] == series_key(panel.y[3])


def test_what_is_kept_is_declared_and_of_past_origins_only_what_is_slow(stored):
    ModelPaths.validate(stored.with_columns(run_id=pl.lit("r")), cast=True)
    past = stored.filter(~pl.col("is_end"))
    assert set(past["model"]) == {*SLOW, *LEARNERS}
    assert set(past["origin"]) == {add_months(END, -offset) for offset in OFFSETS}


def test_other_code_is_not_believed(panel, stored, asked):
    other = stored.with_columns(code=pl.lit("another"))
    _fit(panel, known=KnownPaths(other))
    assert {what[2] for what in asked if len(what) == 3} >= SLOW


def test_paths_of_another_horizon_or_model_are_not_taken():
    keys = np.arange(32, dtype=np.uint8).reshape(2, 1, 1, 16)
    paths = np.array([[1.0, 2.0], [np.nan, 3.0]])[:, None, None]
    frame = model_paths_frame(
        ("a", "b"), (END,), ("DOT",), paths, keys=keys, fresh=np.ones((2, 1, 1), dtype=bool)
    )
    book = KnownPaths(frame.with_columns(run_id=pl.lit("r1")))
    first, second = keys[0].tobytes(), keys[1].tobytes()
    assert book.path(END, "DOT", 2, first).tolist() == [1.0, 2.0]
    assert book.path(END, "DOT", 2, second) is None  # not finite
    assert book.path(END, "DOT", 1, first) is None
    assert book.path(END, "DampedETS", 2, first) is None
    assert book.path(add_months(END, -1), "DOT", 2, first) is None
    assert book.found.is_empty()
    book.add(frame)
    assert book.found.equals(frame)


def test_the_key_of_a_series_by_hand():
    y = np.array([[1.0, 9.0], [2.5, 9.0]])[:, 0]  # not contiguous
    expected = hashlib.blake2b(struct.pack("<2d", 1.0, 2.5), digest_size=16).digest()
    assert series_key(y) == expected


def test_the_code_follows_sources_and_libraries(monkeypatch):
    plain = paths_code.__wrapped__()
    assert plain == paths_code()
    with monkeypatch.context() as changed:
        changed.setattr(known_paths, "version", lambda name: "0")
        assert paths_code.__wrapped__() != plain
    with monkeypatch.context() as changed:
        changed.setattr(known_paths, "_SOURCES", known_paths._SOURCES[:-1])
        assert paths_code.__wrapped__() != plain
