"""The order of a replay: run, close, next."""

from __future__ import annotations

from datetime import date

import pytest

from sopforecast.errors import RequestError
from sopforecast.replay import Replayed, cycles_between, replay_cycles

NOV, DEC, JAN = date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)


def test_each_cycle_is_closed_before_the_next_is_run() -> None:
    done: list[tuple[str, date]] = []
    shares: list[float] = []

    def run(cycle: date) -> int:
        done.append(("run", cycle))
        return cycle.month

    def close(cycle: date) -> str | None:
        done.append(("close", cycle))
        return None if cycle == JAN else f"closed {cycle.month}"

    steps = replay_cycles(
        cycles_between(NOV, JAN), run=run, close=close,
        on_progress=lambda stage, share: shares.append(share),
    )  # fmt: skip
    assert next(steps) == Replayed(NOV, 11, "closed 11")
    assert done == [("run", NOV), ("close", NOV)], "nothing is done before it is asked for"
    assert list(steps) == [Replayed(DEC, 12, "closed 12"), Replayed(JAN, 1, None)]
    assert done[2:] == [("run", DEC), ("close", DEC), ("run", JAN), ("close", JAN)]
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_one_cycle_and_the_wrong_way_round() -> None:
    assert cycles_between(DEC, DEC) == [DEC]
    with pytest.raises(RequestError, match="found --from 2026-12 after --to 2026-11"):
        cycles_between(DEC, NOV)
