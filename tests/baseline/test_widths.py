"""Loadings of stored components under other widths: only those of ``paths`` items change."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.baseline.widths import width_factors, with_widths

LOADINGS = {
    "a": ("paths", "smooth", [0.5, 0.0, 0.8]),
    "b": ("paths", "rough", [0.25, 0.3, 1.2]),
    "c": ("counts", "sparse", [0.1, 0.2, 0.3]),
    "d": ("zero", "dead", [0.1, 0.2, 0.3]),
    "e": ("clinic", "clinic", [0.0, 0.0, 0.0]),
}


def components() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unique_id": list(LOADINGS),
            "kind": [kind for kind, _, _ in LOADINGS.values()],
            "segment": [segment for _, segment, _ in LOADINGS.values()],
            "centre": [b"as it was"] * len(LOADINGS),
            "loadings": [np.array(values).tobytes() for _, _, values in LOADINGS.values()],
        }
    )


def widths(**factors: float) -> pl.DataFrame:
    parts = [part.replace("_", ":") for part in factors]
    return pl.DataFrame({"part": parts, "factor": list(factors.values())})


def read(frame: pl.DataFrame) -> dict[str, list[float]]:
    rows = frame.select("unique_id", "loadings").iter_rows()
    return {item: np.frombuffer(blob, dtype="<f8").tolist() for item, blob in rows}


def test_common_and_own_parts_are_multiplied_each_by_its_factor() -> None:
    found = with_widths(components(), used=None, wanted=widths(common=2.0, own_smooth=0.5))
    told = read(found)
    assert told["a"] == [1.0, 0.0, 0.4]
    assert told["b"] == [0.5, 0.6, 1.2], "a segment that is not named keeps its own part"
    for item in "cde":
        assert told[item] == LOADINGS[item][2]
    assert_frame_equal(found.drop("loadings"), components().drop("loadings"), check_exact=True)


def test_what_was_used_is_undone() -> None:
    first, second = widths(common=1.7, own_rough=0.3), widths(own_smooth=1.1, own_rough=0.9)
    under_first = with_widths(components(), used=None, wanted=first)
    for wanted in (None, second):
        found = read(with_widths(under_first, used=first, wanted=wanted))
        straight = read(with_widths(components(), used=None, wanted=wanted))
        for item, values in straight.items():
            assert found[item] == pytest.approx(values, rel=1e-15)


def test_no_factors_change_no_byte() -> None:
    assert width_factors(None) == {}
    nothing = widths(common=1.0).clear()
    assert_frame_equal(
        with_widths(components(), used=nothing, wanted=None), components(), check_exact=True
    )
