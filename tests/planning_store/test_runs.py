"""Runs: written whole once, verified when they come again, read back as they were given."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import partial
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from sopforecast.core.tables import Forecasts
from sopforecast.errors import RequestError, SopforecastError
from sopforecast.planning_store import run_outputs, schema
from sopforecast.planning_store import runs as runs_module
from sopforecast.planning_store.inputs import append_load, undo_load
from sopforecast.planning_store.runs import (
    find_run,
    latest_run,
    loads_of_run,
    read_bridge,
    read_clinical,
    read_components,
    read_forecasts,
    read_model_errors,
    read_residual_paths,
    read_run_tables,
    read_statements,
    read_weights,
    reuse_run,
    runs,
    save_run,
    stage_stored,
)
from sopforecast.planning_store.store import Store

Parts = Callable[..., dict[str, Any]]
DEC = date(2026, 12, 1)
CLINICAL = ("enrolment_forecasts", "tier_conversion", "clinical_parameters")


def read_clinical_table(name: str, store: Store, run_id: str) -> pl.DataFrame:
    return read_clinical(store, name, run_id)


def counts(store: Store) -> dict[str, int]:
    tables = ["runs", "run_log", "run_loads", *schema.OUTPUTS]
    with store.reading() as connection:
        return {
            name: connection.scalar(
                sa.select(sa.func.count()).select_from(schema.metadata.tables[name])
            )
            for name in tables
        }


def test_everything_comes_back_as_it_was_given(store: Store, run_parts: Parts) -> None:
    parts = run_parts("r1")
    assert save_run(store, **parts)
    readers = {
        "components": read_components,
        "residual_paths": read_residual_paths,
        "weights": read_weights,
        "statements": lambda store, run_id: read_statements(store, [run_id]),
        "bridge": read_bridge,
        "run_tables": read_run_tables,
        "model_errors": read_model_errors,
    }
    readers |= {name: partial(read_clinical_table, name) for name in CLINICAL}
    assert {*readers, "forecasts"} == set(schema.OUTPUTS)
    for name, read in readers.items():
        declared = schema.OUTPUTS[name][0]
        given = parts[name].with_columns(run_id=pl.lit("r1")).select(declared.column_names())
        back = read(store, "r1")
        assert_frame_equal(back, declared.cast(given), check_row_order=False, check_exact=True)
        declared.validate(back)
    forecasts = read_forecasts(store, "r1", "statistical")
    Forecasts.validate(forecasts)
    given = parts["forecasts"].filter(pl.col("stage") == "statistical")
    assert_frame_equal(forecasts.drop("run_id"), given.sort("unique_id", "ds"), check_exact=True)
    assert find_run(store, "r1") == parts["run"]
    assert runs(store).drop("made_at").to_dicts() == [parts["run"]]


def test_the_same_run_again_is_a_no_op(store: Store, run_parts: Parts) -> None:
    parts = run_parts("r1")
    save_run(store, **parts)
    before = counts(store)
    shuffled = {name: parts[name].reverse() for name in schema.OUTPUTS}
    later = parts["run"] | {"created_at": datetime(2027, 1, 1), "notes": "again"}
    assert not save_run(store, **(parts | shuffled | {"run": later}))
    assert counts(store) == before
    assert find_run(store, "r1") == parts["run"]


@pytest.mark.parametrize("name", schema.OUTPUTS)
def test_other_numbers_under_the_same_id_are_refused(
    store: Store, run_parts: Parts, name: str
) -> None:
    parts = run_parts("r1")
    save_run(store, **parts)
    changed = {
        "forecasts": pl.col("p95") * (1 + 2**-52),
        "components": pl.lit(b"\0").alias("spread"),
        "residual_paths": pl.col("donor") + "x",
        "weights": pl.col("cells") + 1,
        "statements": pl.lit("supply").alias("source"),
        "bridge": pl.col("change") * (1 + 2**-52),
        "enrolment_forecasts": pl.col("p50") * (1 + 2**-52),
        "tier_conversion": pl.col("open_lines") + 1,
        "clinical_parameters": pl.lit("[1, 2]").alias("shape"),
        "run_tables": pl.lit("c-2").alias("fit_id"),
        "model_errors": pl.col("cells") + 1,
    }[name]
    frame = parts[name].with_columns(changed)
    before = counts(store)
    with pytest.raises(SopforecastError, match="run r1 is stored already and differs in content"):
        save_run(store, **(parts | {name: frame}))
    assert counts(store) == before


def test_another_seed_under_the_same_id_is_refused(store: Store, run_parts: Parts) -> None:
    parts = run_parts("r1")
    save_run(store, **parts)
    with pytest.raises(SopforecastError, match="differs in seed;"):
        save_run(store, **(parts | {"run": parts["run"] | {"seed": 1}}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("forecasts", pl.lit(-1.0).alias("plan"), r"forecasts of run r1 break their rules"),
        ("forecasts", pl.lit(9e9).alias("p05"), "quantiles_do_not_cross"),
        ("forecasts", pl.lit("A").alias("unique_id"), "primary_key"),
        ("weights", pl.lit("r0").alias("run_id"), "weights hold rows of another run than r1"),
    ],
)
def test_frames_that_break_their_rules_are_refused_whole(
    store: Store, run_parts: Parts, name: str, change: pl.Expr, message: str
) -> None:
    parts = run_parts("r1")
    with pytest.raises(RequestError, match=message):
        save_run(store, **(parts | {name: parts[name].with_columns(change)}))
    assert set(counts(store).values()) == {0}


def test_a_missing_column_is_refused(store: Store, run_parts: Parts) -> None:
    parts = run_parts("r1")
    with pytest.raises(RequestError, match="missing column"):
        save_run(store, **(parts | {"weights": parts["weights"].drop("cells")}))
    with pytest.raises(RequestError, match="wrong: seed"):
        save_run(store, **(parts | {"run": {k: v for k, v in parts["run"].items() if k != "seed"}}))


def test_a_load_that_is_not_there_is_refused(store: Store, run_parts: Parts) -> None:
    with pytest.raises(RequestError, match="names a load that is not there: 'L7'"):
        save_run(store, **(run_parts("r1") | {"loads_used": ["L7"]}))
    assert set(counts(store).values()) == {0}


def test_a_stage_is_answered_by_the_one_it_is_equal_to(store: Store, run_parts: Parts) -> None:
    parts = run_parts("r1")
    save_run(store, **parts)
    assert stage_stored(store, "r1", "approved") == "statistical"
    assert stage_stored(store, "r1", "naive") == "naive"
    assert stage_stored(store, "r1", "source:finance") is None
    approved = read_forecasts(store, "r1", "approved")
    assert set(approved["stage"]) == {"approved"}
    assert_frame_equal(
        approved.drop("stage"), read_forecasts(store, "r1", "statistical").drop("stage")
    )
    extra = parts["forecasts"].filter(pl.col("stage") == "naive")
    both = pl.concat([parts["forecasts"], extra.with_columns(stage=pl.lit("consensus"))])
    save_run(store, **(parts | {"run": parts["run"] | {"run_id": "r2"}, "forecasts": both}))
    assert stage_stored(store, "r2", "approved") == "consensus"
    assert stage_stored(store, "r2", "statistical") == "statistical"


def test_a_run_without_judgement_is_the_run_it_was(store: Store, run_parts: Parts) -> None:
    """No statements and empty ones are the same run; some are not."""
    parts = run_parts("r1")
    without = {name: given for name, given in parts.items() if name not in ("statements", "bridge")}
    assert save_run(store, **without)
    empty = {name: parts[name].clear() for name in ("statements", "bridge")}
    assert not save_run(store, **(without | empty))
    with pytest.raises(SopforecastError, match="differs in content"):
        save_run(store, **parts)
    assert read_statements(store, ["r1"]).is_empty()
    assert read_statements(store, []).columns == read_statements(store, ["r1"]).columns


def test_a_run_without_a_clinic_is_the_run_it_was(store: Store, run_parts: Parts) -> None:
    """No rows of the clinic and empty ones are the same run; some are not."""
    parts = run_parts("r1")
    without = {name: given for name, given in parts.items() if name not in CLINICAL}
    assert save_run(store, **without)
    assert not save_run(store, **(without | {name: parts[name].clear() for name in CLINICAL}))
    for name in CLINICAL:
        with pytest.raises(SopforecastError, match="differs in content"):
            save_run(store, **(without | {name: parts[name]}))
        found = read_clinical(store, name, "r1")
        assert found.is_empty()
        schema.OUTPUTS[name][0].validate(found)


def test_bytes_of_the_clinic_come_back_as_bytes(store: Store, run_parts: Parts) -> None:
    parts = run_parts("r1")
    save_run(store, **parts)
    save_run(store, **run_parts("r2", shift=1.0))
    for name in CLINICAL:
        key = [column for column in schema.OUTPUTS[name][0].primary_key() if column != "run_id"]
        given = parts[name].sort(key)
        back = read_clinical(store, name, "r1")
        assert back["run_id"].unique().to_list() == ["r1"]
        for column in given.columns:
            dtype = schema.column_dtypes(schema.OUTPUTS[name][0])[column]
            one, other = given[column].cast(dtype), back[column]
            assert one.dtype == other.dtype
            if dtype == pl.Float64:
                assert one.to_numpy().tobytes() == other.to_numpy().tobytes()
            assert one.to_list() == other.to_list()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("enrolment_forecasts", pl.lit(-1.0).alias("mean"), "break their rules"),
        ("tier_conversion", pl.lit(1.1).alias("p95"), "break their rules"),
        ("tier_conversion", pl.lit("lost").alias("tier"), "break their rules"),
        ("clinical_parameters", pl.lit("r0").alias("run_id"), "rows of another run than r1"),
    ],
)
def test_rows_of_the_clinic_that_break_their_rules_are_refused_whole(
    store: Store, run_parts: Parts, name: str, change: pl.Expr, message: str
) -> None:
    parts = run_parts("r1")
    with pytest.raises(RequestError, match=message):
        save_run(store, **(parts | {name: parts[name].with_columns(change)}))
    assert set(counts(store).values()) == {0}


def test_a_source_is_statistical_where_it_moved_nothing(store: Store, run_parts: Parts) -> None:
    parts = run_parts("r1")
    dropped = [pl.lit(None, dtype=pl.Float64).alias(n) for n in ("p05", "p25", "p75", "p95")]
    of_a = (pl.col("stage") == "statistical") & (pl.col("unique_id") == "A")
    moved = (
        parts["forecasts"]
        .filter(of_a)
        .with_columns(pl.lit("source:sales").alias("stage"), pl.col("plan") + 3, *dropped)
    )
    save_run(store, **(parts | {"forecasts": pl.concat([parts["forecasts"], moved])}))
    found = read_forecasts(store, "r1", "source:sales")
    plain = read_forecasts(store, "r1", "statistical")
    assert set(found["stage"]) == {"source:sales"}
    assert found["unique_id"].to_list() == plain["unique_id"].to_list()
    assert (found["plan"] - plain["plan"]).to_list() == [3.0, 3.0, 0.0, 0.0]
    assert found["p50"].to_list() == plain["p50"].to_list()
    assert found.select("p05", "p25", "p75", "p95").null_count().row(0) == (4, 4, 4, 4)
    Forecasts.validate(found)
    # supply spoke (o2) and moved nothing; finance did not speak
    assert read_forecasts(store, "r1", "source:supply")["plan"].to_list() == plain["plan"].to_list()
    with pytest.raises(RequestError, match="no stage 'source:finance'; it has: naive, source:sal"):
        read_forecasts(store, "r1", "source:finance")


def test_statements_of_many_runs_are_read_at_once(
    store: Store, run_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_outputs, "RUNS_AT_ONCE", 2)
    names = ["r1", "r2", "r3"]
    for number, name in enumerate(names):
        save_run(store, **run_parts(name, shift=float(number)))
    found = read_statements(store, reversed(names))
    assert found["run_id"].to_list() == sorted(3 * names)
    assert set(found["stated"]) == {14.0, 15.0, 16.0}


def test_what_is_not_there_is_refused_with_what_is(store: Store, run_parts: Parts) -> None:
    with pytest.raises(RequestError, match="no run 'r1'; the newest runs are: none yet"):
        find_run(store, "r1")
    save_run(store, **run_parts("r1"))
    with pytest.raises(RequestError, match="no run 'r9'; the newest runs are: r1"):
        read_forecasts(store, "r9", "consensus")
    with pytest.raises(RequestError, match="r1 has no stage 'source:other'; it has: naive, stat"):
        read_forecasts(store, "r1", "source:other")


def test_the_latest_run_is_the_one_made_last(store: Store, run_parts: Parts) -> None:
    """A rerun of the older inputs, say after an undo, makes the older run the latest again."""
    assert latest_run(store) is None
    jan = date(2027, 1, 1)
    for run_id, cycle in (("r1", DEC), ("r2", DEC), ("j1", jan)):
        save_run(store, **run_parts(run_id, cycle=cycle))
    assert latest_run(store, DEC)["run_id"] == "r2"
    assert latest_run(store)["run_id"] == "j1"
    assert not save_run(store, **run_parts("r1"))
    assert latest_run(store, DEC)["run_id"] == latest_run(store)["run_id"] == "r1"
    assert runs(store, DEC)["run_id"].to_list() == ["r2", "r1"]
    assert runs(store)["run_id"].to_list() == ["r2", "j1", "r1"]
    assert reuse_run(store, "r2", at=datetime(2027, 2, 1), loads_used=[])
    assert latest_run(store, DEC)["run_id"] == "r2"
    assert runs(store, DEC)["made_at"][-1] == datetime(2027, 2, 1)
    assert counts(store)["runs"] == 3


def test_two_who_save_the_same_run_at_once(
    store: Store, run_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look before either has written; one writes and the other verifies."""
    verify = runs_module._verify

    def verify_and_dawdle(*given: Any) -> bool:
        found = verify(*given)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(runs_module, "_verify", verify_and_dawdle)
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(save_run, store, **run_parts("r1")) for _ in range(2)]
    assert sorted(job.result() for job in made) == [False, True]
    assert counts(store)["runs"] == 1


def test_a_run_that_is_not_there_cannot_be_reused(store: Store) -> None:
    assert not reuse_run(store, "r1", at=datetime(2027, 2, 1), loads_used=[])
    assert set(counts(store).values()) == {0}


def test_a_run_knows_the_loads_it_read(store: Store, run_parts: Parts) -> None:
    at = datetime(2026, 12, 8)
    for name in ("a", "b"):
        frame = pl.DataFrame({"unique_id": [name]})
        append_load(store, "items", frame, file=name, file_hash=name, loaded_by="ann", loaded_at=at)
    save_run(store, **(run_parts("r1") | {"loads_used": ["L0001", "L0001"]}))
    assert loads_of_run(store, "r1")["load_id"].to_list() == ["L0001"]
    reuse_run(store, "r1", at=at, loads_used={"L0002"})
    undo_load(store, "L0002", at=at)
    assert loads_of_run(store, "r1").rows() == [
        ("L0001", "items", "a", None),
        ("L0002", "items", "b", at),
    ]
