"""The sections of ``sopforecast.toml``, each a small frozen model; see `settings`."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

KpiName = Literal["accuracy", "bias", "value_added", "coverage", "enrolment", "site_activation"]
KPIS: tuple[KpiName, ...] = get_args(KpiName)
SHOWN_KPIS: tuple[KpiName, ...] = ("accuracy", "bias", "value_added", "coverage")
MOST_KPIS = 5
HIGHER_IS_BETTER = ("accuracy", "value_added", "enrolment")
KPI_CENTRES = {"bias": 0.0, "coverage": 80.0}  # thresholds count how far off, whichever way


class HistorySettings(BaseModel):
    """How history files are read: what an empty month means, and what is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    missing: Literal["unknown", "zero"] = "unknown"
    negative: Literal["refuse", "net"] = "refuse"
    unit_slip: Literal["refuse", "allow"] = "refuse"


class AdvancedSettings(BaseModel):
    """What most teams never touch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: int = Field(default=500, ge=50, le=20_000)
    workers: int = Field(default=0, ge=0, le=256)
    chunk_size: int = Field(default=250, ge=1, le=100_000)
    models: tuple[str, ...] = ()
    min_closed: int = Field(default=6, ge=1, le=10_000)
    sampler: Literal["closed_form", "nuts"] = "nuts"
    gate: bool = True
    mlflow: bool = True
    id_separator: str = Field(default="|", min_length=1, max_length=3)
    decimal: Literal["auto", ".", ","] = "auto"
    store_url: SecretStr | None = None


class ClinicalSettings(BaseModel):
    """How trials are forecast and what counts as on plan.

    ``paths`` are sampled futures, shared by every question. A study is green when its chance to be
    on plan is ``green`` or more, yellow from ``yellow`` on. Confirm-by dates hold with
    ``service_level``. ``sampler`` says how tier conversion is learned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paths: int = Field(default=4000, ge=200, le=20_000)
    green: float = Field(default=0.5, gt=0, lt=1)
    yellow: float = Field(default=0.2, gt=0, lt=1)
    service_level: float = Field(default=0.95, gt=0.5, lt=1)
    sampler: Literal["laplace", "nuts"] = "laplace"

    @model_validator(mode="after")
    def _yellow_below_green(self) -> Self:
        if self.yellow > self.green:
            raise ValueError(f"yellow is above green ({self.green}); allowed: at most green")
        return self


class KpiThreshold(BaseModel):
    """Up to where a KPI is green, and yellow; red beyond. ``owner`` answers for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    green: float = Field(allow_inf_nan=False)
    yellow: float = Field(allow_inf_nan=False)
    owner: str = Field(default="finance", min_length=1, max_length=100)


class KpiSettings(BaseModel):
    """Which KPIs are shown, at most five, and what counts as green and yellow.

    ``lag``: the plan made that many cycles before the month is what counts; 0 is the month's own
    cycle. ``window`` is how many closed months a figure is made of. Thresholds are lowest values
    of ``accuracy`` (percent), ``value_added`` (points of WMAPE) and ``enrolment`` (percent of
    plan), highest ones of ``site_activation`` (days late), and the farthest from 0 of ``bias``
    (percent) and from 80 of ``coverage`` (points). They change no number of a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    show: tuple[KpiName, ...] = SHOWN_KPIS
    lag: int = Field(default=1, ge=0, le=11)
    window: Literal[1, 3, 12] = 12
    accuracy: KpiThreshold = KpiThreshold(green=80, yellow=70)
    bias: KpiThreshold = KpiThreshold(green=5, yellow=10)
    value_added: KpiThreshold = KpiThreshold(green=0, yellow=-1)
    coverage: KpiThreshold = KpiThreshold(green=4, yellow=8)
    enrolment: KpiThreshold = KpiThreshold(green=95, yellow=85)
    site_activation: KpiThreshold = KpiThreshold(green=14, yellow=30)

    @field_validator("show", mode="before")
    @classmethod
    def _at_most_five(cls, names: object) -> object:
        if not isinstance(names, list | tuple):
            return names
        available, said = ", ".join(KPIS), ", ".join(map(str, names))
        unknown = [str(name) for name in names if name not in KPIS]
        if unknown:
            raise ValueError(f"there is no KPI {', '.join(unknown)}; available: {available}")
        if len(set(names)) < len(names):
            raise ValueError(f"a KPI is named twice in {said}; allowed: each once")
        if not 1 <= len(names) <= MOST_KPIS:
            raise ValueError(
                f"{len(names)} KPIs are named ({said}); allowed: one to five of {available}"
            )
        return names

    @field_validator(*KPIS)
    @classmethod
    def _yellow_on_the_worse_side(cls, line: KpiThreshold, info: ValidationInfo) -> KpiThreshold:
        is_higher = info.field_name in HIGHER_IS_BETTER
        if (line.yellow > line.green) if is_higher else (line.yellow < line.green):
            allowed = "at most green" if is_higher else "at least green"
            raise ValueError(
                f"yellow ({line.yellow:g}) is on the better side of green ({line.green:g}); "
                f"allowed: {allowed}"
            )
        if info.field_name in KPI_CENTRES and line.green < 0:
            raise ValueError(f"green is {line.green:g}; allowed: 0 or more")
        return line

    def threshold(self, name: KpiName) -> KpiThreshold:
        """The lines of one KPI."""
        lines: dict[str, KpiThreshold] = {
            "accuracy": self.accuracy,
            "bias": self.bias,
            "value_added": self.value_added,
            "coverage": self.coverage,
            "enrolment": self.enrolment,
            "site_activation": self.site_activation,
        }
        return lines[name]
