"""Keeping what was asked for lately, against a plain list that forgets from its front."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sopforecast.core.lately import Lately

ACTS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 9)), max_size=40)


@given(ACTS, st.integers(1, 20))
def test_it_is_a_list_that_forgets_from_its_front(acts, most):
    kept = Lately[int](most, size=lambda thing: thing)
    plain: list[tuple[int, int]] = []
    for is_get, key, size in acts:
        found = next((one for one in plain if one[0] == key), None)
        if is_get:
            assert kept.get(key) == (None if found is None else found[1])
            if found is not None:
                plain.remove(found)
                plain.append(found)
        else:
            assert kept.keep(key, size) == size
            plain = [one for one in plain if one[0] != key] + [(key, size)]
            while len(plain) > 1 and sum(size for _, size in plain) > most:
                plain.pop(0)
        assert kept.bytes_kept == sum(size for _, size in plain)
    for key in range(6):
        assert kept.get(key) == dict(plain).get(key)
