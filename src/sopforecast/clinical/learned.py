"""What the months so far teach about patients: every fit of the clinic, learned or read back.

Posterior draws are given out as rows, from which the same fits are made again without learning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sopforecast.clinical.activation import Activation, fit_activation, rebuild_activation
from sopforecast.clinical.conversion import (
    Conversion,
    Method,
    Procedure,
    fit_conversion,
    rebuild_conversion,
)
from sopforecast.clinical.dropout import Dropout, fit_dropout, rebuild_dropout
from sopforecast.clinical.enrolment import RateFit, fit_rates, rebuild_rates
from sopforecast.clinical.funnel import Funnel, fit_funnel, rebuild_funnel
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel, site_panel

FIRST_MONTHS = 2
"""Choice: months after its opening in which a site's patients are counted at screening."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What the months so far taught: one fit a question, over all studies of the workspace."""

    panel: SitePanel
    funnel: Funnel
    rates: RateFit
    activation: Activation
    dropout: Dropout
    conversion: Conversion

    def parameters(self) -> pl.DataFrame:
        """``ClinicalParameters`` without ``run_id``: posterior draws of every fit."""
        parts = {
            "funnel": self.funnel.parameters(),
            "rates": self.rates.parameters(),
            "activation": self.activation.parameters(),
            "dropout": self.dropout.parameters(),
            "conversion": self.conversion.parameters(),
        }
        rows = [
            (
                part,
                name,
                json.dumps(values.shape),
                np.ascontiguousarray(values, dtype="<f8").tobytes(),
            )
            for part, found in parts.items()
            for name, values in found.items()
            if len(values)
        ]
        columns = {
            "part": pl.String,
            "parameter": pl.String,
            "shape": pl.String,
            "values": pl.Binary,
        }
        return pl.DataFrame(rows, schema=columns, orient="row")


def learn(
    inputs: ClinicalInputs,
    *,
    seed: int,
    method: Method = "laplace",
    conversion: Procedure = "learned",
) -> Learned:
    """Fit every part to what was known by the cut-off.

    ``conversion`` is the procedure of tiers, see `fit_conversion`; the other parts know one only.

    Notes
    -----
    Rates are of the enrolled. Where screening is reported, a site's first months count the screened
    instead, times the share expected to enrol: its patients are still in screening, and it would
    be taken for a slow one. Later months count the enrolled, so that a share of failures that
    drifts does not carry over into rates (both simulated in ``experiments/funnel``).
    """
    panel = site_panel(inputs)
    funnel = fit_funnel(panel, seed=seed)
    return Learned(
        panel=panel,
        funnel=funnel,
        rates=fit_rates(_counted(panel, funnel), np.ones(len(panel.sites)), seed=seed),
        activation=fit_activation(inputs, seed=seed),
        dropout=fit_dropout(inputs, seed=seed),
        conversion=fit_conversion(inputs, seed=seed, method=method, conversion=conversion),
    )


def relearn(
    parameters: pl.DataFrame, inputs: ClinicalInputs, *, method: Method = "laplace"
) -> Learned:
    """What a stored run had learned, from its ``ClinicalParameters`` and inputs; fits nothing."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for part, name, shape, values in parameters.select(
        "part", "parameter", "shape", "values"
    ).iter_rows():
        flat = np.frombuffer(values, dtype="<f8").astype(np.float64)
        found.setdefault(part, {})[name] = flat.reshape(json.loads(shape))
    panel = site_panel(inputs)
    funnel = rebuild_funnel(found["funnel"], panel)
    return Learned(
        panel=panel,
        funnel=funnel,
        rates=rebuild_rates(found["rates"], _counted(panel, funnel), np.ones(len(panel.sites))),
        activation=rebuild_activation(found["activation"], inputs),
        dropout=rebuild_dropout(found["dropout"], inputs),
        conversion=rebuild_conversion(found["conversion"], inputs, method=method),
    )


def _counted(panel: SitePanel, funnel: Funnel) -> SitePanel:
    """The panel rates are learned from: where patients are counted at screening, those are.

    That is a site's first months, and months that tell of the screened alone.
    """
    age = np.arange(len(panel.months)) - panel.opened[:, None]
    is_first = (panel.opened >= 0)[:, None] & (age >= 0) & (age < FIRST_MONTHS)
    told = funnel.reports[:, None] & ~np.isnan(panel.screened)
    screens = told & (is_first | np.isnan(panel.enrolled))
    return replace(
        panel,
        enrolled=np.where(screens, panel.screened, panel.enrolled),
        exposure=np.where(screens, panel.exposure / funnel.yields(panel)[:, None], panel.exposure),
    )
