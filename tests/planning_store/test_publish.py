"""Publishing: compare-and-set, roll-back, races, and an append-only history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest

from sopforecast.core.tables import Published
from sopforecast.errors import LostRace, RequestError
from sopforecast.planning_store import publish as publish_module
from sopforecast.planning_store.publish import publications, publish, published, standing
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store

DEC, JAN = date(2026, 12, 1), date(2027, 1, 1)
AT = datetime(2026, 12, 16, 9)


@pytest.fixture
def ready(store: Store, run_parts: Callable[..., dict[str, Any]]) -> Store:
    for run_id, cycle in (("r1", DEC), ("r2", DEC), ("r3", DEC), ("j1", JAN)):
        save_run(store, **run_parts(run_id, cycle=cycle))
    return store


def go(store: Store, run_id: str, **options: Any) -> dict[str, Any]:
    return publish(store, run_id=run_id, **({"cycle": DEC, "by": "ann", "at": AT} | options))


def test_a_pointer_moves_and_its_history_stays(ready: Store) -> None:
    first = go(ready, "r1", role="planner", note="first")
    assert first == {
        "cycle": DEC,
        "version": 1,
        "stage": "consensus",
        "run_id": "r1",
        "replaced_run": None,
        "by": "ann",
        "role": "planner",
        "at": AT,
        "note": "first",
        "already_published": False,
    }
    second = go(ready, "r2", stage="approved", by="bob")
    assert (second["version"], second["replaced_run"]) == (2, "r1")
    back = go(ready, "r1", note="roll-back")
    assert (back["version"], back["replaced_run"]) == (3, "r2")
    go(ready, "j1", cycle=JAN)
    assert publications(ready, DEC)["run_id"].to_list() == ["r1", "r2", "r1"]
    assert published(ready).select("cycle", "version", "run_id").rows() == [
        (DEC, 3, "r1"),
        (JAN, 1, "j1"),
    ]
    assert publications(ready).height == 4
    Published.validate(publications(ready))
    assert standing(ready, DEC) == {k: v for k, v in back.items() if k != "already_published"}


def test_nothing_is_published_at_first(store: Store) -> None:
    assert standing(store, DEC) is None
    assert published(store).is_empty()
    assert published(store).columns == Published.column_names()


def test_a_repeated_call_is_a_no_op(ready: Store) -> None:
    first = go(ready, "r1", expect="none")
    again = go(ready, "r1", expect="none", by="robot")
    assert again == first | {"already_published": True}
    assert publications(ready).height == 1
    assert not go(ready, "r1", stage="approved")["already_published"]  # another stage is news


def test_another_run_than_expected_is_a_lost_race(ready: Store) -> None:
    go(ready, "r1", by="bob")
    for expect in ("none", "r3"):
        with pytest.raises(LostRace, match=rf"now has run r1, published by bob, expected {expect}"):
            go(ready, "r2", expect=expect)
    assert go(ready, "r2", expect="r1")["version"] == 2
    with pytest.raises(LostRace, match="now has nothing, expected r1") as lost:
        go(ready, "j1", cycle=JAN, expect="r1")
    assert lost.value.exit_code == 3


def test_who_publishes_meanwhile_wins(ready: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another publisher commits between this one's look at the pointer and its write."""
    go(ready, "r1")
    look = publish_module.standing

    def look_and_lose(store: Store, cycle: date) -> dict[str, Any] | None:
        seen = look(store, cycle)
        monkeypatch.setattr(publish_module, "standing", look)
        go(store, "r2", by="bob")
        return seen

    monkeypatch.setattr(publish_module, "standing", look_and_lose)
    with pytest.raises(LostRace, match="now has run r2, published by bob"):
        go(ready, "r3")
    assert publications(ready)["run_id"].to_list() == ["r1", "r2"]


def test_the_key_of_the_pointer_alone_lets_one_win(
    ready: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a publisher who sees an old pointer to the end cannot write its version again."""
    go(ready, "r1")
    old = standing(ready, DEC)
    go(ready, "r2", by="bob")
    monkeypatch.setattr(publish_module, "_standing", lambda *_: old)
    with pytest.raises(LostRace, match="publish again if yours should replace it"):
        go(ready, "r3")
    monkeypatch.undo()
    assert publications(ready)["run_id"].to_list() == ["r1", "r2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_id": "r9"}, r"no run 'r9'; the newest runs are: j1, r3, r2, r1"),
        ({"run_id": "j1"}, r"run j1 is of cycle 2027-01, not 2026-12; publish it with --cycle"),
        ({"run_id": "r1", "stage": "statistical"}, "allowed: consensus, approved"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    ready: Store, options: dict[str, str], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        go(ready, **options)
    assert publications(ready).is_empty()
