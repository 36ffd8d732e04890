"""Loadings and spreads of components under other widths: only those of ``paths`` items change."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.baseline.widths import lead_factors, width_factors, with_widths

LOADINGS = {
    "a": ("paths", "smooth", [0.5, 0.0, 0.8]),
    "b": ("paths", "rough", [0.25, 0.3, 1.2]),
    "c": ("counts", "sparse", [0.1, 0.2, 0.3]),
    "d": ("zero", "dead", [0.1, 0.2, 0.3]),
    "e": ("clinic", "clinic", [0.0, 0.0, 0.0]),
}
SPREADS = {item: [2.0 + k, 3.0, 4.0, 5.0, 0.0] for k, item in enumerate(LOADINGS)}


def components() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unique_id": list(LOADINGS),
            "kind": [kind for kind, _, _ in LOADINGS.values()],
            "segment": [segment for _, segment, _ in LOADINGS.values()],
            "centre": [b"as it was"] * len(LOADINGS),
            "loadings": [np.array(values).tobytes() for _, _, values in LOADINGS.values()],
            "spread": [np.array(values).tobytes() for values in SPREADS.values()],
        }
    )


def widths(**factors: float) -> pl.DataFrame:
    """``own_smooth`` is ``own:smooth``, ``lead_2_3`` is ``lead:2-3``."""
    parts = [part.replace("_", ":", 1).replace("_", "-") for part in factors]
    return pl.DataFrame({"part": parts, "factor": list(factors.values())})


def read(frame: pl.DataFrame, column: str = "loadings") -> dict[str, list[float]]:
    rows = frame.select("unique_id", column).iter_rows()
    return {item: np.frombuffer(blob, dtype="<f8").tolist() for item, blob in rows}


def test_common_and_own_parts_are_multiplied_each_by_its_factor() -> None:
    found = with_widths(components(), used=None, wanted=widths(common=2.0, own_smooth=0.5))
    told = read(found)
    assert told["a"] == [1.0, 0.0, 0.4]
    assert told["b"] == [0.5, 0.6, 1.2], "a segment that is not named keeps its own part"
    for item in "cde":
        assert told[item] == LOADINGS[item][2]
    assert_frame_equal(found.drop("loadings"), components().drop("loadings"), check_exact=True)


def test_months_ahead_are_multiplied_each_by_its_factor() -> None:
    wanted = widths(lead_1_1=0.5, lead_2_3=1.5, lead_5_24=3.0)
    found = with_widths(components(), used=None, wanted=wanted)
    told = read(found, "spread")
    assert told["a"] == [1.0, 4.5, 6.0, 5.0, 0.0], "lead 4 has no part; no spread stays none"
    assert told["b"] == [1.5, 4.5, 6.0, 5.0, 0.0]
    for item in "cde":
        assert told[item] == SPREADS[item]
    assert_frame_equal(found.drop("spread"), components().drop("spread"), check_exact=True)


def test_factors_of_months_ahead_by_hand() -> None:
    factors = {"common": 9.0, "own:lead": 8.0, "lead:1-1": 0.5, "lead:4-6": 2.0, "lead:7-12": 3.0}
    assert lead_factors(factors, 8).tolist() == [0.5, 1, 1, 2, 2, 2, 3, 3]
    assert lead_factors(factors, 2).tolist() == [0.5, 1]
    assert lead_factors({}, 3).tolist() == [1, 1, 1]


def test_what_was_used_is_undone() -> None:
    first = widths(common=1.7, own_rough=0.3, lead_1_1=0.7, lead_2_3=1.3)
    second = widths(own_smooth=1.1, own_rough=0.9, lead_2_3=0.6, lead_4_6=1.9)
    under_first = with_widths(components(), used=None, wanted=first)
    for wanted in (None, second):
        again = with_widths(under_first, used=first, wanted=wanted)
        straight = with_widths(components(), used=None, wanted=wanted)
        for column in ("loadings", "spread"):
            found = read(again, column)
            for item, values in read(straight, column).items():
                assert found[item] == pytest.approx(values, rel=1e-15)
    # Undone and done again.
    back = with_widths(with_widths(under_first, used=first, wanted=None), used=None, wanted=first)
    for column in ("loadings", "spread"):
        for item, values in read(under_first, column).items():
            assert read(back, column)[item] == pytest.approx(values, rel=1e-15)


def test_no_factors_change_no_byte() -> None:
    assert width_factors(None) == {}
    nothing = widths(common=1.0).clear()
    assert_frame_equal(
        with_widths(components(), used=nothing, wanted=None), components(), check_exact=True
    )
