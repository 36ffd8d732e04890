"""From statements and their credibility to the gain: how far each one moves what it speaks of.

A statement on its own moves the mean by ``unit_sd * (shift + weight * d)`` and leaves a scale of
``spread * unit_sd``: the fitted line, as it stands. To let several count together it is read as a
measurement ``x = y + e`` whose best guess of ``y`` is that line: with ``V`` the variance of
``truth - baseline`` where people speak and ``R = 1 - spread**2 / V``,
``x = weight * d / R`` and ``var e = V (1 - R) / R``. Errors of different people share a part:
``cov(e1, e2) = rho * min(var e1, var e2)`` on what both cover, so nobody is weighed negatively on
one number, and thirty who agree are worth one or two. The rest is the normal update (Kalman
gain). Shifts are an average over those who speak, by their gain: agreeing does not make a habit
larger.

Arrays: ``K`` statements, ``A`` atoms (``groups``). Units are those of the node.

References
----------
Kalman (1960), A new approach to linear filtering and prediction problems. Winkler (1981),
Combining probability distributions from dependent information sources.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from sopforecast.judgement.common_errors import explained, shared_errors

TRUST_IN_RANGE = 0.5
_LEAST_ERROR = 1e-6


@dataclass(frozen=True)
class Evidence:
    """Statements as arrays (K,); see ``Statements`` for what each one is.

    ``stated_sd`` is NaN without a range. ``person`` tells owners apart, ``event`` events (-1 none).
    """

    adjustment: np.ndarray
    unit_sd: np.ndarray
    stated_sd: np.ndarray
    weight: np.ndarray
    shift: np.ndarray
    spread: np.ndarray
    weight_sd: np.ndarray
    shift_sd: np.ndarray
    covariance: np.ndarray
    inflation: np.ndarray
    common_error: np.ndarray
    event_error: np.ndarray
    overconfidence: np.ndarray
    tail: np.ndarray
    person: np.ndarray
    event: np.ndarray

    def take(self, rows: np.ndarray) -> Evidence:
        """Some of the statements."""
        return Evidence(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Update:
    """What a group of statements does to its atoms.

    Attributes
    ----------
    moves : ndarray (A, K)
        What each statement adds to each atom's mean; the sum over K is the move.
    covariance : ndarray (A, A)
        Of the atoms afterwards, squares of scales of the tail.
    tail : float
        Degrees of freedom of the noise.
    weight : ndarray (K,)
        With which each statement counts on its own, its stated range considered.
    """

    moves: np.ndarray
    covariance: np.ndarray
    tail: float
    weight: np.ndarray


def evidence_of(statements: pl.DataFrame) -> Evidence:
    """Arrays of ``Statements`` rows; deals (probability below 1) are not evidence of this kind."""
    names = [f.name for f in fields(Evidence) if f.name not in ("person", "event")]
    columns = {name: statements[name].cast(pl.Float64).to_numpy() for name in names}
    columns["stated_sd"] = statements["stated_sd"].fill_null(np.nan).to_numpy()
    person = statements.select(pl.struct("source", "owner").rank("dense")).to_series().to_numpy()
    event = statements["event_id"].rank("dense").cast(pl.Int64).fill_null(-1).to_numpy()
    return Evidence(**columns, person=person, event=event)


def update_atoms(evidence: Evidence, covers: np.ndarray, variance: np.ndarray) -> Update:
    """Solve statements that overlap, all at once.

    Parameters
    ----------
    evidence : Evidence
        K statements.
    covers : ndarray of bool (K, A)
        Which atoms each statement sums.
    variance : ndarray (A,)
        Of the statistical draws of each atom.
    """
    on = covers.astype(np.float64)
    variance = _as_wide_as_units(evidence, on, variance)
    both = (on * variance) @ on.T  # variance of what two statements share, at inflation 1
    share, of_cells = explained(evidence.spread, evidence.inflation)
    inflation = float(of_cells @ share**2 / (share @ share))  # as those say who explain most
    x = evidence.weight * evidence.adjustment / share
    error = _with_stated_range(evidence, inflation * (1.0 - share) / share)
    noise = _shared_errors(evidence, both, error)
    prior = _inflated(on, variance, inflation)
    heard = inflation * (on * variance)  # covariance (K, A) of statements' sums and atoms
    gain = np.linalg.solve(inflation * both + noise, heard).T
    reach = _reach_of_shifts(evidence, on, variance, gain)
    doubt = _doubt(evidence, gain * (evidence.adjustment / share), reach)
    after = prior - gain @ heard + doubt
    counted = inflation / (inflation + error)
    return Update(
        moves=gain * x + reach * evidence.shift,
        covariance=(after + after.T) / 2.0,
        tail=float(evidence.tail.mean()),
        weight=evidence.weight * counted / share,
    )


def combine(statements: pl.DataFrame) -> tuple[float, float, float]:
    """Mean, scale and tail of what many people say of one number.

    Parameters
    ----------
    statements : pl.DataFrame
        Columns as ``Statements`` (without those that name nodes and months), a row a person, all
        of one number: one ``unit_sd``.

    Returns
    -------
    mean : float
        Of truth minus baseline, in the unit of ``unit_sd``.
    scale, tail : float
        Of the Student-t around it.
    """
    evidence = evidence_of(statements)
    covers = np.ones((statements.height, 1), dtype=bool)
    update = update_atoms(evidence, covers, np.array([float(evidence.unit_sd.max()) ** 2]))
    return float(update.moves.sum()), float(np.sqrt(update.covariance[0, 0])), update.tail


def _as_wide_as_units(evidence: Evidence, on: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Atoms' variances, raised so that no statement's sum is narrower than its unit."""
    total = on @ variance
    short = np.square(evidence.unit_sd) / np.where(total > 0, total, np.inf)
    flat = on * np.where(total > 0, 0.0, np.square(evidence.unit_sd) / on.sum(axis=1))[:, None]
    raised = variance * np.maximum((on * short[:, None]).max(axis=0), 1.0)
    return np.maximum(raised, flat.max(axis=0))


