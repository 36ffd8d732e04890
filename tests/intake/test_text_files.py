"""Text into cells: the short way and the long way agree."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.errors import DataError
from sopforecast.intake.text_files import cut_plain, cut_quoted, read_text_sheet

plain_cells = st.text(
    st.characters(exclude_characters='",', exclude_categories=["Cs", "Cc"]), max_size=4
)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(plain_cells, min_size=n, max_size=n))))
def test_text_without_quotes_is_cut_the_same_both_ways(rows) -> None:
    text = "\n".join(",".join(row) for row in rows) + "\n"
    short, long = cut_plain(text, ","), cut_quoted(text, ",", file="h.csv")
    if short is None or long is None:
        assert short is None
        assert long is None
        return
    assert (short.header_row, short.header) == (long.header_row, long.header)
    assert short.rows.to_list() == long.rows.to_list()
    assert [c.to_list() for c in short.columns] == [c.to_list() for c in long.columns]


@given(
    rows=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=3, max_size=3
        )
    ),
    separator=st.sampled_from([",", ";", "\t"]),
)
def test_what_the_csv_module_writes_is_cut_back(rows, separator) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(
        [["a", "b", "c"], *rows]
    )
    cut = cut_quoted(buffer.getvalue(), separator, file="h.csv")
    filled = [row for row in rows if any(map(str.strip, row))]
    assert list(zip(*(column.to_list() for column in cut.columns), strict=True)) == [
        tuple(row) for row in filled
    ]


@pytest.mark.parametrize("text", ['a,b\n1,2\n3,"4\n', "a,b\n1,2,3\n", "a,b\n1,2\r3,4\n", "\n \n"])
def test_the_short_way_declines_what_it_cannot_cut(text) -> None:
    assert cut_plain(text, ",") is None


def test_the_separator_with_even_rows_wins(tmp_path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("id;name, long;y\n1;a, b;2,5\n2;c;3,5\n")
    sheet = read_text_sheet(path)
    assert [cells.name for cells in sheet.columns] == ["id", "name, long", "y"]
    assert sheet.has_european_separators


def test_a_guard_against_formulas_is_taken_off(tmp_path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("id,b\n'=1+1,'quoted'\n''@x,'\n")
    ids, other = read_text_sheet(path).columns
    assert ids.text.to_list() == ["=1+1", "'@x"]
    assert other.text.to_list() == ["'quoted'", "'"]


@pytest.mark.parametrize("raw", [b"a,b\n\x81,2\n", b"\xff\xfea\x00,", b"\xef\xbb\xbfa,b\n\xff,1\n"])
def test_bytes_that_are_no_text_are_refused(tmp_path, raw) -> None:
    path = tmp_path / "h.csv"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="CSV UTF-8"):
        read_text_sheet(path)
