"""The steps of a month over a workspace; each returns a plain dict that can be printed as JSON.

``intake`` brings data in, ``month`` forecasts, ``delivery`` publishes and exports, ``status`` tells
what is there. The command line, the demo and the batch jobs call the same functions.
"""

from sopforecast.workflow.delivery import export, publish
from sopforecast.workflow.intake import init, load, undo
from sopforecast.workflow.month import check, run
from sopforecast.workflow.status import status

__all__ = ["check", "export", "init", "load", "publish", "run", "status", "undo"]