def _inflated(on: np.ndarray, variance: np.ndarray, inflation: float) -> np.ndarray:
    """Covariance (A, A) of the atoms where people speak: the sums spoken of are so much wider.

    Every such sum, and what two of them share, is ``inflation`` times as variable; what nobody
    spoke of (how a sum falls on its atoms) is as it was.
    """
    sd = np.sqrt(variance)
    sums = np.unique(on, axis=0) * sd
    inner = sums @ sums.T
    inner += 1e-10 * np.trace(inner) * np.eye(len(sums))
    spoken = sums.T @ np.linalg.solve(inner, sums)  # projection on the sums, in units of sd
    return np.outer(sd, sd) * (np.eye(len(sd)) + (inflation - 1.0) * spoken)


def _with_stated_range(evidence: Evidence, error: np.ndarray) -> np.ndarray:
    """Error variance (K,) in units: the record's, halfway to what the stated range says of itself.

    A stated range is first widened by how over-confident such ranges have been.
    """
    own = np.square(evidence.overconfidence * evidence.stated_sd / evidence.unit_sd)
    own = np.maximum(own, _LEAST_ERROR)
    blended = error ** (1.0 - TRUST_IN_RANGE) * own**TRUST_IN_RANGE
    return np.where(np.isnan(evidence.stated_sd), error, blended)


def _shared_errors(evidence: Evidence, both: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Covariance of errors (K, K): common to all, more within one event, or else one person."""
    rho, inside = float(evidence.common_error.mean()), float(evidence.event_error.mean())
    voice = np.where(evidence.event >= 0, -1 - evidence.event, evidence.person)
    same = voice[:, None] == voice[None, :]
    shared = both * shared_errors(error, same, common=rho, inside=max(inside, rho))
    return shared + np.diag(np.diag(both) * error - np.diag(shared))


def _reach_of_shifts(
    evidence: Evidence, on: np.ndarray, variance: np.ndarray, gain: np.ndarray
) -> np.ndarray:
    """What a shift of one adds to atoms (A, K), each statement by its part of the gain."""
    part = np.maximum(gain, 0.0) * on.T
    part /= np.maximum(part.sum(axis=1, keepdims=True), 1e-300)
    own = (on * variance) / (on @ variance)[:, None]  # (K, A) of one statement over its atoms
    return part * own.T * evidence.unit_sd


def _doubt(evidence: Evidence, slope: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Covariance (A, A) that doubt in weights and shifts adds; shifts of all may err alike.

    ``slope`` and ``reach`` (A, K) are what a weight and a shift of one add to atoms.
    """
    habit = reach * evidence.shift_sd
    alike = np.square(habit.sum(axis=1)) - np.square(habit).sum(axis=1)
    both = (slope * evidence.covariance) @ reach.T
    weights = (slope * np.square(evidence.weight_sd)) @ slope.T
    return np.asarray(weights + both + both.T + habit @ habit.T + np.diag(alike))
