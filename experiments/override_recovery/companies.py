"""Companies with known truth: what is demanded, what people see of it, and what they say.

Two generators. ``model``: ``truth - baseline = shift + weight * adjustment + noise`` as the engine
believes, parameters from its own priors. ``signals``: people see a private, noisy signal of what is
coming, with errors they share; they speak only when it is large, and anchor on the baseline.
Everything is in multiples of the statistical sd of a cell, turned into demand by the cell's own
baseline and sd.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sopforecast.judgement import effects, noise

CELLS = 24  # cells a cycle that somebody could speak of
SPEAKS_FROM = 1.0  # size of a signal, in sd, from which people speak


@dataclass(frozen=True)
class Person:
    """Who speaks: habits in the words of the engine (model), or of eyes and nerve (signals)."""

    source: str
    owner: str
    weight_up: float = 0.5
    weight_down: float = 0.5
    shift: float = 0.0
    spread: float = 1.0
    error: float = 1.0  # sd of what the person sees beside the truth
    anchor: float = 0.7  # share of what is seen that is said
    bias: float = 0.0  # said on top
    kind: str = "honest"  # honest, adversary


@dataclass(frozen=True)
class Company:
    """People and the size of what they share."""

    people: tuple[Person, ...]
    generator: str
    common: float  # share of the error variance that all people share (signals)
    months_error: float
    tail: float
    reasons: dict[tuple[str, str], float]
    surprise: float  # sd of events the baseline cannot know
    often: float  # share of cells with such an event


def make_company(seed: int, generator: str, *, people: int, adversary: bool = False) -> Company:
    """Draw one company."""
    rng = np.random.default_rng([seed, people, 7])
    if generator == "model":
        return _from_the_model(rng, people)
    crowd = []
    for k in range(people):
        crowd.append(
            Person(
                source=("sales", "marketing", "finance")[k % 3],
                owner=f"person {k:02d}",
                error=float(np.exp(rng.normal(0.0, 0.4))),
                anchor=float(rng.uniform(0.4, 1.0)),
                bias=float(rng.normal(0.3, 0.4)),
            )
        )
    if adversary:
        crowd = [Person("sales", "adversary", kind="adversary")]
    return Company(
        tuple(crowd), generator, float(rng.uniform(0.4, 0.8)), 0.5, 6.0, {},
        float(rng.uniform(1.0, 2.0)), float(rng.uniform(0.2, 0.5)),
    )  # fmt: skip


def _from_the_model(rng: np.random.Generator, people: int) -> Company:
    def draw(sd: float) -> float:
        return float(sd * rng.standard_normal())

    kappa = float(np.exp(draw(effects.KAPPA_SD)))
    weight, turn = effects.WEIGHT_CENTRE + draw(effects.WEIGHT_SD), draw(effects.DIRECTION_SD)
    shift, log_spread = draw(effects.SHIFT_SD), draw(noise.SPREAD_SD)
    crowd: list[Person] = []
    reasons: dict[tuple[str, str], float] = {}
    for source in ("sales", "marketing", "finance"):
        at_source = kappa * draw(effects.SOURCE_WEIGHT_SD)
        shift_source = kappa * draw(effects.SOURCE_SHIFT_SD)
        spread_source = draw(noise.SOURCE_SPREAD_SD)
        for reason in ("promotion", "account"):
            reasons[source, reason] = kappa * draw(effects.REASON_WEIGHT_SD)
        for k in range(max(1, people // 3)):
            own = weight + at_source + kappa * draw(effects.OWNER_WEIGHT_SD)
            half_turn = (turn + kappa * draw(effects.OWNER_DIRECTION_SD)) / 2
            crowd.append(
                Person(
                    source,
                    f"{source} {k}",
                    weight_up=own + half_turn,
                    weight_down=own - half_turn,
                    shift=shift + shift_source + kappa * draw(effects.OWNER_SHIFT_SD),
                    spread=float(np.exp(log_spread + spread_source + draw(noise.OWNER_SPREAD_SD))),
                )
            )
    months_error, tail = float(rng.beta(2, 2)), float(2 + rng.gamma(2, 4))
    return Company(tuple(crowd), "model", 0.0, months_error, tail, reasons, 0.0, 0.0)


def cycle_of(company: Company, rng: np.random.Generator) -> tuple[pl.DataFrame, np.ndarray]:
    """What is said in one cycle, and what comes.

    Returns
    -------
    said : pl.DataFrame
        cell, month (0 ..), source, owner, reason, d.
    truth : ndarray (CELLS, 3)
        Truth minus baseline by cell and month, in sd.
    """
    return _told_by_model(company, rng) if company.generator == "model" else _told(company, rng)


def _told_by_model(company: Company, rng: np.random.Generator) -> tuple[pl.DataFrame, np.ndarray]:
    """Everybody speaks of cells of his own, up to three months each."""
    truth = rng.standard_normal((CELLS, 3))
    cells = rng.permutation(CELLS)
    each = max(1, min(2, CELLS // len(company.people)))
    rows = []
    for k, person in enumerate(company.people):
        for cell in cells[k * each : (k + 1) * each].tolist():
            months = int(rng.integers(1, 4))
            reason = ("promotion", "account")[rng.integers(2)]
            d = 1.5 * rng.standard_normal()
            weight = person.weight_up if d >= 0 else person.weight_down
            weight += company.reasons[person.source, reason]
            rho = company.months_error
            noise = np.sqrt(rho) * rng.standard_normal()
            noise = noise + np.sqrt(1 - rho) * rng.standard_normal(months)
            noise /= np.sqrt(rng.chisquare(company.tail) / company.tail)
            truth[cell, :months] = person.shift + weight * d + person.spread * noise
            rows += [(cell, m, person.source, person.owner, reason, d) for m in range(months)]
    return _frame(rows), truth


def _told(company: Company, rng: np.random.Generator) -> tuple[pl.DataFrame, np.ndarray]:
    """Events happen; people see them through errors they share; the large ones are spoken of."""
    event = (rng.random(CELLS) < company.often) * company.surprise * rng.standard_normal(CELLS)
    truth = np.zeros((CELLS, 3))
    truth[:, 0] = event + rng.standard_normal(CELLS)
    shared = rng.standard_normal(CELLS)
    rows = []
    for person in company.people:
        own = rng.standard_normal(CELLS)
        error = np.sqrt(company.common) * shared + np.sqrt(1 - company.common) * own
        seen = truth[:, 0] + person.error * error
        if person.kind == "adversary":
            said = -np.sign(truth[:, 0]) * rng.uniform(1.0, 3.0, CELLS)
            speaks = rng.permutation(CELLS) < 8
        else:
            said = person.anchor * seen + person.bias
            speaks = np.abs(seen) > SPEAKS_FROM * np.sqrt(1 + person.error**2)
        rows += [
            (cell, 0, person.source, person.owner, "event", float(said[cell]))
            for cell in np.flatnonzero(speaks).tolist()
        ]
    return _frame(rows), truth


def _frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    columns = {"cell": pl.Int64, "month": pl.Int64, "source": pl.String, "owner": pl.String,
               "reason": pl.String, "d": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=columns, orient="row")
