"""Statistical demand forecasting for S&OP.

The public functions are listed here and loaded when first used, so that ``import sopforecast`` and
``sopforecast --help`` stay light. What is not listed may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Hierarchy": "sopforecast.core.hierarchy",
    "Settings": "sopforecast.settings",
    "SopforecastError": "sopforecast.errors",
    "build_hierarchy": "sopforecast.core.hierarchy",
    "load_settings": "sopforecast.settings",
    "open_workspace": "sopforecast.workspace",
    "rebuild_draws": "sopforecast.baseline.components",
    "run_cycle": "sopforecast.cycle",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  (names are strings, built from one table)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
