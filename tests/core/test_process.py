"""What a library changes of the process is as before afterwards, also after a failure."""

from __future__ import annotations

import logging
import os

import pytest

from sopforecast.core.process import as_before


def test_variables_and_loggers_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_BEFORE", "old")
    monkeypatch.delenv("NOT_SET", raising=False)
    talker = logging.getLogger("a.talker")
    state = (talker.handlers[:], talker.level, talker.propagate)
    with pytest.raises(ValueError, match="inside"):
        _change_and_fail(talker)
    assert os.environ["SET_BEFORE"] == "old"
    assert "NOT_SET" not in os.environ
    assert (talker.handlers, talker.level, talker.propagate) == state


def _change_and_fail(talker: logging.Logger) -> None:
    with as_before(("SET_BEFORE", "NOT_SET"), (talker.name,)):
        os.environ["SET_BEFORE"] = os.environ["NOT_SET"] = "new"
        talker.addHandler(logging.NullHandler())
        talker.setLevel(logging.ERROR)
        talker.propagate = False
        raise ValueError("inside")
