"""Overrides and prices through a load: what is filled in, what is refused, and that it is whole."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sopforecast import workflow
from sopforecast.errors import DataError, RequestError
from sopforecast.planning_store.inputs import admitted, loads
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workspace import Workspace, open_workspace

NOW = datetime(2026, 11, 20, 9)
OPEN = date(2026, 11, 1)
ITEMS = "unique_id,family,region\n001,Onc,EU\n002,Onc,US\n003,Vac,EU\n"
HISTORY = "unique_id,ds,y\n" + "".join(
    f"00{item},2026-{month:02d},{10 * item}\n" for item in (1, 2, 3) for month in range(5, 11)
)
PRICES = (
    "unique_id,ds_from,currency,price\n001,2026-01,EUR,4\n002,2027-01,EUR,5\n003,2026-01,USD,6\n"
)
GOOD = {
    "override_id": "X", "node": "001", "ds_from": "2026-12", "kind": "delta", "value": "40",
    "source": "sales", "owner": "Ann", "reason": "tender",
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """A workspace and somebody who loads files into it."""

    workspace: Workspace

    def load(self, table: str, text: str, *, name: str = "o.csv", **options: Any) -> dict[str, Any]:
        file = self.workspace.path / name
        file.write_text(text, encoding="utf-8")
        told = workflow.load(self.workspace, [table, str(file)], **{"now": NOW} | options)
        (load,) = told["loads"]
        assert isinstance(load, dict)
        return load

    def rows(self, table: str = "overrides") -> pl.DataFrame:
        return admitted(self.workspace.store(), table, known_by=datetime.max)

    def refused(self, table: str, text: str, **options: Any) -> DataError:
        """The error of a load that must leave everything as it was."""
        before, counted = self.rows(table), loads(self.workspace.store()).height
        with pytest.raises(DataError) as caught:
            self.load(table, text, **options)
        assert self.rows(table).equals(before)
        assert loads(self.workspace.store()).height == counted
        return caught.value


def csv(*rows: dict[str, str], but: str = "") -> str:
    """Rows over ``GOOD`` as a file; ``but`` is a column to leave out."""
    full = [GOOD | row for row in rows]
    names = [name for name in dict.fromkeys(n for row in full for n in row) if name != but]
    lines = [",".join(row.get(name, "") for name in names) for row in full]
    return "\n".join([",".join(names), *lines]) + "\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk") / "ws"
    workflow.init(folder, levels=["family", "family/region"], now=NOW)
    desk = Desk(open_workspace(folder))
    for table, text in (("items", ITEMS), ("history", HISTORY), ("prices", PRICES)):
        desk.load(table, text, name=f"{table}.csv")
    desk.workspace.store().close()
    return folder


@pytest.fixture
def desk(made: Path, tmp_path: Path) -> Desk:
    shutil.copytree(made, tmp_path / "ws")
    return Desk(open_workspace(tmp_path / "ws"))


@pytest.fixture
def new_desk(tmp_path: Path) -> Desk:
    workflow.init(tmp_path / "ws", now=NOW)
    return Desk(open_workspace(tmp_path / "ws"))


def test_what_is_left_out_has_its_meaning(desk: Desk) -> None:
    told = desk.load(
        "overrides", csv({}, {"override_id": "R", "low": "4", "high": "10", "value": ""})
    )
    assert (told["rows_new"], told["partial_rows"]) == (2, 0)
    assert "entered_cycle is empty in 2 rows and taken as 2026-11" in told["notes"]
    middle, plain = desk.rows().to_dicts()
    assert plain["entered_cycle"] == OPEN
    assert plain["ds_to"] == plain["ds_from"] == date(2026, 12, 1)
    words = ("per", "measure", "mode", "status", "probability", "confidence", "scenario")
    assert [plain[name] for name in words] == [
        "month", "quantity", "evidence", "active", 1.0, None, None,
    ]  # fmt: skip
    assert (middle["value"], middle["confidence"]) == (7.0, 0.8)
    assert plain["known_at"] == datetime(2026, 11, 1)
    assert plain["assumed"]


def test_numbers_months_and_words_as_people_write_them(desk: Desk) -> None:
    text = csv(
        {"kind": "Percent", "value": "15%", "ds_from": "Jan-27", "source": "SALES"},
        {"override_id": "T", "source": "System: SAP", "probability": "30%", "reason": "Level"},
        {"override_id": "E", "kind": "percent", "value": "0.5%", "low": "-1%", "high": "2%"},
    )
    desk.load("overrides", text)
    small, tool, plain = desk.rows().to_dicts()
    assert (plain["value"], plain["ds_from"], plain["source"]) == (15.0, date(2027, 1, 1), "sales")
    assert (tool["source"], tool["probability"], tool["reason"]) == ("system:SAP", 0.3, "level")
    assert (small["low"], small["value"], small["high"]) == (-1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("cells", "node"),
    [
        ({"family": "Onc", "region": ""}, "family=Onc"),
        ({"region": "EU", "family": "Onc"}, "family=Onc/region=EU"),
        ({"unique_id": "002"}, "002"),
        ({"unique_id": "total"}, "total"),
        ({"unique_id": "001", "family": "Onc", "region": "EU"}, "001"),
    ],
)
def test_a_node_has_other_names(desk: Desk, cells: dict[str, str], node: str) -> None:
    desk.load("overrides", csv(cells, but="node"))
    assert desk.rows()["node"].to_list() == [node]


REFUSED: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "unknown node": (
        {"node": "family=Onk"}, "node", ("'family=Onk'", "did you mean 'family=Onc'?"),
    ),
    "unknown source": ({"source": "salse"}, "source", ("'salse'", "did you mean 'sales'?", "toml")),
    "a tool without a name": ({"source": "system:"}, "source", ("system:<tool>",)),
    "any as an owner": ({"owner": "*"}, "owner", ("stands for any",)),
    "past": ({"ds_from": "2026-10"}, "ds_from", ("2026-10", "past in cycle 2026-11")),
    "past in its own cycle": (
        {"ds_from": "2026-07", "entered_cycle": "2026-08"}, "ds_from", ("past in cycle 2026-08",),
    ),
    "low above high": ({"low": "9", "high": "3"}, "low", ("low 9 above high 3",)),
    "value outside": ({"low": "50", "high": "60"}, "value", ("40, outside 50 to 60",)),
    "half a range": ({"low": "5"}, "high", ("low 5 and no high",)),
    "confidence 1": (
        {"low": "3", "high": "90", "confidence": "1"}, "confidence", ("no spread can be made",),
    ),
    "confidence 80": (
        {"low": "3", "high": "90", "confidence": "80"}, "confidence", ("found 80", "0.8 for 80%"),
    ),
    "confidence 0": (
        {"low": "3", "high": "90", "confidence": "0"}, "confidence", ("above 0 and below 1",),
    ),
    "probability 0": ({"probability": "0"}, "probability", ("found 0", "above 0, up to 1")),
    "probability 30": ({"probability": "30"}, "probability", ("write 0.3 for 30%",)),
    "percent below all": ({"kind": "percent", "value": "-101"}, "value", ("-101 percent",)),
    "low below all": (
        {"kind": "percent", "value": "-90", "low": "-120", "high": "0"}, "low", ("-120 percent",),
    ),
    "a share for percent": (
        {"kind": "percent", "value": "0.15"}, "value", ("may be 15% or 0.15%", "write 15"),
    ),
    "percent of a quantity": ({"value": "15%"}, "value", ("'15%'", "where kind is percent")),
    "negative demand": ({"kind": "absolute", "value": "-4"}, "value", ("found -4", "0 or more")),
    "negative low": (
        {"kind": "absolute", "value": "4", "low": "-1", "high": "5"}, "low", ("found -1",),
    ),
    "no reason": ({"reason": ""}, "reason", ("an empty cell", "record is kept by reason")),
    "no owner": ({"owner": ""}, "owner", ("an empty cell",)),
    "no source": ({"source": ""}, "source", ("an empty cell", "one of the sources")),
    "no id": ({"override_id": ""}, "override_id", ("an empty cell",)),
    "no node": ({"node": ""}, "node", ("no node",)),
    "no value": ({"value": ""}, "value", ("an empty cell", "both low and high")),
    "no kind": ({"kind": ""}, "kind", ("an empty cell", "absolute, delta or percent")),
    "an unknown kind": ({"kind": "procent"}, "kind", ("did you mean 'percent'?",)),
    "months the wrong way": (
        {"ds_from": "2027-02", "ds_to": "2027-01"}, "ds_to", ("2027-01, before ds_from 2027-02",),
    ),
    "fixed, perhaps": ({"mode": "fixed", "probability": "0.5"}, "mode", ("probability 0.5",)),
    "expired before it began": (
        {"expires_cycle": "2026-09"}, "expires_cycle", ("before the cycle it was entered in",),
    ),
    "revenue without prices": (
        {"node": "family=Onc", "measure": "revenue"}, "measure",
        ("no price known for 2026-12 of 002;", "sopforecast load prices"),
    ),
    "revenue in two currencies": (
        {"node": "total", "measure": "revenue", "ds_from": "2027-02"}, "measure", ("EUR and USD",),
    ),
    "two names for the node": (
        {"unique_id": "002"}, "unique_id", ("'002' beside the node '001'",),
    ),
    "another family": ({"family": "Vac"}, "family", ("'Vac' beside node '001'",)),
    "no declared level": (
        {"node": "", "region": "EU"}, "region", ("no declared level", "family; family and region"),
    ),
    "an unknown family": (
        {"node": "", "family": "Onk"}, "family", ("unknown family 'Onk'", "did you mean 'Onc'?"),
    ),
    "families without that region": (
        {"node": "", "family": "Vac", "region": "US"}, "family", ("'family=Vac/region=US'",),
    ),
    "known tomorrow": ({"known_at": "2026-12-24"}, "known_at", ("up to today",)),
    "a long id": ({"override_id": "x" * 201}, "override_id", ("at most 200",)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_row_that_cannot_be_meant_is_named(desk: Desk, name: str) -> None:
    cells, column, words = REFUSED[name]
    error = desk.refused("overrides", csv({"override_id": "good"}, cells))
    (problem,) = error.problems
    assert (problem.file, problem.row, problem.column) == ("o.csv", 3, column)
    assert all(word in str(problem) for word in words), str(problem)
    assert error.exit_code == 1


def test_every_problem_of_a_file_is_named_at_once(desk: Desk) -> None:
    rows = [{**cells, "override_id": cells.get("override_id", f"{n}")}
            for n, (cells, _, _) in enumerate(REFUSED.values())
            if "node" not in cells or cells["node"]]  # fmt: skip
    error = desk.refused("overrides", csv(*rows))
    assert {p.row for p in error.problems} == set(range(2, len(rows) + 2))


def test_missing_columns_are_named_in_the_header(desk: Desk) -> None:
    error = desk.refused("overrides", "override_id,ds_from,kind\nA,2026-12,delta\n")
    assert {(p.row, p.column) for p in error.problems} == {
        (1, name) for name in ("node", "value", "source", "owner", "reason")
    }


ABSOLUTE = {"kind": "absolute", "ds_to": ""}


@pytest.mark.parametrize(
    ("other", "is_refused"),
    [
        ({}, True),
        ({"ds_from": "2026-11", "ds_to": "2027-02", "per": "span"}, True),
        ({"mode": "fixed"}, True),
        ({"owner": "Ben"}, False),
        ({"source": "finance"}, False),
        ({"kind": "delta"}, False),
        ({"measure": "revenue"}, False),
        ({"status": "withdrawn"}, False),
        ({"scenario": "high"}, False),
        ({"ds_from": "2027-01"}, False),
        ({"node": "family=Onc"}, False),
        ({"entered_cycle": "2026-08", "expires_cycle": "2026-11"}, False),
        ({"entered_cycle": "2026-08", "expires_cycle": "2026-12"}, True),
    ],
)
def test_one_owner_says_one_absolute_value_of_a_cell(
    desk: Desk, other: dict[str, str], is_refused: bool
) -> None:
    second = ABSOLUTE | {"override_id": "Y", "value": "50"} | other
    both = csv(ABSOLUTE, second)
    if is_refused:
        (problem,) = desk.refused("overrides", both).problems
        assert (problem.row, problem.column) == (3, "value")
        assert "Ann for 001 in 2026-12: 50 here, 40 in 'X' (row 2)" in problem.found
    desk.load("overrides", csv(ABSOLUTE))
    if is_refused:
        (problem,) = desk.refused("overrides", csv(second)).problems
        assert "40 in 'X' (loaded before)" in problem.found
    else:
        desk.load("overrides", csv(second), name="second.csv")
        assert desk.rows().height == 2


def test_the_same_id_is_a_new_version_and_no_second_value(desk: Desk) -> None:
    desk.load("overrides", csv(ABSOLUTE))
    told = desk.load("overrides", csv(ABSOLUTE | {"value": "60"}))
    assert (told["rows_new"], told["rows_changed"]) == (0, 1)
    (row,) = desk.rows().to_dicts()
    assert (row["value"], row["known_at"], row["entered_cycle"]) == (60.0, NOW, OPEN)


def test_files_of_one_load_are_judged_together(desk: Desk) -> None:
    files = []
    for name in ("X", "Y"):
        files.append(desk.workspace.path / f"{name}.csv")
        files[-1].write_text(csv(ABSOLUTE | {"override_id": name}))
    with pytest.raises(DataError, match=r"Y.csv, row 2, column value.*'X' \(loaded before\)"):
        workflow.load(desk.workspace, ["overrides", *map(str, files)], now=NOW)
    assert desk.rows().is_empty()


def test_fixed_overrides_that_cannot_all_hold_are_refused_with_the_set(desk: Desk) -> None:
    part = ABSOLUTE | {"mode": "fixed", "value": "50"}
    whole = part | {"override_id": "W", "node": "family=Onc", "owner": "Ben", "value": "45"}
    (problem,) = desk.refused("overrides", csv(part, whole)).problems
    assert (problem.row, problem.column) == (2, "override_id")
    assert "'X'" in problem.found
    assert "'W'" in problem.found
    desk.load("overrides", csv(part))
    (problem,) = desk.refused("overrides", csv(whole)).problems
    assert problem.row == 2
    desk.load("overrides", csv(whole | {"value": "50"}))
    assert desk.rows().height == 2


def test_an_old_file_may_be_loaded_again_next_month(desk: Desk) -> None:
    old = csv({"ds_from": "2026-11"}, {"override_id": "later"})
    desk.load("overrides", old)
    more = HISTORY + "".join(f"00{item},2026-11,5\n" for item in (1, 2, 3))
    december = datetime(2026, 12, 10)
    desk.load("history", more, name="history.csv", now=december)
    again = desk.load("overrides", old, now=december)
    assert again["already_loaded"]
    told = desk.load("overrides", old + "new,001,2027-03,delta,4,sales,Ann,tender\n", now=december)
    assert (told["rows_new"], told["rows_same"]) == (1, 2)
    cycles = dict(desk.rows().select("override_id", "entered_cycle").iter_rows())
    assert cycles == {"X": OPEN, "later": OPEN, "new": date(2026, 12, 1)}
    changed = old.replace("2026-11,delta,40", "2026-11,delta,44")
    (problem,) = desk.refused("overrides", changed, now=december).problems
    assert (problem.row, problem.column) == (2, "ds_from")
    assert "past in cycle 2026-12" in problem.found


def test_what_was_said_in_the_past_is_judged_by_its_own_cycle(desk: Desk) -> None:
    text = csv(
        {"ds_from": "2026-09", "entered_cycle": "2026-08"},
        {"override_id": "known", "ds_from": "2026-09", "known_at": "2026-09-10"},
        {"override_id": "late", "ds_from": "2026-10", "known_at": "2026-09-16"},
    )
    desk.load("overrides", text)
    rows = {row["override_id"]: row for row in desk.rows().to_dicts()}
    assert rows["X"]["known_at"] == datetime(2026, 8, 1)
    assert rows["known"]["entered_cycle"] == date(2026, 9, 1)
    assert rows["late"]["entered_cycle"] == date(2026, 10, 1)  # after the cut-off of September
    assert rows["late"]["known_at"] == datetime(2026, 9, 16)


def test_versions_of_one_override_may_come_in_one_file(desk: Desk) -> None:
    text = csv(
        {"known_at": "2026-09-10", "value": "1"},
        {"known_at": "2026-10-10", "value": "2"},
    )
    desk.load("overrides", text)
    store = desk.workspace.store()
    early = admitted(store, "overrides", known_by=datetime(2026, 9, 30))
    assert early["value"].to_list() == [1.0]
    assert desk.rows()["value"].to_list() == [2.0]
    assert desk.rows()["entered_cycle"].to_list() == [date(2026, 9, 1)]
    twice = csv({"known_at": "2026-09-10"}, {"known_at": "2026-09-10"})
    (problem,) = desk.refused("overrides", twice).problems
    assert "'X' a second time (first in row 2)" in problem.found


def test_before_any_item_overrides_and_prices_say_what_to_load(new_desk: Desk) -> None:
    for table, text in (("overrides", csv({})), ("prices", PRICES)):
        assert "load history FILE" in str(new_desk.refused(table, text))


def test_levels_need_items_first(new_desk: Desk) -> None:
    settings = new_desk.workspace.path / SETTINGS_FILE
    settings.write_text(settings.read_text().replace("levels = []", 'levels = ["family"]'))
    desk = Desk(open_workspace(new_desk.workspace.path))
    desk.load("history", HISTORY)
    assert "load items first" in str(desk.refused("overrides", csv({})))


def test_history_alone_is_enough_for_overrides(new_desk: Desk) -> None:
    new_desk.load("history", HISTORY)
    new_desk.load("overrides", csv({}, {"override_id": "all", "node": "total"}))
    assert new_desk.rows()["node"].to_list() == ["001", "total"]


def test_own_sources_are_taken_from_the_settings(new_desk: Desk) -> None:
    settings = new_desk.workspace.path / SETTINGS_FILE
    settings.write_text(settings.read_text().replace("# sources =", "sources ="))
    desk = Desk(open_workspace(new_desk.workspace.path))
    desk.load("history", HISTORY)
    (problem,) = desk.refused("overrides", csv({"source": "executive"})).problems
    assert problem.allowed.startswith("sales, marketing, finance, or system:<tool>")


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("01,2026-01,EUR,4", "unique_id", "did you mean '001'?"),
        ("001,2026-01,EUR,0", "price", "more than 0"),
        ("001,2026-01,EUR,", "price", "an empty cell"),
        ("001,,EUR,4", "ds_from", "a month such as"),
        ("002,2027-01,EUR,4", "ds_from", "'002', 2027-01 a second time"),
    ],
)
def test_a_bad_price_is_named(desk: Desk, row: str, column: str, words: str) -> None:
    text = f"unique_id,ds_from,currency,price\n002,2027-01,EUR,5\n{row}\n"
    (problem,) = desk.refused("prices", text, name="p.csv").problems
    assert (problem.file, problem.row, problem.column) == ("p.csv", 3, column)
    assert words in str(problem)


@pytest.mark.parametrize("table", ["overrides", "prices"])
def test_a_load_is_taken_back_and_listed(desk: Desk, table: str) -> None:
    text = csv({}) if table == "overrides" else PRICES + "001,2027-01,EUR,9\n"
    before = desk.rows(table)
    told = desk.load(table, text, name="mine.csv")
    assert told["rows_new"] == 1
    assert desk.load(table, text, name="mine.csv")["already_loaded"]
    assert workflow.undo(desk.workspace, told["load_id"], now=NOW)["rows"] == 1
    assert desk.rows(table).equals(before)
    newest = workflow.status(desk.workspace)["loads"][-1]
    assert (newest["table"], newest["file"]) == (table, "mine.csv")
    assert newest["undone_at"] is not None


@pytest.mark.parametrize("table", ["overrides", "prices"])
@pytest.mark.parametrize("ending", [".csv", ".xlsx", ".parquet"])
def test_an_export_loads_back_as_it_is(desk: Desk, table: str, ending: str) -> None:
    desk.load("overrides", csv({"kind": "percent", "value": "0.5%"}, {"override_id": "Y"}))
    file = desk.workspace.path / f"back{ending}"
    told = workflow.export(desk.workspace, table, file)
    assert told["rows"] == desk.rows(table).height
    (load,) = workflow.load(desk.workspace, [table, str(file)], now=NOW)["loads"]
    assert (load["rows_new"], load["rows_changed"], load["rows_same"]) == (0, 0, told["rows"])


def test_a_full_file_retracts_what_it_leaves_out(desk: Desk) -> None:
    desk.load("overrides", csv({}, {"override_id": "Y"}))
    told = desk.load("overrides", csv({}), full=True)
    assert told["rows_retracted"] == 1
    assert desk.rows()["override_id"].to_list() == ["X"]


def test_confidence_without_a_range_is_left_out_and_said(desk: Desk) -> None:
    told = desk.load("overrides", csv({"confidence": "0.9"}))
    assert "confidence is of a range: left out without low and high (row 2)" in told["notes"]
    assert desk.rows()["confidence"].to_list() == [None]


def test_a_withdrawal_of_nothing_is_pointed_out(desk: Desk) -> None:
    said = "withdrawn, but not loaded before: X"
    withdrawn = csv({"status": "withdrawn"})
    assert said in desk.load("overrides", withdrawn)["notes"]
    desk.load("overrides", csv({}, {"override_id": "Y"}), name="both.csv")
    gone = desk.load("overrides", csv({"override_id": "Y", "status": "withdrawn"}), name="y.csv")
    assert not any("not loaded before" in note for note in gone["notes"])
    assert dict(desk.rows().select("override_id", "status").iter_rows()) == {
        "X": "active", "Y": "withdrawn",
    }  # fmt: skip


def test_a_past_override_may_still_be_withdrawn(desk: Desk) -> None:
    desk.load("overrides", csv({"ds_from": "2026-11"}))
    more = HISTORY + "".join(f"00{item},2026-11,5\n" for item in (1, 2, 3))
    december = datetime(2026, 12, 10)
    desk.load("history", more, name="history.csv", now=december)
    desk.load("overrides", csv({"ds_from": "2026-11", "status": "withdrawn"}), now=december)
    assert desk.rows()["status"].to_list() == ["withdrawn"]


def test_one_person_spelled_twice_is_pointed_out(desk: Desk) -> None:
    desk.load("overrides", csv({}))
    told = desk.load("overrides", csv({"override_id": "Y", "owner": "ann"}))
    assert any("'ann'" in note and "differ only in case" in note for note in told["notes"])


def test_the_command_exits_1_and_names_the_row(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    from sopforecast.cli import main

    file = desk.workspace.path / "bad.csv"
    file.write_text(csv({"probability": "2"}))
    code = main(["load", "overrides", str(file), "--workspace", str(desk.workspace.path)])
    assert code == 1
    assert "bad.csv, row 2, column probability: found 2" in capsys.readouterr().err


def test_an_unknown_table_names_all_of_them(desk: Desk) -> None:
    with pytest.raises(RequestError, match="items, history, prices, overrides"):
        desk.load("override", csv({}))
