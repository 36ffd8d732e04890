"""The clinic in reading order: learn from what was counted, sample the future, ask items of it.

From the tables of a cycle to sampled trials, their forecasts, and draws of the items they need.
Everything here follows from the inputs, the settings and the seed; what was learned is given out as
rows, from which the same paths are made again without learning anything.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from sopforecast.clinical.activation import sample_activation
from sopforecast.clinical.allocate import trial_paths
from sopforecast.clinical.cohorts import capped_by_cohorts
from sopforecast.clinical.conversion import Method, Procedure
from sopforecast.clinical.enrolment import sample_rates
from sopforecast.clinical.events import Events, sample_events
from sopforecast.clinical.forecasts import enrolment_frame
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.learned import Learned, learn
from sopforecast.clinical.overlap import clinic_items
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.replace import with_lines
from sopforecast.clinical.schedule import ItemDemand, item_demand
from sopforecast.clinical.simulate import site_counts
from sopforecast.clinical.tier_paths import LinePaths, account_demand, sample_lines
from sopforecast.clinical.tiers import disagreements, tier_frame
from sopforecast.core.draws import demand_step


@dataclass(frozen=True, eq=False)
class Future:
    """Sampled paths that every question of a cycle shares.

    ``trials`` by study; ``lines`` of patients and deals listed in tiers; ``events`` that happen.
    """

    trials: dict[str, TrialPaths]
    lines: LinePaths
    events: Events


@dataclass(frozen=True, eq=False)
class Clinic:
    """What the clinic of a cycle says.

    Attributes
    ----------
    items : tuple of str, length b
        Items whose demand comes from the clinic, sorted.
    draws : ndarray (S, b, H)
        Their demand, multiples of ``steps``, without overage.
    naive, overage : ndarray (b, H)
        The last months held flat; the mean of what is shipped on top.
    steps : ndarray (b,)
    scheduled : ItemDemand
        The part that the schedules ask for.
    learned : Learned
    future : Future
    enrolment_forecasts, tier_conversion, parameters : pl.DataFrame
        Rows without ``run_id``.
    notes : tuple of str
        What a reader of the run must know.
    """

    items: tuple[str, ...]
    draws: np.ndarray
    naive: np.ndarray
    overage: np.ndarray
    steps: np.ndarray
    scheduled: ItemDemand
    learned: Learned
    future: Future
    enrolment_forecasts: pl.DataFrame
    tier_conversion: pl.DataFrame
    parameters: pl.DataFrame
    notes: tuple[str, ...]


def forecast_clinic(
    inputs: ClinicalInputs,
    *,
    horizon: int,
    paths: int,
    draws: int,
    seed: int,
    method: Method = "laplace",
    conversion: Procedure = "learned",
    history_items: Collection[str] = (),
    learned: Learned | None = None,
) -> Clinic:
    """Forecast all studies and tier lines of a cycle, and the items they need.

    Parameters
    ----------
    inputs : ClinicalInputs
    horizon : int
        H, months from the cycle on.
    paths, draws : int
        Sampled futures; the first ``draws`` of them make item demand.
    seed : int
    method
        How tier conversion is learned.
    conversion
        ``elicited``: it is not learned, but taken from what was stated of the lines.
    history_items : collection of str
        Items with a history of their own: account lines of these are not added to it.
    learned : Learned, optional
        What `relearn` gave; nothing is fitted then.
    """
    paths = max(paths, draws)
    known = learned or learn(inputs, seed=seed, method=method, conversion=conversion)
    future = sample_future(known, inputs, horizon=horizon, paths=paths, seed=seed)
    demand = item_demand(
        future.trials,
        inputs,
        known.dropout,
        future.events.switches,
        future.events.dropout,
        draws=draws,
        horizon=horizon,
        seed=seed,
    )
    items = clinic_items(inputs, history_items)
    listed = account_demand(future.lines, inputs, paths=paths, horizon=horizon)
    wanted, naive, overage, steps = _together(items, demand, listed, inputs, draws, horizon)
    return Clinic(
        items=items,
        draws=wanted,
        naive=naive,
        overage=overage,
        steps=steps,
        scheduled=demand,
        learned=known,
        future=future,
        enrolment_forecasts=enrolment_frame(future.trials),
        tier_conversion=tier_frame(known.conversion, inputs),
        parameters=known.parameters(),
        notes=tuple(
            dict.fromkeys(
                (
                    *_notes(known, future),
                    *capped_by_cohorts(inputs),
                    *disagreements(inputs),
                    *demand.unused,
                )
            )
        ),
    )


def sample_future(
    learned: Learned, inputs: ClinicalInputs, *, horizon: int, paths: int, seed: int
) -> Future:
    """Sample the paths of every study: rates, openings, events, patients, tiers, targets."""
    panel = learned.panel
    events = sample_events(inputs, panel, paths=paths, horizon=horizon, seed=seed)
    openings = sample_activation(
        learned.activation, inputs, panel,
        paths=paths, horizon=horizon, seed=seed, stretch=events.stretch,
    )  # fmt: skip
    counts = site_counts(
        panel,
        sample_rates(learned.rates, panel, paths=paths, horizon=horizon, seed=seed),
        learned.funnel,
        openings,
        events,
        cycle=inputs.cycle,
        paths=paths,
        horizon=horizon,
        seed=seed,
    )
    lines = sample_lines(learned.conversion, inputs, paths=paths, horizon=horizon, seed=seed)
    counts = with_lines(counts, lines, inputs, panel, stock=learned.funnel.stock, seed=seed)
    trials = trial_paths(counts, inputs, panel, events, cycle=inputs.cycle, paths=paths, seed=seed)
    return Future(trials=trials, lines=lines, events=events)


def _together(
    items: tuple[str, ...],
    demand: ItemDemand,
    listed: tuple[tuple[str, ...], np.ndarray],
    inputs: ClinicalInputs,
    draws: int,
    horizon: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Demand of the schedule and of account lines by item: draws, naive, overage, steps."""
    wanted = np.zeros((draws, len(items), horizon))
    naive, overage = np.zeros((len(items), horizon)), np.zeros((len(items), horizon))
    steps = np.ones(len(items))
    place = {item: k for k, item in enumerate(items)}
    of_schedule = [place[item] for item in demand.items]
    wanted[:, of_schedule] = demand.draws[:draws]
    naive[of_schedule], overage[of_schedule] = demand.naive, demand.overage
    steps[of_schedule] = demand.steps
    names, paths = listed
    for k, item in enumerate(names):
        if item not in place:
            continue
        at = place[item]
        if item not in demand.items:
            quantities = inputs.tier_lines.filter(pl.col("unique_id") == item)["quantity"]
            steps[at] = demand_step(quantities.to_numpy())
        wanted[:, at] += np.round(paths[:draws, k] / steps[at]) * steps[at]
    return wanted, naive, overage, steps


def _notes(learned: Learned, future: Future) -> tuple[str, ...]:
    return (
        *learned.rates.notes,
        *learned.funnel.notes,
        *learned.activation.notes,
        *learned.dropout.notes,
        *learned.conversion.notes,
        *future.events.notes,
    )
