"""Now, and the moments people type.

Moments are UTC without a time zone, as the store keeps them.
"""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime, time, timedelta

from sopforecast.core.months import last_complete_month, month_end
from sopforecast.errors import RequestError


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC).replace(tzinfo=None)


def who() -> str:
    """The user of this machine, for ``loaded_by`` and ``by``."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        return "unknown"


def parse_moment(text: str) -> datetime:
    """A day (its last microsecond) or a moment; a time zone is converted to UTC.

    Raises
    ------
    RequestError

    Examples
    --------
    >>> parse_moment("2026-12-10"), parse_moment("2026-12-10T09:00+02:00")
    (datetime.datetime(2026, 12, 10, 23, 59, 59, 999999), datetime.datetime(2026, 12, 10, 7, 0))
    """
    try:
        if len(text) == len("2026-12-10"):
            return datetime.combine(date.fromisoformat(text), time.max)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(
            f"as-of: found {text!r}; allowed: a day such as 2026-12-10 or a moment such as "
            "2026-12-10T09:00 (UTC)"
        ) from None
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def reading_moment(now: datetime, *, as_of: str | None, history_lag_days: int) -> datetime:
    """By when something must be known to be read, before a cycle's cut-off caps it.

    The lag of history is there to replay the past as it was. In the first days of a month, last
    month's demand that is already loaded *is* known: without ``--as-of`` the lag does not hide it.
    """
    if as_of is not None:
        return min(parse_moment(as_of), now)
    ended = month_end(last_complete_month(now.date()))
    lagged = datetime.combine(ended, time.max) + timedelta(days=history_lag_days)
    return max(now, lagged)
