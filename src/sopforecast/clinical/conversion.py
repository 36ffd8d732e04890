"""What converts, learned: posterior draws of the mixture-cure model of all lines.

Study lines and account lines are fitted apart: a stage of a sale is not a tier of patients.
``laplace`` (``conversion_laplace``) needs no PyMC and serves every run and replay; ``nuts``
(``conversion_sampler``) samples the same density. ``elicited`` is the procedure the learned one has
to beat: what people stated and the prior, whatever became of earlier lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from sopforecast.clinical.book import SCOPES, landmarks, left_out, ratios
from sopforecast.clinical.conversion_laplace import DRAWS, laplace_draws, prior_draws
from sopforecast.clinical.conversion_lines import Lines, line_arrays
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.core.draws import series_rng

PRIOR_RATIOS, PRIOR_RATIO_SD = 4.0, 0.1  # converted over listed quantity: as four lines near 1
SMALLEST_RATIO = 0.02

Method = Literal["laplace", "nuts"]
Procedure = Literal["learned", "elicited"]
ELICITED: Final = "elicited"
ELICITED_NOTE = (
    "Tier conversion is what was stated of the lines and the prior alone: "
    "what became of earlier lines does not count."
)


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
        ``prior`` where no line has an outcome or none counts, else ``laplace`` or ``nuts``: the one
        that rules most lines.
    methods : dict of str to str
        The same by scope.
    notes : tuple of str
    diagnostics : dict of str to float
        By scope and name: ``study ess`` and ``study moved`` of Laplace, or ``study r_hat``,
        ``study ess`` and ``study divergences`` of NUTS.
    procedure : str
        ``learned``, or ``elicited``.
    """

    lines: dict[str, Lines]
    theta: dict[str, np.ndarray]
    ratio: np.ndarray
    method: str
    methods: dict[str, str]
    notes: tuple[str, ...] = ()
    diagnostics: dict[str, float] = field(default_factory=dict)
    procedure: Procedure = "learned"

    def parameters(self) -> dict[str, np.ndarray]:
        """Posterior draws by name, first axis R: all that `rebuild_conversion` needs.

        ``elicited``, ones, is there where that was the procedure.
        """
        is_elicited = self.procedure == ELICITED
        return {**{f"theta {scope}": draws for scope, draws in self.theta.items()},
                "ratio": self.ratio,
                **({ELICITED: np.ones(len(self.ratio))} if is_elicited else {})}  # fmt: skip


def fit_conversion(
    inputs: ClinicalInputs,
    *,
    seed: int,
    method: Method = "laplace",
    conversion: Procedure = "learned",
) -> Conversion:
    """Learn who converts, and when, from every spell of every line.

    Parameters
    ----------
    inputs : ClinicalInputs
        No lines is fine: the result then has no scope.
    seed : int
        Same seed and inputs, same bytes.
    method
        ``nuts`` samples with PyMC; where it misses a gate, Laplace's draws stay and a note says so.
    conversion
        ``elicited`` takes stated ranges and the prior alone: no outcome, move between tiers or
        converted quantity of any line counts.

    Raises
    ------
    ValueError
        When ``conversion`` is another word.
    """
    if conversion not in ("learned", ELICITED):
        raise ValueError(f"conversion: found {conversion!r}; allowed: 'learned', 'elicited'")
    books = _books(inputs)
    if conversion == ELICITED:
        return _elicited(inputs, books, seed=seed)
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
    ratio = _ratio_draws(ratios(inputs).to_numpy(), series_rng(seed, "conversion", "ratio"))
    return Conversion(
        lines=books, theta=theta, ratio=ratio, method=_overall(methods, books), methods=methods,
        notes=tuple(notes), diagnostics=diagnostics,
    )  # fmt: skip


def rebuild_conversion(
    parameters: dict[str, np.ndarray], inputs: ClinicalInputs, *, method: Method = "laplace"
) -> Conversion:
    """The same conversion from `Conversion.parameters` (any shape of R rows), without a fit."""
    books = _books(inputs)
    theta: dict[str, np.ndarray] = {}
    methods: dict[str, str] = {}
    for scope, lines in books.items():
        theta[scope] = parameters[f"theta {scope}"].reshape(-1, len(lines.prior_mean))
        methods[scope] = method if (lines.outcome > 0).any() else "prior"
    ratio = parameters["ratio"].reshape(-1, 2)
    if ELICITED in parameters:
        return _of_what_was_stated(books, theta, ratio)
    notes = [*_notes(inputs), *(_prior_only(one) for one in methods if methods[one] == "prior")]
    return Conversion(
        lines=books, theta=theta, ratio=ratio,
        method=_overall(methods, books), methods=methods, notes=tuple(notes),
    )  # fmt: skip


def _books(inputs: ClinicalInputs) -> dict[str, Lines]:
    """All landmarks by scope, where there are any."""
    marks = landmarks(inputs)
    return {
        scope: line_arrays(part)
        for scope in SCOPES
        if (part := marks.filter(marks["scope"] == scope)).height
    }


def _elicited(inputs: ClinicalInputs, books: dict[str, Lines], *, seed: int) -> Conversion:
    """Draws of the prior that stated ranges make, on the random numbers of a book without ends."""
    theta = {}
    for scope, lines in books.items():
        x = prior_draws(lines, series_rng(seed, "conversion", scope))
        theta[scope] = lines.prior_mean + lines.prior_sd * x
    ratio = _ratio_draws(np.zeros(0), series_rng(seed, "conversion", "ratio"))
    return _of_what_was_stated(books, theta, ratio)


def _of_what_was_stated(
    books: dict[str, Lines], theta: dict[str, np.ndarray], ratio: np.ndarray
) -> Conversion:
    """The elicited conversion; how lines moved between tiers is record too, and is left out."""
    return Conversion(
        lines={scope: replace(one, stay=np.zeros_like(one.stay)) for scope, one in books.items()},
        theta=theta, ratio=ratio, method="prior", methods=dict.fromkeys(books, "prior"),
        notes=(ELICITED_NOTE,) if books else (), procedure=ELICITED,
    )  # fmt: skip


def _ratio_draws(ratios_seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean and sd (R, 2) of log ratios: normal-inverse-gamma, by the book."""
    logs = np.log(np.maximum(ratios_seen, SMALLEST_RATIO))
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
