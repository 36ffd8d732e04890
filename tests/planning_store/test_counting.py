"""Which run of a cycle counts: the published one, else the one made last, as of a moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.publish import publish
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store

DEC, JAN = date(2026, 12, 1), date(2027, 1, 1)


def test_the_published_run_counts_before_the_one_made_last(
    store: Store, run_parts: Callable[..., dict[str, Any]]
) -> None:
    for run_id, cycle, day in (("j1", JAN, 15), ("r1", DEC, 10), ("r2", DEC, 20), ("r3", DEC, 25)):
        parts = run_parts(run_id, cycle=cycle)
        known_by = datetime(2027 if cycle == JAN else 2026, cycle.month, day)
        save_run(store, **(parts | {"run": parts["run"] | {"known_by": known_by}}))

    def counts(*moment: int) -> dict[date, str]:
        return counting_runs(store, known_by=datetime(*moment))

    assert counts(2026, 12, 9) == {}
    assert counts(2026, 12, 10) == {DEC: "r1"}
    assert counts(2026, 12, 31) == {DEC: "r3"}
    publish(store, cycle=DEC, run_id="r1", by="ann", at=datetime(2026, 12, 28))
    assert counts(2026, 12, 27) == {DEC: "r3"}
    assert list(counts(2027, 2, 1).items()) == [(DEC, "r1"), (JAN, "j1")]
    publish(store, cycle=DEC, run_id="r2", by="ann", at=datetime(2026, 12, 15))
    assert counts(2026, 12, 15) == {DEC: "r1"}, "what r2 read was not known by then"
    assert counts(2027, 2, 1)[DEC] == "r2"
