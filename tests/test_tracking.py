"""The mirror: what lands in MLflow, what never does, and that its failure is only a warning."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sopforecast.tracking import log_close, log_cycle

CANARY = "c4n4ry-0f-the-m1ne"
SETTINGS = "\n".join(
    [
        'name = "my company"',
        "[advanced]",
        f'store_url = "postgresql://planner:{CANARY}@db.example.org/plans"',
    ]
)
HISTORY = pl.DataFrame(
    {"unique_id": ["a", "a", "b"], "ds": [date(2026, 10, 1), date(2026, 11, 1), date(2026, 11, 1)],
     "y": [3.0, None, 5.0]}
)  # fmt: skip
RUN: dict[str, object] = {
    "run_id": "3f9a1c7b20de", "cycle": date(2026, 12, 1), "horizon": 3, "seed": 2026, "items": 2,
    "draws": 500, "levels": ["family", "family/region"], "input_hash": "ab" * 32,
    "settings_hash": "cd" * 32, "code_version": "0.1.0", "note": "not for the mirror",
}  # fmt: skip
STEPS = {"check": 0.5, "backtest": 41.25, "store": 1.0}


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making them takes seconds, copying them none."""
    folder = tmp_path_factory.mktemp("migrated")
    number = log_cycle(
        folder, experiment="template", run=RUN, settings_text="", steps={}, lead_metrics={},
        totals={}, history=HISTORY, tables={},
    )  # fmt: skip
    assert number is not None
    return folder / "mlflow.db"


@pytest.fixture
def workspace(tmp_path: Path, migrated: Path) -> Path:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return tmp_path


def log(workspace: Path, **changes: Any) -> str | None:
    arguments: dict[str, Any] = {
        "experiment": "my company",
        "run": RUN,
        "settings_text": SETTINGS,
        "steps": STEPS,
        "lead_metrics": {
            "wmape": [10.0, 12.5, float("nan")],
            "coverage80/family": [0.8, None, 0.7],
        },
        "totals": {"plan_3": 1234.0},
        "history": HISTORY,
        "tables": {"weights": pl.DataFrame({"model": ["x"], "weight": [1.0]})},
    }
    return log_cycle(workspace, **(arguments | changes))


def client(workspace: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{workspace / 'mlflow.db'}")


def runs(workspace: Path, experiment: str = "my company") -> tuple[list[Any], list[Any]]:
    """Parents and children of an experiment."""
    mlflow = client(workspace)
    number = mlflow.get_experiment_by_name(experiment).experiment_id
    found = mlflow.search_runs([number])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def test_a_cycle_is_one_run_with_tags_parameters_and_a_child_for_each_step(workspace: Path) -> None:
    number = log(workspace)
    (parent,), children = runs(workspace)
    assert parent.info.run_id == number
    assert parent.info.status == "FINISHED"
    assert {name: parent.data.tags[name] for name in ("run_id", "code_version")} == {
        "run_id": "3f9a1c7b20de", "code_version": "0.1.0",
    }  # fmt: skip
    assert (parent.data.tags["input_hash"], parent.data.tags["settings_hash"]) == (
        "ab" * 32,
        "cd" * 32,
    )
    assert parent.data.params == {
        "cycle": "2026-12", "horizon": "3", "seed": "2026", "items": "2", "draws": "500",
        "levels": "family, family/region",
    }  # fmt: skip
    assert {child.data.tags["step"]: child.data.metrics["seconds"] for child in children} == STEPS
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {number}
    assert {child.info.end_time - child.info.start_time for child in children} == {500, 41250, 1000}


def test_metrics_by_lead_have_the_lead_as_step_and_no_gaps(workspace: Path) -> None:
    number = log(workspace)
    history = client(workspace).get_metric_history(number, "wmape")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 10.0), (2, 12.5)]
    (total,) = client(workspace).get_metric_history(number, "plan_3")
    assert (total.step, total.value) == (0, 1234.0)
    assert len(client(workspace).get_metric_history(number, "coverage80/family")) == 2


def test_more_metrics_than_one_batch_holds(workspace: Path) -> None:
    number = log(workspace, totals={f"metric_{index}": float(index) for index in range(1_500)})
    metrics = client(workspace).get_run(number).data.metrics
    assert [metrics["metric_0"], metrics["metric_1499"]] == [0.0, 1499.0]


def test_the_history_is_a_dataset_input_by_its_hash(workspace: Path) -> None:
    number = log(workspace)
    (entry,) = client(workspace).get_run(number).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("history", ("ab" * 32)[:36])
    assert '"num_rows": 3' in entry.dataset.profile


