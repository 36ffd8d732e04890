"""Who gets a row of credibility, and how much each was heard: against plain counting."""

from __future__ import annotations

from datetime import date

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.judgement.posterior import FRAME, who_spoke

Row = tuple[str, str, str, str, float]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["o1", "o2", "o3", "o4"]),
        st.sampled_from(["sales", "finance"]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["promotion", "account"]),
        st.sampled_from([-1.5, -0.0, 0.0, 2.0]),
    ),
    min_size=1,
    max_size=25,
)


def observations(rows: list[Row]) -> pl.DataFrame:
    names = ["override_id", "source", "owner", "reason", "d"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(ds_from=pl.lit(date(2026, 1, 1)), y=pl.lit(0.0))


@given(ROWS)
def test_rows_and_counts_are_those_of_a_hand_count(rows: list[Row]) -> None:
    counted: dict[tuple[str, ...], list[str]] = {}
    for override, source, owner, reason, d in rows:
        way = "up" if d >= 0 else "down"
        for who in ((source, owner, reason), (source, owner, "*"), (source, "*", "*"), ("*",) * 3):
            for turn in ("up", "down"):
                counted.setdefault((*who, turn), [])
            counted[*who, way].append(override)
    expected = [(*key, len(of), len(set(of))) for key, of in sorted(counted.items())]
    assert who_spoke(observations(rows)).rows() == expected


@given(ROWS, st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[Row], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert who_spoke(observations(rows)).equals(who_spoke(observations(shuffled)))


def test_an_override_of_both_directions_is_an_opinion_in_each() -> None:
    rows: list[Row] = [("o1", "sales", "ann", "promotion", d) for d in (3.0, 2.0, -1.0)]
    found = who_spoke(observations(rows)).filter(pl.col("source") == "*")
    assert found.select("direction", "observations", "opinions").rows() == [
        ("down", 1, 1),
        ("up", 2, 1),
    ]


def test_the_frame_begins_with_who_spoke() -> None:
    found = who_spoke(observations([("o1", "sales", "ann", "promotion", 1.0)]))
    assert dict(found.schema) == {name: FRAME[name] for name in found.columns}
    assert found.columns == list(FRAME)[: found.width]
