"""One month, in reading order: check, cleanse, segment, forecast, reconcile, draw, judge, view.

And its close: what was said of months that are over, and what that says of who said it.

The table of contents of the engine. Pure functions over frames: reading and writing the planning
store happens above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime

import polars as pl

from sopforecast.baseline.checks import run_checks
from sopforecast.baseline.cleanse import cleanse, scored_demand
from sopforecast.baseline.components import rows_of_clinic
from sopforecast.baseline.known_paths import KnownPaths
from sopforecast.baseline.models import refuse_unknown_models
from sopforecast.baseline.month import baseline_month, no_baseline
from sopforecast.baseline.views import history_of, naive_frame, statistical_frame
from sopforecast.clinical.clinic import Clinic, forecast_clinic
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.overlap import demand_since, overlap_sentences, overlaps
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.learning_tables import Learned
from sopforecast.core.months import add_months, cutoff
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.errors import RequestError
from sopforecast.judgement.consensus import Known, judge, nobody_spoke
from sopforecast.judgement.credibility import Method, fit_credibility
from sopforecast.judgement.observations import observe
from sopforecast.judgement.stages import statistical_stage
from sopforecast.portfolio import draws_of, items_with_history, joined_demand, without_history
from sopforecast.results import CloseResult, CycleResult
from sopforecast.settings import Settings

__all__ = ["CloseResult", "CycleResult", "close_cycle", "hierarchy_of", "run_cycle"]

Progress = Callable[[str, float], None]


def run_cycle(
    history: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    cycle: date,
    settings: Settings,
    overrides: pl.DataFrame | None = None,
    prices: pl.DataFrame | None = None,
    credibility: pl.DataFrame | None = None,
    entered: pl.DataFrame | None = None,
    clinical: ClinicalInputs | None = None,
    learned: Learned | None = None,
    known: KnownPaths | None = None,
    on_progress: Progress | None = None,
) -> CycleResult:
    """Forecast one cycle from the rows known by its cut-off.

    Parameters
    ----------
    history : pl.DataFrame
        ``History`` rows. Rows of the cycle's own months and partial ones are left out.
    items : pl.DataFrame, optional
        ``Items`` rows with their level columns; without them every item stands under the total.
    cycle : date
        First forecast month.
    settings : Settings
    overrides, prices : pl.DataFrame, optional
        ``Overrides`` with ``known_at``, one row an id, and ``Prices``.
    credibility : pl.DataFrame, optional
        ``Credibility`` of one fit; without it everybody has the prior.
    entered : pl.DataFrame, optional
        ``Statements`` of the runs in which living overrides were entered.
    clinical : ClinicalInputs, optional
        Studies and tier lines; the items of a study's schedule take their demand from there, and
        what history they have is only scored.
    learned : Learned, optional
        Model weights, widths and conversion as closed months taught them; else as at the start.
    known : KnownPaths, optional
        What models said of the same months before; that is not fitted again. The same bytes.
    on_progress : callable, optional
        Told the stage and the share of it that is done.

    Raises
    ------
    RequestError
        When no item has a known month of demand or demand from the clinic, a level is not a column
        of ``items``, or a model named in the settings is not known.
    DataError
        When an item has no place in a declared level.
    """
    refuse_unknown_models(settings.advanced.models)
    clock, learned = Stopwatch(on_progress), learned or Learned()
    last_month = add_months(cycle, -1)
    with clock.stage("check"):
        checks = run_checks(
            history,
            items_with_history(items, history, clinical),
            last_month=last_month,
            levels=settings.levels,
            missing=settings.history.missing,
        )
    with clock.stage("cleanse"):
        cleansed = cleanse(history, missing=settings.history.missing, last_month=last_month)
    clinic = None
    if clinical is not None and not clinical.is_empty:
        with clock.stage("clinic"):
            clinic = _clinic(clinical, cleansed, settings, learned)
    of_clinic = list(clinic.items) if clinic is not None else []
    of_both = () if clinical is None else overlap_sentences(overlaps(clinical, cleansed))
    of_both += without_history(of_clinic, cleansed)
    fitted = cleansed.filter(~pl.col("unique_id").is_in(of_clinic))
    if fitted.height == 0 and not of_clinic:
        or_schedule = (
            ""
            if clinic is None
            else ", or a schedule of the study: its patients alone are told by sopforecast clinical"
        )
        raise RequestError(
            f"no item has a known month of demand up to {last_month:%Y-%m}; load history first"
            f"{or_schedule}"
        )
    hierarchy = hierarchy_of(fitted, items, settings.levels, more=of_clinic)
    month = no_baseline(horizon=settings.horizon, draws=settings.advanced.draws)
    if fitted.height:
        own = hierarchy_of(fitted, items, settings.levels)
        month = baseline_month(
            fitted, items, own, cycle=cycle, settings=settings, clock=clock, learned=learned,
            known=known,
        )  # fmt: skip
    whole = joined_demand(month, clinic, hierarchy)
    statistical = statistical_frame(whole, whole.steps, hierarchy, cycle=cycle)
    judged = nobody_spoke(statistical)
    if overrides is not None and overrides.height:
        with clock.stage("judge"):
            since = cutoff(add_months(cycle, -1), cutoff_day=settings.cutoff_day)
            context = Known(scored_demand(cleansed), prices, credibility, entered, since)
            judged = judge(
                overrides,
                hierarchy,
                statistical_stage(statistical, whole.sums, hierarchy, steps=whole.steps),
                draws_of(month, clinic, hierarchy, settings=settings),
                cycle=cycle,
                seed=settings.seed,
                min_closed=settings.advanced.min_closed,
                known=context,
            )
    with clock.stage("view"):
        naive = naive_frame(whole.naive, whole.steps, hierarchy, cycle=cycle)
        components = month.components
        if clinic is not None and clinic.items:
            rows = rows_of_clinic(clinic.items, clinic.draws.mean(axis=0), clinic.steps, hierarchy)
            components = pl.concat([components, rows])
        scored = scored_demand(cleansed.filter(pl.col("unique_id").is_in(of_clinic)))
        result = CycleResult(
            forecasts=pl.concat([naive, statistical, judged.forecasts]),
            components=components,
            residual_paths=month.residual_paths,
            weights=month.weights,
            hierarchy=hierarchy,
            checks=tuple(checks),
            notes=(*month.notes, *of_both, *(clinic.notes if clinic else ()), *judged.notes),
            seconds=clock.seconds,
            history_nodes=history_of(month.history_nodes, scored, hierarchy),
            backtest=month.backtest,
            model_paths=month.model_paths,
            model_errors=month.model_errors,
            statements=judged.statements,
            bridge=judged.bridge,
            told=judged.told,
            clinic=clinic,
        )
    return result


def close_cycle(
    statements: pl.DataFrame,
    history: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    closed: date,
    known_at: datetime,
    settings: Settings,
    method: Method = "closed_form",
    last_good: pl.DataFrame | None = None,
    clinical: ClinicalInputs | None = None,
) -> CloseResult:
    """Join the statements of past runs to what came, and learn what their authors are worth.

    Parameters
    ----------
    statements : pl.DataFrame
        ``Statements`` of the runs that count, one run a cycle.
    history, items : pl.DataFrame
        As `run_cycle`; what was known by ``known_at``.
    closed : date
        The month that is closed; later demand is not read.
    method
        ``nuts`` samples; when its draws do not pass their gates, ``last_good`` stays, or else the
        closed form is taken.
    last_good : pl.DataFrame, optional
        ``Credibility`` of the last fit.
    clinical : ClinicalInputs, optional
        Items of the clinic without an actual make the nodes above them wait.
    """
    cleansed = cleanse(history, missing=settings.history.missing, last_month=closed)
    seen = cleansed["unique_id"].unique().to_list()
    awaited = demand_since(clinical, seen) if clinical is not None else {}
    hierarchy = hierarchy_of(cleansed, items, settings.levels, more=tuple(awaited))
    observations, notes = observe(
        statements, scored_demand(cleansed), hierarchy, closed=closed, awaited=awaited
    )
    learned, warnings = fit_credibility(
        observations,
        closed=closed,
        known_at=known_at,
        method=method,
        seed=settings.seed,
        last_good=last_good,
    )
    return CloseResult(observations, learned, (*notes, *warnings))


def _clinic(
    clinical: ClinicalInputs, cleansed: pl.DataFrame, settings: Settings, learned: Learned
) -> Clinic:
    return forecast_clinic(
        clinical,
        horizon=settings.horizon,
        paths=settings.clinical.paths,
        draws=settings.advanced.draws,
        seed=settings.seed,
        method=settings.clinical.sampler,
        conversion=learned.conversion,
        history_items=cleansed["unique_id"].unique().to_list(),
    )


def hierarchy_of(
    cleansed: pl.DataFrame,
    items: pl.DataFrame | None,
    levels: Sequence[str],
    *,
    more: Sequence[str] = (),
) -> Hierarchy:
    """Of all items with a history, and of those that have none."""
    names = sorted({*cleansed["unique_id"].to_list(), *more})
    known = pl.DataFrame({"unique_id": names}, schema={"unique_id": pl.String})
    if items is not None and items.height:
        known = known.join(items, on="unique_id", how="left", maintain_order="left")
    return build_hierarchy(known, levels=levels)
