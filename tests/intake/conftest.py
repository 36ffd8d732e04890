"""A small clinic on paper: two studies, their sites, cohorts, patients and schedule, as files."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sopforecast.errors import DataError
from sopforecast.intake.against import ReadOptions, Standing, with_table
from sopforecast.intake.files import ParsedTable, read_table

TODAY = date(2026, 11, 22)
ITEMS = ("KIT-1", "VIAL-5")
FILES = {
    "studies": "study,target_enrolment\nABC-1,120\nDEF-2,60\n",
    "cohorts": "study,cohort,share_low,share_high\nABC-1,A,0.3,0.6\nABC-1,B,0.4,0.7\n",
    "sites": (
        "study,site,country,planned_activation_date,activated_date,closed_date\n"
        "ABC-1,S1,DE,2026-01-10,2026-01-20,\n"
        "ABC-1,S2,FR,2026-01-10,2026-02-03,2026-06-15\n"
        "ABC-1,S7,FR,2027-01-10,,\n"
        "DEF-2,007,US,2026-03-01,2026-03-02,\n"
    ),
    "enrolment": (
        "study,site,ds,screened,screen_failed,enrolled\n"
        "ABC-1,S1,2026-03,6,2,3\nABC-1,S1,2026-04,4,1,4\n"
    ),
    "schedule": "study,protocol_version,unique_id,quantity\nABC-1,v1,KIT-1,1\nABC-1,v2,KIT-1,2\n",
}


@dataclass
class Clinic:
    """Reads one file after another; what was read before stands."""

    folder: Path
    standing: Standing = field(default_factory=Standing)

    def read(self, table: str, text: str, *, name: str = "f.csv", **reading: Any) -> ParsedTable:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return self.read_file(table, path, **reading)

    def read_file(self, table: str, path: Path, **reading: Any) -> ParsedTable:
        asked = {"options": ReadOptions(), "today": TODAY, "items_known": ITEMS} | reading
        parsed = read_table(path, table=table, standing=self.standing, **asked)
        self.standing = with_table(self.standing, table, parsed.frame)
        return parsed

    def row(self, table: str, text: str) -> dict[str, Any]:
        """The one row of a file."""
        (row,) = self.read(table, text).frame.to_dicts()
        return row

    def refused(self, table: str, text: str) -> DataError:
        try:
            self.read(table, text)
        except DataError as err:
            return err
        raise AssertionError(f"{table}: was not refused")


@pytest.fixture(scope="session")
def _files_read(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    opened = Clinic(tmp_path_factory.mktemp("clinic"))
    for table, text in FILES.items():
        opened.read(table, text)
    return opened.standing


@pytest.fixture
def clinic(tmp_path: Path, _files_read: Standing) -> Clinic:
    """A clinic that has read all of ``FILES``."""
    return Clinic(tmp_path, _files_read)


@pytest.fixture
def new_clinic(tmp_path: Path) -> Clinic:
    """A clinic that has read nothing."""
    return Clinic(tmp_path)