def test_tables_settings_and_page_are_artifacts_that_read_back(workspace: Path) -> None:
    page = workspace / "review.html"
    page.write_text("<p>the plan</p>", encoding="utf-8")
    number = log(workspace, page=page)
    folder = workspace / "mlartifacts" / str(number) / "artifacts"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {"settings.json", "review.html", "tables/weights.parquet"}
    assert pl.read_parquet(folder / "tables" / "weights.parquet")["weight"].to_list() == [1.0]
    assert '"name": "my company"' in (folder / "settings.json").read_text(encoding="utf-8")


def test_the_same_run_id_again_makes_no_second_run(workspace: Path) -> None:
    first = log(workspace)
    assert log(workspace) == first
    assert log(workspace, run=RUN | {"run_id": "another"}) != first
    parents, children = runs(workspace)
    assert len(parents) == 2
    assert len(children) == 2 * len(STEPS)


def test_a_run_left_half_written_is_filled_to_the_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def full(*_arguments: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_artifacts", full)
        assert log(workspace) is None
    (failed,), _ = runs(workspace)
    assert failed.info.status == "FAILED"
    assert log(workspace) == failed.info.run_id
    (parent,), children = runs(workspace)
    assert parent.info.status == "FINISHED"
    assert len(children) == len(STEPS)
    assert len(client(workspace).get_metric_history(failed.info.run_id, "wmape")) == 2


CLOSE = {
    "fit_id": "c-0123456789ab", "closed": date(2026, 12, 1), "method": "nuts", "scored": 9,
    "known_at": "2027-01-15", "rules": "weights: backtest, widths: live",
}  # fmt: skip
NUMBERS = {"scored": 9.0, "statistical/wmape": 10.5, "gate/widths/difference": -0.04}
LOG = pl.DataFrame({"table": ["widths"], "decision": ["adopt"], "rules": ["live"]})


def close(workspace: Path, *, cycle_run: str | None) -> str | None:
    frame = pl.DataFrame({"source": ["sales"], "weight": [0.5]})
    return log_close(
        workspace, experiment="my company", close=CLOSE, cycle_run=cycle_run,
        steps={"read": 0.5, "fit": 2.0}, totals=NUMBERS,
        tables={"credibility": frame, "learning_log": LOG, "scores": frame},
    )  # fmt: skip


def test_a_close_stands_under_its_cycle_with_its_own_steps(workspace: Path) -> None:
    cycle = log(workspace)
    number = close(workspace, cycle_run=str(RUN["run_id"]))
    assert number is not None
    found = client(workspace).get_run(number)
    assert found.data.tags["mlflow.parentRunId"] == cycle
    assert (found.data.tags["step"], found.data.tags["fit_id"]) == ("close", CLOSE["fit_id"])
    assert found.data.params == {"closed": "2026-12", "method": "nuts", "known_at": "2027-01-15"}
    assert found.data.tags["rules"] == CLOSE["rules"], "what the gate decided can be searched for"
    assert found.data.metrics == NUMBERS
    tables = workspace / "mlartifacts" / number / "artifacts" / "tables"
    assert {file.stem for file in tables.iterdir()} == {"credibility", "learning_log", "scores"}
    assert pl.read_parquet(tables / "learning_log.parquet").equals(LOG)
    _, children = runs(workspace)
    own = [run for run in children if run.data.tags["mlflow.parentRunId"] == number]
    assert {run.data.tags["step"] for run in own} == {"read", "fit"}
    assert close(workspace, cycle_run=str(RUN["run_id"])) == number
    assert len(runs(workspace)[1]) == len(children)


def test_a_close_of_a_cycle_that_is_not_mirrored_stands_alone(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    number = close(workspace, cycle_run="nobody")
    parents, _ = runs(workspace)
    assert [run.info.run_id for run in parents] == [number]
    assert not caplog.records


def test_a_close_that_cannot_be_mirrored_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mlflow.db").write_text("a note to myself, and no database " * 50)
    assert close(tmp_path, cycle_run=None) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_identifies_patients_and_odd_names_are_left_out(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = pl.DataFrame({"line_id": ["p-1"]})
    tables = {"tier_lines": lines, "enrolment": lines, "../out": lines, "scores": lines}
    with caplog.at_level(logging.WARNING):
        number = log(workspace, tables=tables)
    written = (workspace / "mlartifacts" / str(number) / "artifacts" / "tables").iterdir()
    assert [path.name for path in written] == ["scores.parquet"]
    assert {record.args for record in caplog.records} == {
        ("tier_lines",), ("enrolment",), ("../out",),
    }  # fmt: skip


def files_with(folder: Path, text: str) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in paths if text.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        f'advanced = {{ store_url = """postgresql://u:{CANARY}@h/d""" }}',
        f'{{"advanced": {{"store_url": "postgresql://u:{CANARY}@h/d"}}}}',
        f'[[shares]]\npassword = "{CANARY}"',
        f"this is neither, store_url = {CANARY}",
    ],
    ids=["toml", "inline toml", "json", "a list", "neither"],
)
def test_a_secret_in_the_settings_is_nowhere_in_the_mirror(workspace: Path, settings: str) -> None:
    assert log(workspace, settings_text=settings) is not None
    assert files_with(workspace, CANARY) == []


def test_a_secret_of_the_environment_is_nowhere_in_the_mirror_or_the_log(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql+psycopg://planner:{CANARY}@db/plans"
    monkeypatch.setenv("SOPFORECAST_ADVANCED__STORE_URL", url)
    page = workspace.parent / f"{workspace.name}.html"
    page.write_text(f"<p>read from {url}, password {CANARY}</p>", encoding="utf-8")
    assert log(workspace, page=page, run=RUN | {"code_version": f"from {url}"}) is not None
    assert files_with(workspace, CANARY) == []
    assert files_with(workspace, "db/plans") == []

    from mlflow import MlflowClient

    def refused(*_arguments: object) -> None:
        raise ConnectionError(f"cannot reach {url} with {CANARY}")

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", refused)
    with caplog.at_level(logging.WARNING):
        assert log(workspace) is None
    assert "ConnectionError" in caplog.text
    assert CANARY not in caplog.text


def _no_mlflow(_folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "mlflow", None)


def _not_a_database(folder: Path, _patch: pytest.MonkeyPatch) -> None:
    (folder / "mlflow.db").write_bytes(b"this is not a database" * 100)


def _artifacts_in_the_way(folder: Path, _patch: pytest.MonkeyPatch) -> None:
    (folder / "mlartifacts").write_text("a file where the folder should be")


@pytest.mark.parametrize("harm", [_no_mlflow, _not_a_database, _artifacts_in_the_way])
def test_a_failure_is_one_warning_and_none(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    harm(workspace, monkeypatch)
    with caplog.at_level(logging.WARNING, logger="sopforecast.tracking"):
        assert log(workspace) is None
    mine = [record for record in caplog.records if record.name == "sopforecast.tracking"]
    assert [record.levelname for record in mine] == ["WARNING"]
    assert "was not mirrored to MLflow" in mine[0].getMessage()


def test_a_folder_mlflow_would_misread_is_refused_with_nothing_written(tmp_path: Path) -> None:
    folder = tmp_path / "100%25 plan"
    folder.mkdir()
    assert log(folder) is None
    assert [path.name for path in tmp_path.iterdir()] == ["100%25 plan"]
    assert list(folder.iterdir()) == []


def test_a_folder_with_blanks_and_signs_works(tmp_path: Path, migrated: Path) -> None:
    folder = tmp_path / "Jane Doe" / "S&OP #1"
    folder.mkdir(parents=True)
    shutil.copy(migrated, folder / "mlflow.db")
    assert log(folder) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["Jane Doe"]


def test_an_interrupt_passes(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "log_artifacts", interrupt)
    with pytest.raises(KeyboardInterrupt):
        log(workspace)


def test_nothing_of_the_process_is_changed(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    seen: list[str | None] = []
    get = mlflow.MlflowClient.get_experiment_by_name
    monkeypatch.setattr(
        mlflow.MlflowClient,
        "get_experiment_by_name",
        lambda *given: seen.append(os.environ.get("MLFLOW_DISABLE_TELEMETRY")) or get(*given),
    )

    def state() -> tuple[object, ...]:
        loggers = [
            logging.getLogger(name) for name in ("", "mlflow", "alembic", "sqlalchemy.engine")
        ]
        return (
            dict(os.environ),
            mlflow.get_tracking_uri(),
            mlflow.active_run(),
            [(logger.level, tuple(logger.handlers), logger.propagate) for logger in loggers],
        )

    before = state()
    assert log(workspace) is not None
    assert state() == before
    assert seen == ["true"]
    assert list(elsewhere.iterdir()) == []
