"""What a team decides once: ``sopforecast.toml``, with the environment over it.

Reads the file of a workspace and ``SOPFORECAST_*`` variables (``SOPFORECAST_SEED``,
``SOPFORECAST_ADVANCED__DRAWS``); returns one frozen ``Settings``. Unknown keys are refused, and a
password is accepted from the environment only.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from pydantic_settings import PydanticBaseSettingsSource as Source

from sopforecast.errors import RequestError
from sopforecast.settings_sections import (
    AdvancedSettings,
    ClinicalSettings,
    HistorySettings,
    KpiSettings,
    KpiThreshold,
)
from sopforecast.settings_template import TEMPLATE

SETTINGS_FILE = "sopforecast.toml"
ENV_PREFIX = "SOPFORECAST_"
OTHER_VARIABLES = ("data",)  # where the tests and experiments find real data
LONGEST_HORIZON = 60
SOURCES = (
    "sales", "marketing", "clinical", "finance", "analytical", "regulatory", "executive", "supply",
)  # fmt: skip
SOURCE_PATTERN = r"^[^\s:*/][^:*/]{0,99}$"  # "*" is any source; a stage is called source:<name>
STORE_URL_VARIABLE = f"{ENV_PREFIX}ADVANCED__STORE_URL"

# Settings that say where or how fast, or how files are read; the numbers of a run do not depend on
# them beyond the rows they admit, and those rows are hashed themselves.
NOT_IN_NUMBERS = ("name", "columns", "cutoff_day", "history_lag_days", "sources", "kpi")
NOT_IN_NUMBERS_HISTORY = ("negative", "unit_slip")
NOT_IN_NUMBERS_CLINICAL = ("green", "yellow", "service_level")
NOT_IN_NUMBERS_ADVANCED = (
    "workers", "chunk_size", "store_url", "mlflow", "id_separator", "decimal", "sampler",
)  # fmt: skip


class Settings(BaseSettings):
    """All settings of one workspace.

    Parameters
    ----------
    name
        Shown on pages and in MLflow.
    levels
        Level labels over the items, coarse first: ``"family"`` or ``"family/region"``.
    horizon
        Months ahead.
    cutoff_day
        Last day of the first forecast month whose knowledge a cycle may use.
    history_lag_days
        Days after its month ends at which a history row is known.
    sources
        Who may speak in overrides, beside ``system:<tool>``, which always may.
    columns
        Per table, our column name -> the file's column name, or several that make up an id.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    name: str = "my company"
    levels: tuple[str, ...] = ()
    horizon: int = Field(default=18, ge=1, le=LONGEST_HORIZON)
    seed: int = Field(default=2026, ge=0)
    cutoff_day: int = Field(default=15, ge=1, le=28)
    history_lag_days: int = Field(default=5, ge=0, le=60)
    sources: tuple[Annotated[str, Field(pattern=SOURCE_PATTERN)], ...] = SOURCES
    history: HistorySettings = HistorySettings()
    columns: dict[str, dict[str, str | tuple[str, ...]]] = {}
    clinical: ClinicalSettings = ClinicalSettings()
    advanced: AdvancedSettings = AdvancedSettings()
    kpi: KpiSettings = KpiSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Source,
        env_settings: Source,
        dotenv_settings: Source,
        file_secret_settings: Source,
    ) -> tuple[Source, ...]:
        """Environment over file; the file arrives as the initial values."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (env_settings, init_settings)

    def numbers(self) -> dict[str, Any]:
        """Only the settings that can change a number of a run, as plain JSON values."""
        values = self.model_dump(mode="json", exclude=set(NOT_IN_NUMBERS))
        for key in NOT_IN_NUMBERS_HISTORY:
            values["history"].pop(key)
        for key in NOT_IN_NUMBERS_CLINICAL:
            values["clinical"].pop(key)
        for key in NOT_IN_NUMBERS_ADVANCED:
            values["advanced"].pop(key)
        if self.advanced.gate:  # as if the setting were not there: only without it ids are others
            values["advanced"].pop("gate")
        return values

    def numbers_text(self) -> str:
        """``numbers`` as JSON with sorted keys: kept with the run, and what is hashed."""
        return json.dumps(self.numbers(), sort_keys=True, ensure_ascii=False)

    def numbers_hash(self) -> str:
        """SHA-256 (hex) of ``numbers_text``."""
        return hashlib.sha256(self.numbers_text().encode()).hexdigest()


def load_settings(workspace: Path) -> Settings:
    """Settings of a workspace.

    Parameters
    ----------
    workspace
        Folder that holds ``sopforecast.toml``.

    Returns
    -------
    Settings

    Raises
    ------
    RequestError
        The file is missing, is not TOML, has an unknown key or a value that is not allowed, or
        holds a password.
    """
    path = workspace / SETTINGS_FILE
    values = _read_toml(path)
    _refuse_password(values, path)
    return make_settings(values, where=str(path))


def make_settings(values: dict[str, Any], *, where: str = "settings") -> Settings:
    """Settings from plain values with the environment over them; `where` names them in errors."""
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except SettingsError as err:
        raise RequestError(f"environment {ENV_PREFIX}*: {err}; allowed: JSON") from None
    except ValidationError as err:
        problems = [_explain(dict(error)) for error in err.errors(include_url=False)]
        raise RequestError(f"{where}: " + "; ".join(problems)) from None


def level_columns(levels: Sequence[str]) -> tuple[str, ...]:
    """The columns of items that levels are made of, each once, in settings order.

    Examples
    --------
    >>> level_columns(["family", "family/region"])
    ('family', 'region')
    """
    names = [unquote(part) for level in levels for part in level.split("/")]
    return tuple(dict.fromkeys(names))


def with_horizon(settings: Settings, horizon: int) -> Settings:
    """The same settings with another horizon, in months.

    Raises
    ------
    RequestError
        Not 1 to ``LONGEST_HORIZON``.
    """
    if not 1 <= horizon <= LONGEST_HORIZON:
        raise RequestError(f"horizon: found {horizon}; allowed: 1 to {LONGEST_HORIZON} months")
    return settings.model_copy(update={"horizon": horizon})


def default_settings_text(
    *, name: str = "my company", levels: tuple[str, ...] = (), today: date | None = None
) -> str:
    """The settings file that ``init`` writes: 15 visible lines, the rest under ``[advanced]``."""
    made = f", {today.isoformat()}" if today is not None else ""
    return TEMPLATE.format(
        made=made,
        name=json.dumps(name, ensure_ascii=False),
        levels=json.dumps(list(levels), ensure_ascii=False),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RequestError(
            f"{path.parent} is not a workspace: {SETTINGS_FILE} is missing; "
            f"make one with: sopforecast init {path.parent}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise RequestError(f"{path} cannot be read: {err}; correct that line") from None


def _refuse_password(values: dict[str, Any], path: Path) -> None:
    advanced = values.get("advanced")
    url = advanced.get("store_url") if isinstance(advanced, dict) else None
    if not isinstance(url, str) or "@" not in url:
        return
    user = url.split("://", 1)[-1].rsplit("@", 1)[0]
    if ":" in user:
        raise RequestError(
            f"{path}: advanced.store_url holds a password; leave it out of the file and set the "
            f"environment variable {STORE_URL_VARIABLE} instead"
        )


def _explain(error: dict[str, Any]) -> str:
    """One sentence for one pydantic error, without ever repeating the value of a secret."""
    location = [str(part) for part in error["loc"]]
    variable = ENV_PREFIX + "__".join(location).upper()
    in_environment = variable in map(str.upper, os.environ)
    key = ".".join(location) + (f" (environment variable {variable})" if in_environment else "")
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"unknown setting {key}; {hint}"
    found = "" if "store_url" in location else f" (found {error['input']!r})"
    return f"{key}: {error['msg']}{found}"


def _refuse_unknown_variables() -> None:
    known = [ENV_PREFIX + name.upper() for name in (*Settings.model_fields, *OTHER_VARIABLES)]
    for name in map(str.upper, os.environ):
        if name.startswith(ENV_PREFIX) and name.split("__")[0] not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise RequestError(f"unknown environment variable {name}; {hint}")


def _known_keys(section: list[str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "history": HistorySettings,
        "clinical": ClinicalSettings,
        "advanced": AdvancedSettings,
        "kpi": KpiSettings,
    }
    model = KpiThreshold if len(section) > 1 else models.get("".join(section), Settings)
    return list(model.model_fields)
