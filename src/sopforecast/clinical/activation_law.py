"""The law of a slip: a normal planning error plus an exponential wait, in days.

Right-skewed, with early openings, normal or exponential at its ends; what remains of an overdue
site's slip is exact in closed form. The density of days is taken at whole days less a half.

References
----------
Grushka (1972), Characterization of exponentially modified Gaussian peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNCONDITIONED = np.array(-1e6)
"""Days: every slip is longer."""


@dataclass(frozen=True, eq=False)
class SlipLaw:
    """Slip = Normal(centre, spread) + Exponential(mean wait), in days; arrays that broadcast."""

    centre: np.ndarray
    spread: np.ndarray
    wait: np.ndarray

    def at(self, index: np.ndarray) -> SlipLaw:
        """The law at an index of its arrays."""
        arrays = np.broadcast_arrays(self.centre, self.spread, self.wait)
        return SlipLaw(*(array[index] for array in arrays))


def log_density(law: SlipLaw, slip: np.ndarray) -> np.ndarray:
    """Log density at a slip in days."""
    from scipy.special import erfcx, log_ndtr

    z = (slip - law.centre) / law.spread
    ratio = law.spread / law.wait
    u = (ratio - z) / np.sqrt(2.0)
    # Where u is far below 0, erfcx overflows: the normal factor is 1 there.
    near = -0.5 * z**2 + np.log(np.maximum(erfcx(np.maximum(u, -5.0)), 1e-300) / 2.0)
    far = 0.5 * ratio**2 - ratio * z + log_ndtr(z - ratio)
    log: np.ndarray = np.where(u > -5.0, near, far) - np.log(law.wait)
    return log


def log_survival(law: SlipLaw, slip: np.ndarray) -> np.ndarray:
    """Log probability that the slip is longer."""
    log: np.ndarray = np.logaddexp(*_tails(law, slip))
    return log


def sample_beyond(law: SlipLaw, slip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw slips given that they are longer than ``slip``, which may be ``UNCONDITIONED``.

    Notes
    -----
    Either the planning error alone is longer (a truncated normal, plus the wait) or only the wait
    is, and then what remains of it is exponential again; both have closed-form weights.
    """
    from scipy.special import log_ndtr, ndtri_exp

    shape = np.broadcast_shapes(law.centre.shape, np.shape(slip))
    log_error, log_wait = _tails(law, slip)
    is_wait = np.log(1.0 - rng.random(shape)) < log_wait - np.logaddexp(log_error, log_wait)
    wait = rng.standard_exponential(shape) * law.wait
    log_tail = log_ndtr((law.centre - slip) / law.spread)
    error = law.centre - law.spread * ndtri_exp(log_tail + np.log(1.0 - rng.random(shape)))
    drawn: np.ndarray = np.where(is_wait, slip, np.maximum(error, slip)) + wait
    return drawn


def _tails(law: SlipLaw, slip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities that the error alone is longer, and that it is so only with the wait."""
    from scipy.special import log_ndtr

    z = (slip - law.centre) / law.spread
    ratio = law.spread / law.wait
    log_wait = 0.5 * ratio**2 - ratio * z + log_ndtr(z - ratio)
    return log_ndtr(-z), log_wait
