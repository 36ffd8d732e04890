"""The command for the people who answer for the figures."""

from __future__ import annotations

from sopforecast.commands import Common, say
from sopforecast.commands_back import app

__all__ = ["app", "kpi"]


@app.command(sort_key=10)
def kpi(
    *,
    cycle: str | None = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """KPIs of a closed month, at most five, with their thresholds; writes one page to print.

    Which ones, at which lag, their thresholds and owners: [kpi] of the settings.

    Parameters
    ----------
    cycle
        The closed month, YYYY-MM (default: the newest), as it was known at its close.
    """
    from sopforecast import terminal_kpi, workflow

    return say(workflow.kpi(common.open(), cycle=cycle), common, terminal_kpi.of_month)
