"""KPIs of closed months: as they were at the close, on a page, on the terminal and as JSON."""

from __future__ import annotations

import json
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sopforecast import terminal_kpi, workflow
from sopforecast.cli import main
from sopforecast.core.evidence_tables import Credibility
from sopforecast.core.learning_tables import empty
from sopforecast.core.months import add_months, month_range
from sopforecast.errors import NotNow, RequestError
from sopforecast.learning.kpis import kpis
from sopforecast.learning.value_added import value_added
from sopforecast.planning_store.learned import closes, save_close
from sopforecast.workspace import Workspace, open_workspace

OCTOBER, LATER = date(2026, 10, 1), datetime(2027, 6, 1)


def _known(month: date, *, days: int = 5) -> datetime:
    return datetime.combine(add_months(month, 1), datetime.min.time()) + timedelta(days=days)


def _save(
    workspace: Workspace,
    month: date,
    fit_id: str,
    tables: dict[str, pl.DataFrame],
    days: int = 5,
    after: str | None = None,
) -> None:
    row = {
        "closed": month, "fit_id": fit_id, "known_at": _known(month, days=days),
        "made_at": _known(month, days=days), "method": "closed_form", "inputs_hash": fit_id,
        "scored": 0, "fresh": 0, "opinions": 0, "waiting": 0, "notes": "",
        "after": after,
    }  # fmt: skip
    own = {name: f.with_columns(fit_id=pl.lit(fit_id)) for name, f in tables.items()}
    save_close(workspace.store(), close=row, credibility=empty(Credibility), tables=own)


def _tables(workspace: Workspace, made: Any, month: date) -> dict[str, pl.DataFrame]:
    """What the close of a month stores of its own month, and of the window up to it."""
    until = made.scores.filter(pl.col("ds") <= month)
    sites = made.site_activation.filter(pl.col("closed") == month).drop("closed")
    tables = {
        "scores": until.filter(pl.col("ds") == month),
        "value_added": value_added(until, closed=month, sources=(), seed=1, windows=(12,)),
        "enrolment_scores": made.enrolment_scores.filter(pl.col("ds") == month),
        "site_activation": sites,
    }
    rows = kpis(
        month, settings=workspace.settings.kpi, scores=until, value_added=tables["value_added"],
        enrolment_scores=made.enrolment_scores.filter(pl.col("ds") <= month),
        site_activation=sites,
    )  # fmt: skip
    return tables | {"kpis": rows}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, closed_months: Any) -> Path:
    """A workspace with 14 closed months, one close each; tests work on copies."""
    folder = tmp_path_factory.mktemp("kpi") / "ws"
    workflow.init(folder, name="Mini")
    workspace = open_workspace(folder)
    for month in month_range(add_months(OCTOBER, -13), 14):
        _save(workspace, month, f"c-{month:%Y%m}", _tables(workspace, closed_months, month))
    return folder


@pytest.fixture
def lived(template: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(template, tmp_path / "ws")))


def _set(workspace: Workspace, text: str) -> Workspace:
    path = workspace.path / "sopforecast.toml"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace("[kpi]\n", f"[kpi]\n{text}\n"), encoding="utf-8")
    return open_workspace(workspace.path)


def _wmape(made: Any, closed: date) -> float:
    """Of the consensus, else the statistical forecast, at lead 2 over 12 months, cell by cell."""
    best: dict[tuple[Any, ...], Any] = {}
    for cell in made.cells:
        inside = add_months(closed, -11) <= cell["ds"] <= closed and cell["lead"] == 2
        key = (cell["ds"], cell["item"])
        is_last = cell["stage"] == "consensus"
        if inside and cell["stage"] != "naive" and (is_last or key not in best):
            best[key] = cell
    missed = sum(abs(cell["forecast"] - cell["actual"]) for cell in best.values())
    return float(100 * missed / sum(cell["actual"] for cell in best.values()))


def test_the_newest_closed_month_is_told(lived: Workspace, closed_months: Any) -> None:
    before = closes(lived.store())
    told = workflow.kpi(lived, now=LATER)
    assert (told["cycle"], told["fit_id"]) == ("2026-10", "c-202610")
    assert told["known_at"] == "2026-11-06 00:00"
    names = [one["kpi"] for one in told["kpis"]]
    assert names == ["accuracy", "bias", "value_added", "coverage"]
    accuracy = told["kpis"][0]
    assert accuracy["value"] == pytest.approx(100 - _wmape(closed_months, OCTOBER))
    assert [part["label"] for part in accuracy["parts"]] == [
        "Cardio & renal", "Oncology", "Vaccines",
    ]  # fmt: skip
    assert [point["closed"] for point in told["trend"]["accuracy"]][-1] == "2026-10"
    assert told["trend"]["accuracy"][-1]["value"] == accuracy["value"]
    assert told["restated"] == {"months": [], "accuracy": None}
    assert told["notes"] == []
    page = Path(told["page"])
    assert page == lived.path / "out" / "kpi-2026-10.html"
    html = page.read_text(encoding="utf-8")
    assert "What each stage added" in html
    assert "Cardio &amp; renal" in html
    assert closes(lived.store()).equals(before)


def test_asking_again_gives_the_same_bytes(lived: Workspace) -> None:
    first = workflow.kpi(lived, now=LATER)
    page = Path(first["page"]).read_bytes()
    assert workflow.kpi(open_workspace(lived.path), now=LATER + timedelta(days=9)) == first
    assert Path(first["page"]).read_bytes() == page


