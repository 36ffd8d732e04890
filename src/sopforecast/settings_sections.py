"""The sections of ``sopforecast.toml``, each a small frozen model; see `settings`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


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
