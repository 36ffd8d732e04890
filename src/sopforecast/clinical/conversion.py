"""What converts, learned: posterior draws of the mixture-cure model of all lines.

Study lines and account lines are fitted apart: a stage of a sale is not a tier of patients.
``laplace`` (``conversion_laplace``) needs no PyMC and serves every run and replay; ``nuts``
(``conversion_sampler``) samples the same density.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sopforecast.clinical.book import SCOPES, landmarks, left_out, ratios
from sopforecast.clinical.conversion_laplace import DRAWS, laplace_draws, prior_draws
from sopforecast.clinical.conversion_lines import Lines, line_arrays
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.core.draws import series_rng

PRIOR_RATIOS, PRIOR_RATIO_SD = 4.0, 0.1  # converted over listed quantity: as four lines near 1
SMALLEST_RATIO = 0.02

Method = Literal["laplace", "nuts"]


@dataclass(frozen=True, eq=False)
class Conversion:
    """R posterior draws of everything a line's conversion depends on.

    Attributes
    ----------
    lines : dict of str to Lines
        By scope (``study``, ``account``), only where there are lines: all landmarks.
    theta : dict of str to ndarray (R, D)
        By scope; see `Lines` for the order.
    ratio : ndarray (R, 2)
        Mean and standard deviation of the log of converted over listed quantity of account lines.
    method : str
        ``prior`` where no line has an outcome, else ``laplace`` or ``nuts``: the one that rules
        most lines.
    methods : dict of str to str
        The same by scope.
    notes : tuple of str
    diagnostics : dict of str to float
        By scope and name: ``study ess`` and ``study moved`` of Laplace, or ``study r_hat``,
        ``study ess`` and ``study divergences`` of NUTS.
    """

    lines: dict[str, Lines]
    theta: dict[str, np.ndarray]
    ratio: np.ndarray
    method: str
    methods: dict[str, str]
    notes: tuple[str, ...] = ()
    diagnostics: dict[str, float] = field(default_factory=dict)

    def parameters(self) -> dict[str, np.ndarray]:
        """Posterior draws by name, first axis R: all that `rebuild_conversion` needs."""
        return {**{f"theta {scope}": draws for scope, draws in self.theta.items()},
                "ratio": self.ratio}  # fmt: skip


def fit_conversion(inputs: ClinicalInputs, *, seed: int, method: Method = "laplace") -> Conversion:
    """Learn who converts, and when, from every spell of every line.

    Parameters
    ----------
    inputs : ClinicalInputs
        No lines is fine: the result then has no scope.
    seed : int
        Same seed and inputs, same bytes.
    method
        ``nuts`` samples with PyMC; where it misses a gate, Laplace's draws stay and a note says so.
    """
    marks = landmarks(inputs)
    books = {
        scope: line_arrays(part)
        for scope in SCOPES
        if (part := marks.filter(marks["scope"] == scope)).height
    }
    theta: dict[str, np.ndarray] = {}
    methods: dict[str, str] = {}
    diagnostics: dict[str, float] = {}
    notes = _notes(inputs)
    for scope, lines in books.items():
        rng = series_rng(seed, "conversion", scope)
        if not (lines.outcome > 0).any():
            x, found = prior_draws(lines, rng), dict[str, float]()
            methods[scope] = "prior"
            notes.append(_prior_only(scope))
        else:
            x, found = laplace_draws(lines, rng)
            methods[scope] = "laplace"
            if method == "nuts":
                from sopforecast.clinical.conversion_sampler import nuts_draws

                sampled, found_by_nuts, missed = nuts_draws(lines, seed=seed)
                if missed:
                    notes.append(
                        f"Sampling {scope} lines missed its gates ({'; '.join(missed)}): "
                        "Laplace's draws were taken."
                    )
                else:
                    x, found, methods[scope] = sampled, found_by_nuts, "nuts"
        theta[scope] = lines.prior_mean + lines.prior_sd * x
        diagnostics |= {f"{scope} {name}": value for name, value in found.items()}
    ratio = _ratio_draws(inputs, series_rng(seed, "conversion", "ratio"))
    return Conversion(
        lines=books, theta=theta, ratio=ratio, method=_overall(methods, books), methods=methods,
        notes=tuple(notes), diagnostics=diagnostics,
    )  # fmt: skip


def rebuild_conversion(
    parameters: dict[str, np.ndarray], inputs: ClinicalInputs, *, method: Method = "laplace"
) -> Conversion:
    """The same conversion from `Conversion.parameters` (any shape of R rows), without a fit."""
    marks = landmarks(inputs)
    books: dict[str, Lines] = {}
    theta: dict[str, np.ndarray] = {}
    methods: dict[str, str] = {}
    for scope in SCOPES:
        part = marks.filter(marks["scope"] == scope)
        if part.height:
            books[scope] = lines = line_arrays(part)
            theta[scope] = parameters[f"theta {scope}"].reshape(-1, len(lines.prior_mean))
            methods[scope] = method if (lines.outcome > 0).any() else "prior"
    notes = [*_notes(inputs), *(_prior_only(one) for one in methods if methods[one] == "prior")]
    return Conversion(
        lines=books, theta=theta, ratio=parameters["ratio"].reshape(-1, 2),
        method=_overall(methods, books), methods=methods, notes=tuple(notes),
    )  # fmt: skip


def _ratio_draws(inputs: ClinicalInputs, rng: np.random.Generator) -> np.ndarray:
    """Mean and sd (R, 2) of log ratios: normal-inverse-gamma, by the book."""
    logs = np.log(np.maximum(ratios(inputs).to_numpy(), SMALLEST_RATIO))
    n = len(logs)
    mean = logs.mean() if n else 0.0
    count = PRIOR_RATIOS + n
    rate = PRIOR_RATIOS / 2 * PRIOR_RATIO_SD**2 + 0.5 * ((logs - mean) ** 2).sum()
    rate += 0.5 * PRIOR_RATIOS * n / count * mean**2
    variance = rate / rng.gamma(count / 2, 1.0, DRAWS)
    centre = n * mean / count + np.sqrt(variance / count) * rng.standard_normal(DRAWS)
    return np.stack([centre, np.sqrt(variance)], axis=1)


def _prior_only(scope: str) -> str:
    return f"No {scope} line has an outcome yet: conversion is prior only."


def _notes(inputs: ClinicalInputs) -> list[str]:
    out = left_out(inputs)
    if out == 0:
        return []
    lines = "1 line was" if out == 1 else f"{out} lines were"
    return [
        f"{lines} first listed after converting or being lost: nothing is learned from them, "
        "because those that failed to convert were never listed."
    ]


def _overall(methods: dict[str, str], books: dict[str, Lines]) -> str:
    if not methods:
        return "prior"
    return methods[max(methods, key=lambda scope: len(books[scope].tier))]
