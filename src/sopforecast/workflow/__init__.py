"""The steps of a month over a workspace; each returns a plain dict that can be printed as JSON.

``intake`` brings data in, ``checking`` looks it over, ``month`` forecasts, ``delivery`` publishes
and exports, ``close`` weighs what was said about a month that is over, ``replaying`` does both for
the past, ``kpi`` tells how good closed months were, ``clinical`` answers for the trials, ``status``
tells what is there. The command line, the
demo and the batch jobs call the same functions.
"""

from sopforecast.workflow.checking import check
from sopforecast.workflow.clinical import clinical
from sopforecast.workflow.close import close
from sopforecast.workflow.delivery import export, publish
from sopforecast.workflow.intake import init, load, undo
from sopforecast.workflow.kpi import kpi
from sopforecast.workflow.month import run
from sopforecast.workflow.replaying import replay
from sopforecast.workflow.status import status

__all__ = [
    "check",
    "clinical",
    "close",
    "export",
    "init",
    "kpi",
    "load",
    "publish",
    "replay",
    "run",
    "status",
    "undo",
]
