"""A workspace: one folder with the settings, the planning store, MLflow's mirror and ``out/``.

Makes a new one (``init_workspace``) and opens an existing one (``open_workspace``).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sopforecast.core.months import month_name
from sopforecast.errors import RequestError, StoreUnreachable
from sopforecast.settings import (
    SETTINGS_FILE,
    Settings,
    default_settings_text,
    level_columns,
    load_settings,
    make_settings,
)

if TYPE_CHECKING:
    from sopforecast.planning_store.store import Store

DATABASE_FILE = "planning.db"
WORKBOOK_FILE = "planner.xlsx"
CLINICAL_FILE = "clinical.xlsx"
PAGE_FILE = "review.html"


@dataclass(frozen=True)
class Workspace:
    """Folder and settings; nothing is opened until asked for."""

    path: Path
    settings: Settings

    def store(self) -> Store:
        """The planning store, opened once: by URL from settings, else ``planning.db`` in here.

        Raises
        ------
        StoreUnreachable
        """
        return self._store

    @cached_property
    def _store(self) -> Store:
        from sopforecast.planning_store.store import open_store

        url, file = self.settings.advanced.store_url, self.path / DATABASE_FILE
        if url is None and (self.path / SETTINGS_FILE).exists() and not file.exists():
            raise StoreUnreachable(
                f"{file} is missing: restore it, or run sopforecast init in a new folder"
            )
        if url is not None and "://" not in url.get_secret_value():
            raise RequestError(
                "the store URL cannot be read; allowed: sqlite:///planning.db or "
                "postgresql://user:password@host/database"
            )
        return open_store(url.get_secret_value() if url is not None else file)

    def out(self, cycle: date) -> Path:
        """Folder of one cycle's pages; whoever writes there makes it."""
        return self.path / "out" / month_name(cycle)

    def page(self, cycle: date) -> Path:
        """Where the review page of a cycle lies."""
        return self.out(cycle) / PAGE_FILE


def open_workspace(path: Path) -> Workspace:
    """The workspace in `path`.

    Raises
    ------
    RequestError
        No ``sopforecast.toml`` there, or something in it is not allowed.
    """
    return Workspace(path=path, settings=load_settings(path))


def init_workspace(
    path: Path,
    *,
    name: str | None = None,
    levels: tuple[str, ...] = (),
    today: date,
    variant: str = "planner",
) -> Workspace:
    """Make a new workspace: settings, an empty store and a workbook with one sheet a table.

    Parameters
    ----------
    path
        New or existing folder without a workspace in it.
    name
        Of the company or portfolio; the folder's own name when not given.
    levels
        Written into the settings.
    today
        Date shown in the settings file.
    variant
        ``clinical`` adds a second workbook, for whoever knows the studies.

    Raises
    ------
    RequestError
        There is a workspace already, `path` is a file, a level cannot be one, or there is no such
        variant.
    """
    from sopforecast.intake.workbook import VARIANTS, write_workbook

    if (path / SETTINGS_FILE).exists():
        raise RequestError(f"{path} already holds a workspace; nothing was changed")
    if path.exists() and not path.is_dir():
        raise RequestError(f"{path} is a file; name a folder")
    if variant not in VARIANTS:
        raise RequestError(f"variant: found {variant!r}; allowed: {', '.join(VARIANTS)}")
    _refuse_levels(levels)
    path.mkdir(parents=True, exist_ok=True)
    text = default_settings_text(name=name or path.resolve().name, levels=levels, today=today)
    workspace = Workspace(path=path, settings=make_settings(tomllib.loads(text)))
    write_workbook(path / WORKBOOK_FILE, variant="planner", levels=level_columns(levels))
    if variant == "clinical":
        write_workbook(path / CLINICAL_FILE, variant=variant, levels=level_columns(levels))
    workspace.store()
    (path / SETTINGS_FILE).write_text(text, encoding="utf-8")  # last: until now it is no workspace
    return workspace


def _refuse_levels(levels: tuple[str, ...]) -> None:
    """A level is one or more columns of items that are not columns of every workspace already."""
    from sopforecast.core.tables import Items

    taken = Items.column_names()
    for level in levels:
        for column in level.split("/"):
            if not column.strip() or column != column.strip():
                raise RequestError(
                    f"--level: found {level!r}; allowed: a column such as family, or columns "
                    "joined by a slash such as family/region"
                )
            if column in taken:
                raise RequestError(
                    f"--level: found {level!r}, but {column} is a column of items with a meaning "
                    f"of its own; allowed: a column that groups items, not {', '.join(taken)}"
                )
