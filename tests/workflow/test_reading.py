"""The clinical tables through a load: judged by what the store holds, whole, and loaded again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from sopforecast import workflow
from sopforecast.errors import DataError, RequestError
from sopforecast.planning_store.inputs import admitted, loads
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workspace import Workspace, open_workspace

NOW = datetime(2026, 11, 20, 9)
FILES = {
    "items": "unique_id\nKIT-1\n",
    "studies": "study,target_enrolment\nABC-1,120\n",
    "cohorts": "cohort,share_low,share_high\nA,0.3,0.6\nB,0.4,0.7\n",
    "sites": "site,country,activated_date,closed_date\nS1,DE,2026-01-20,\nS2,FR,2026-02-03,\n",
    "enrolment": "site,ds,screened,screen_failed,enrolled\nS1,2026-03,6,2,3\nS1,2026-04,4,1,4\n",
    "schedule": "protocol_version,unique_id,quantity\nv1,KIT-1,1\n",
}


@dataclass(frozen=True)
class Desk:
    """A workspace and somebody who loads files into it."""

    workspace: Workspace

    def load(self, table: str, *texts: str, **options: Any) -> list[dict[str, Any]]:
        files = []
        for number, text in enumerate(texts):
            file = self.workspace.path / f"{table}{number}.csv"
            file.write_text(text, encoding="utf-8")
            files.append(str(file))
        told = workflow.load(self.workspace, [table, *files], **{"now": NOW} | options)
        found: list[dict[str, Any]] = told["loads"]
        return found

    def rows(self, table: str) -> pl.DataFrame:
        return admitted(self.workspace.store(), table, known_by=datetime.max)

    def refused(self, table: str, *texts: str) -> DataError:
        """The error of a load that must leave everything as it was."""
        before, counted = self.rows(table), loads(self.workspace.store()).height
        with pytest.raises(DataError) as caught:
            self.load(table, *texts)
        assert self.rows(table).equals(before)
        assert loads(self.workspace.store()).height == counted
        return caught.value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clinic") / "ws"
    workflow.init(folder, variant="clinical", now=NOW)
    desk = Desk(open_workspace(folder))
    for table, text in FILES.items():
        desk.load(table, text)
    desk.workspace.store().close()
    return folder


@pytest.fixture
def desk(made: Path, tmp_path: Path) -> Desk:
    shutil.copytree(made, tmp_path / "ws")
    return Desk(open_workspace(tmp_path / "ws"))


def test_the_clinical_variant_has_its_workbook_beside_the_planners(tmp_path: Path) -> None:
    told = workflow.init(tmp_path / "ws", variant="clinical", now=NOW)
    assert told["workbook"] == str(tmp_path / "ws" / "clinical.xlsx")
    assert sorted(file.name for file in (tmp_path / "ws").glob("*.xlsx")) == [
        "clinical.xlsx",
        "planner.xlsx",
    ]
    told = workflow.init(tmp_path / "plain", now=NOW)
    assert told["workbook"] == str(tmp_path / "plain" / "planner.xlsx")
    assert not (tmp_path / "plain" / "clinical.xlsx").exists()


def test_an_unknown_variant_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="found 'clinic'; allowed: planner, clinical"):
        workflow.init(tmp_path / "ws", variant="clinic", now=NOW)
    assert not (tmp_path / "ws" / SETTINGS_FILE).exists()


def test_the_store_holds_what_was_loaded(desk: Desk) -> None:
    assert desk.rows("enrolment")["study"].to_list() == ["ABC-1"] * 2
    assert desk.rows("enrolment")["cohort"].to_list() == ["all"] * 2
    assert desk.rows("sites")["activated_date"].to_list() == [date(2026, 1, 20), date(2026, 2, 3)]
    (row,) = desk.rows("schedule").to_dicts()
    assert (row["cohort"], row["month_offset"], str(row["per"])) == ("*", 0, "enrolled")


@pytest.mark.parametrize("table", [name for name in FILES if name != "items"])
def test_the_same_file_twice_is_no_load(desk: Desk, table: str) -> None:
    (told,) = desk.load(table, FILES[table])
    assert told["already_loaded"]


@pytest.mark.parametrize(
    ("table", "text", "row", "column"),
    [
        ("sites", "study,site\nABC-2,S9\n", 2, "study"),
        ("enrolment", "site,ds,enrolled\nS1,2026-05,1\nS3,2026-05,1\n", 3, "site"),
        ("enrolment", "site,ds,screened,enrolled\nS1,2026-05,0,1\n", 2, "enrolled"),
        ("enrolment", "site,ds,enrolled\nS2,2026-01,1\n", 2, "enrolled"),
        ("cohorts", "cohort,share_low,share_high\nC,0.4,0.5\n", 2, "share_low"),
        ("schedule", "unique_id,quantity\nKIT-2,1\n", 2, "unique_id"),
        ("tier_lines", "line_id,site,tier\nP,S3,pipeline\n", 2, "site"),
        (
            "study_events",
            "event_id,date,acts_on,protocol_version\nE,2027-01-01,schedule,v2\n",
            2,
            "protocol_version",
        ),
    ],
)
def test_a_file_is_judged_by_what_the_store_holds(
    desk: Desk, table: str, text: str, row: int, column: str
) -> None:
    (problem,) = desk.refused(table, text).problems
    assert (problem.file, problem.row, problem.column) == (f"{table}0.csv", row, column)


def test_the_second_file_is_judged_beside_the_first(desk: Desk) -> None:
    first = "site,ds,screened,screen_failed,enrolled\nS2,2026-03,2,0,2\n"
    second = "site,ds,screened,screen_failed,enrolled\nS2,2026-04,0,0,1\n"
    (problem,) = desk.refused("enrolment", first, second).problems
    assert (problem.file, problem.row) == ("enrolment1.csv", 2)
    assert len(desk.load("enrolment", first, second.replace("0,0,1", "1,0,1"))) == 2


def test_versions_of_a_line_are_known_one_after_another(desk: Desk) -> None:
    text = (
        "line_id,site,tier,outcome,converted_ds,known_at\n"
        "P,S1,pipeline,,,2026-03-02\nP,S1,committed,,,2026-05-02\n"
        "P,S1,committed,converted,2026-06,2026-07-02\n"
    )
    (told,) = desk.load("tier_lines", text)
    store = desk.workspace.store()
    seen = [
        [str(word) for word in admitted(store, "tier_lines", known_by=at)["tier"]]
        for at in (datetime(2026, 3, 1), datetime(2026, 4, 1), datetime(2026, 6, 1))
    ]
    assert seen == [[], ["pipeline"], ["committed"]]
    assert desk.rows("tier_lines")["outcome"].cast(pl.String).to_list() == ["converted"]
    assert told["rows_new"] + told["rows_changed"] == 3


def test_a_line_without_its_past_is_known_from_its_load(desk: Desk) -> None:
    desk.load("tier_lines", "line_id,site,tier\nP,S1,pipeline\n")
    (row,) = desk.rows("tier_lines").to_dicts()
    assert (row["known_at"], row["assumed"]) == (NOW, False)


def test_a_month_that_is_not_over_is_left_out_and_said(desk: Desk) -> None:
    text = "site,ds,enrolled\nS2,2026-10,2\nS2,2026-11,1\n"
    (told,) = desk.load("enrolment", text)
    assert told["rows_new"] == 1
    assert "1 row of 2026-11 left out, as the month is not over" in " ".join(told["notes"])
    (told,) = desk.load("enrolment", text, now=datetime(2026, 12, 2))
    assert (told["rows_new"], told["rows_same"]) == (1, 1)
    desk.load("enrolment", "site,ds,enrolled\nS2,2026-08,2\nS2,2026-09,1\n", through="2026-08")
    assert date(2026, 9, 1) not in desk.rows("enrolment")["ds"].to_list()


def test_a_clinical_workbook_is_one_load(desk: Desk, tmp_path: Path) -> None:
    workflow.init(tmp_path / "new", variant="clinical", now=NOW)
    path = tmp_path / "new" / "clinical.xlsx"
    new = Desk(open_workspace(tmp_path / "new"))
    with pytest.raises(DataError, match="nothing to load"):
        workflow.load(new.workspace, [str(path)], now=NOW)
    book = openpyxl.load_workbook(path)
    book["studies"].append(["ABC-1", 120])
    book["sites"].append(["ABC-1", "S1", "DE", None, datetime(2026, 2, 3)])
    book["enrolment"].append([None, "S1", None, datetime(2026, 9, 1), 6, 2, 5])
    book.save(path)
    with pytest.raises(DataError, match=r"clinical.xlsx\[enrolment\], row 2, column enrolled"):
        workflow.load(new.workspace, [str(path)], now=NOW)
    assert new.rows("studies").is_empty()
    book["enrolment"]["G2"] = 3
    book.save(path)
    told = workflow.load(new.workspace, [str(path)], now=NOW)
    assert [load["table"] for load in told["loads"]] == ["studies", "sites", "enrolment"]
    assert new.rows("enrolment")["enrolled"].to_list() == [3.0]
