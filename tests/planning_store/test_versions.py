"""Which versions count and from when they are known, against a plain sequential retelling.

``retell`` goes through the loads one by one, the way the rules are told; the store computes the
same with window expressions, incrementally, and again after loads were undone in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sopforecast.planning_store.inputs import admitted, append_load, undo_load
from sopforecast.planning_store.store import Store

START = datetime(2026, 2, 1, 9)
MONTHS = [date(2026, m, 1) for m in (1, 2, 3)]
LAG_DAYS = 5
Key = tuple[str, date]


@dataclass(frozen=True)
class Said:
    y: float | None
    partial: bool
    known_at: datetime | None


@dataclass
class File:
    name: str
    at: datetime
    full: bool
    rows: dict[Key, Said]
    undone: bool = False


@dataclass
class Version:
    known_at: datetime
    file: str
    content: tuple[float | None, bool] | None  # None: retracted


@dataclass
class Told:
    versions: list[Version] = field(default_factory=list)

    def by(self, moment: datetime) -> Version | None:
        """The last version by known time, the later told one on a tie."""
        known = [v for v in self.versions if v.known_at <= moment]
        return max(reversed(known), key=lambda v: v.known_at) if known else None


def _month_end_rule(month: date) -> datetime:
    after = datetime(month.year + month.month // 12, month.month % 12 + 1, 1)
    return after + timedelta(days=LAG_DAYS) - timedelta(microseconds=1)


def _tell(told: Told, file: File, month: date, said: Said | None) -> None:
    content = None if said is None else (said.y, said.partial)
    last = max((v.known_at for v in told.versions), default=datetime.min)
    has_whole = any(v.content is not None and not v.content[1] for v in told.versions)
    stated = said.known_at if said is not None else None
    if stated is not None:
        known_at = stated
    elif said is None or has_whole:
        known_at = max(file.at, last)
    elif said.partial:
        known_at = max(min(file.at, _month_end_rule(month)), last)
    else:
        known_at = max(_month_end_rule(month), last)
    before = told.by(known_at)
    if before is None and content is None:
        return
    if before is not None and before.content == content and stated in (None, before.known_at):
        return
    told.versions.append(Version(known_at, file.name, content))


def retell(files: list[File]) -> dict[Key, Told]:
    """What is told of each key by the files that stand, one after the other."""
    told: dict[Key, Told] = {}
    for file in (f for f in files if not f.undone):
        months = {month for _, month in file.rows}
        gone = [k for k in told if file.full and k[1] in months and k not in file.rows]
        for key, said in [*file.rows.items(), *((k, None) for k in gone)]:
            _tell(told.setdefault(key, Told()), file, key[1], said)
    return told


def expected_rows(files: list[File], moment: datetime) -> list[tuple[Any, ...]]:
    rows = []
    for key, told in sorted(retell(files).items()):
        version = told.by(moment)
        if version is not None and version.content is not None:
            rows.append((*key, *version.content, version.known_at, version.file))
    return rows


_key = st.tuples(st.sampled_from(["A", "B"]), st.sampled_from(MONTHS))


@st.composite
def _said(draw: st.DrawFn, *, stated: bool) -> tuple[float | None, bool, int | None]:
    days_back = draw(st.none() | st.integers(0, 40)) if stated else None
    return draw(st.sampled_from([1.0, 2.0, None])), draw(st.booleans()), days_back


@st.composite
def _steps(draw: st.DrawFn, *, stated: bool) -> list[Any]:
    load = st.tuples(
        st.dictionaries(_key, _said(stated=stated), min_size=1, max_size=4),
        st.booleans(),
        st.integers(0, 30),
    )
    return draw(st.lists(load | st.integers(0, 4), min_size=2, max_size=7))


def _play(store: Store, steps: list[Any]) -> list[File]:
    """Load and undo as the steps say; returns the files that were loaded."""
    files: list[File] = []
    ids: dict[str, str] = {}
    at = START
    for number, step in enumerate(steps):
        if isinstance(step, int):
            if step < len(files):
                undo_load(store, ids[files[step].name], at=at)
                files[step].undone = True
            continue
        rows, full, days = step
        at += timedelta(days=days)
        said = {
            key: Said(y, partial, None if back is None else at - timedelta(days=back))
            for key, (y, partial, back) in rows.items()
        }
        file = File(f"file{number}", at, full, said)
        report = append_load(
            store,
            "history",
            _frame(said),
            file=file.name,
            file_hash=file.name,
            loaded_by="tester",
            loaded_at=at,
            history_lag_days=LAG_DAYS,
            full=full,
        )
        ids[file.name] = report.load_id
        files.append(file)
    return files


def _frame(rows: dict[Key, Said]) -> pl.DataFrame:
    records = [(*key, said.y, said.partial, said.known_at) for key, said in rows.items()]
    types = {"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64, "partial": pl.Boolean}
    return pl.DataFrame(records, schema=types | {"known_at": pl.Datetime("us")}, orient="row")


def _read(store: Store, files: list[File], moment: datetime) -> list[tuple[Any, ...]]:
    frame = admitted(store, "history", known_by=moment)
    names = {f"L{number:04d}": file.name for number, file in enumerate(files, start=1)}
    columns = ["unique_id", "ds", "y", "partial", "known_at", "load_id"]
    return [(*row[:-1], names[row[-1]]) for row in frame.select(columns).iter_rows()]


def _moments(files: list[File]) -> list[datetime]:
    """Every moment at which something may become known, one just before, and far later."""
    known = {v.known_at for told in retell(files).values() for v in told.versions}
    known |= {file.at for file in files} | {_month_end_rule(month) for month in MONTHS}
    early = {moment - timedelta(microseconds=1) for moment in known}
    return [*sorted(known | early), datetime(2099, 1, 1)]


def _check(store: Store, steps: list[Any]) -> None:
    files = _play(store, steps)
    for moment in _moments(files):
        assert _read(store, files, moment) == expected_rows(files, moment)
    store.close()


_property = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_property
@given(steps=_steps(stated=False))
def test_loads_and_undos_in_any_order_read_as_the_rules_tell(
    new_store: Callable[[], Store], steps: list[Any]
) -> None:
    _check(new_store(), steps)


@_property
@given(steps=_steps(stated=True))
def test_known_times_in_the_file_are_read_as_the_rules_tell(
    new_store: Callable[[], Store], steps: list[Any]
) -> None:
    _check(new_store(), steps)


def test_what_is_said_again_does_not_put_off_what_follows(
    new_store: Callable[[], Store],
) -> None:
    """A retraction said twice, the load before it undone, then a first whole month."""
    march, other = ("A", MONTHS[2]), ("B", MONTHS[2])
    whole, partial = (1.0, False, None), (1.0, True, None)
    _check(
        new_store(),
        [
            ({march: whole}, False, 0),
            ({march: partial}, True, 28),
            ({other: whole}, True, 29),
            0,
            ({other: whole}, True, 14),
            ({march: whole}, False, 0),
        ],
    )