def test_an_earlier_month_is_told_as_it_was_at_its_close(
    lived: Workspace, closed_months: Any
) -> None:
    august = workflow.kpi(lived, cycle="2026-08", now=LATER)
    assert august["kpis"][0]["value"] == pytest.approx(
        100 - _wmape(closed_months, date(2026, 8, 1))
    )
    assert Path(august["page"]).name == "kpi-2026-08.html"
    # In November July is scored again, and items of July come in late.
    july = closed_months.scores.filter(pl.col("ds") == date(2026, 7, 1))
    version = pl.lit("restated", july.schema["version"])
    again = pl.concat([july, july.with_columns(version=version)])
    _save(lived, date(2026, 7, 1), "c-again", {"scores": again}, days=100,
          after="c-202607")  # fmt: skip
    assert workflow.kpi(lived, cycle="2026-08", now=LATER) == august


def test_restated_months_and_late_items_reach_later_closes(
    lived: Workspace, closed_months: Any
) -> None:
    before = workflow.kpi(lived, now=LATER)
    september = closed_months.scores.filter(pl.col("ds") == date(2026, 9, 1))
    doubled = september.with_columns(pl.col("absolute_error") * 0.0, version=pl.lit("restated"))
    _save(lived, date(2026, 9, 1), "c-again", {"scores": doubled}, days=20,
          after="c-202609")  # fmt: skip
    told = workflow.kpi(lived, now=LATER)
    assert told["restated"]["months"] == ["2026-09"]
    assert told["restated"]["accuracy"] > told["kpis"][0]["value"]
    assert told["kpis"] == before["kpis"]  # first scores stay
    said = " ".join(terminal_kpi.of_month(told).split())
    assert "Restated since: 2026-09; as known now accuracy is" in said


def test_a_close_known_later_than_now_is_not_seen(lived: Workspace) -> None:
    told = workflow.kpi(lived, now=datetime(2026, 10, 20))
    assert told["cycle"] == "2026-09"


def test_the_clinic_is_told_when_it_is_asked_for(lived: Workspace) -> None:
    asked = _set(lived, 'show = ["enrolment", "site_activation"]')
    told = workflow.kpi(asked, now=LATER)
    enrolment, sites = told["kpis"]
    assert enrolment["value"] == pytest.approx(100 * 75 / 84)
    assert "NOVA-1 / adult" in [part["label"] for part in enrolment["parts"]]
    assert sites["value"] == pytest.approx((10 + 30 + 91) / 3)
    points = [point["value"] for point in told["trend"]["site_activation"] if point["value"]]
    assert points == pytest.approx([70 / 3, 100 / 3, 131 / 3])


def test_changed_thresholds_are_told_beside_what_was_shown(lived: Workspace) -> None:
    told = workflow.kpi(_set(lived, "accuracy = { green = 99, yellow = 98 }"), now=LATER)
    assert told["kpis"][0]["colour"] == "red"
    assert told["notes"] == [
        "Accuracy was green at the close (green from 80%, yellow from 70%); the settings of KPIs "
        "have changed since."
    ]
    assert "have changed since" in Path(told["page"]).read_text(encoding="utf-8")
    assert "Note: Accuracy was green at the close" in terminal_kpi.of_month(told)


def test_before_any_close_it_says_what_to_do(make_workspace: Any) -> None:
    workspace = make_workspace()
    with pytest.raises(NotNow, match="sopforecast close --cycle YYYY-MM"):
        workflow.kpi(workspace, now=LATER)
    assert not (workspace.path / "out").exists()


def test_a_month_that_is_not_closed_is_named(lived: Workspace) -> None:
    with pytest.raises(NotNow, match="2026-11 is not closed; closed are 2025-09 to 2026-10"):
        workflow.kpi(lived, cycle="2026-11", now=LATER)
    with pytest.raises(RequestError, match="YYYY-MM"):
        workflow.kpi(lived, cycle="2026/11", now=LATER)


def test_a_close_without_scores_is_grey_not_wrong(make_workspace: Any) -> None:
    workspace = make_workspace()
    _save(workspace, OCTOBER, "c-bare", {})
    told = workflow.kpi(workspace, now=LATER)
    assert {one["colour"] for one in told["kpis"]} == {"grey"}
    assert {one["shown"] for one in told["kpis"]} == {"–"}
    assert told["trend"]["accuracy"] == []


def test_a_page_that_cannot_be_written_is_refused(lived: Workspace) -> None:
    (lived.path / "out").write_text("in the way", encoding="utf-8")
    with pytest.raises(RequestError, match=r"kpi-2026-10\.html cannot be written"):
        workflow.kpi(lived, now=LATER)


def test_the_command_prints_words_or_one_object(
    lived: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(lived.path)
    assert main(["kpi", "-w", folder, "--cycle", "2026-08"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("KPIs, 2026-08 closed: 12 months, the plan of 1 cycle before, known by")
    assert "green from 80%, yellow from 70%; owner finance" in said
    assert "8 of 10 should land inside P10 to P90;" in said
    assert "Oncology" in said
    assert max(map(len, said.splitlines()[:-1])) <= 110
    assert main(["kpi", "-w", folder, "--cycle", "2026-08", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cycle"] == "2026-08"
    assert len(told["kpis"]) == 4


def test_not_now_is_exit_code_5(make_workspace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kpi", "-w", str(make_workspace().path), "--json"]) == 5
    assert "no month is closed yet" in json.loads(capsys.readouterr().out)["error"]
