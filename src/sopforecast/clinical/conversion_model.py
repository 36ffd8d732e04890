"""The mixture-cure model of lines: who converts at all, when, and which failures are declared.

A line converts with probability ``p`` after a delay with distribution function ``F``, or never; a
failure is declared lost after a delay with sub-distribution ``G``, which ends at the share ``q`` of
failures that is ever declared. From a landmark on, in months:

- converted after ``d``: ``p f(d)``; lost after ``l``: ``(1 - p) g(l)``;
- open at age ``a``: ``p (1 - F(a)) + (1 - p) (1 - G(a))``.

``logit p`` = tier + study or account + owner + own * (the line's stated logit less the mean of its
tier). Delays are whole months of a Weibull: ``F(d) = 1 - exp(-((d + 1) / scale) ^ shape)``;
``log scale`` = tier + lead * (log(1 + expected months) - what is usual in the tier).

A line that stays where it is, while others that will convert move up, is less likely to convert.
So each class also has rates of moving up and down a month, pooled over tiers: a landmark's term of
a class is multiplied by ``rate ^ moved exp(-rate stay)`` for either way. Where nobody ever moved
this is left out.

All parameters are normal a priori (the constants here and in ``conversion_lines`` are choices), so
``x``, their distance from the prior mean in prior standard deviations, is what is fitted.

References
----------
Farewell (1982), The use of mixture models for the analysis of survival data with long-term
survivors. Varin, Reid and Firth (2011), An overview of composite likelihood methods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.conversion_lines import PLACE, SHARED, Lines

TIER_ORDER_SD = 0.5  # committed above highly_probable above pipeline, softly
_BLOCK = 60_000
_LARGEST_POWER = 30.0
_TINY, _NARROWEST = 1e-300, 1e-12


@dataclass(frozen=True, eq=False)
class Laws:
    """What N parameter vectors say of L lines.

    ``chance``, ``log_scale`` and the logs of having stayed and moved as they did, of those that
    convert and of the others, ``stay_will`` and ``stay_never``, are (N, L), the rest (N, 1).
    """

    chance: np.ndarray
    log_scale: np.ndarray
    shape: np.ndarray
    declared: np.ndarray
    loss_log_scale: np.ndarray
    loss_shape: np.ndarray
    stay_will: np.ndarray
    stay_never: np.ndarray

    def not_converted(self, age: np.ndarray) -> np.ndarray:
        """1 - F(age) (N, L) of those that convert; 1 at age -1."""
        return np.exp(-_power(age + 1.0, self.log_scale, self.shape))

    def not_lost(self, age: np.ndarray) -> np.ndarray:
        """1 - G(age) (N, L) of those that do not."""
        still = np.exp(-_power(age + 1.0, self.loss_log_scale, self.loss_shape))
        return 1.0 - self.declared * (1.0 - still)

    def chance_open(self, age: np.ndarray) -> np.ndarray:
        """Probability (N, L) that a line still open at this age converts one day."""
        will = self.chance * self.not_converted(age) * np.exp(self.stay_will)
        never = (1.0 - self.chance) * self.not_lost(age) * np.exp(self.stay_never)
        return will / np.maximum(will + never, _TINY)


def effects(lines: Lines, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logit effects of names (N, G) and owners (N, O, and one more that is 0)."""
    first = SHARED + len(lines.names)
    name = np.exp(theta[:, [PLACE["name_sd"]]]) * theta[:, SHARED:first]
    owner = np.exp(theta[:, [PLACE["owner_sd"]]]) * theta[:, first:]
    return name, np.concatenate([owner, np.zeros((len(theta), 1))], axis=1)


def laws(lines: Lines, theta: np.ndarray, rows: np.ndarray | slice = slice(None)) -> Laws:
    """Chance and delay of lines ``rows`` under parameters (N, D)."""
    name, owner = effects(lines, theta)
    scalar = {key: theta[:, [place]] for key, place in PLACE.items()}
    tier = lines.tier[rows]
    (stay_will, _), (stay_never, _) = moves(lines, theta, rows)
    logit = theta[:, tier] + name[:, lines.name[rows]] + owner[:, lines.owner[rows]]
    return Laws(
        chance=_logistic(logit + scalar["own"] * lines.own[rows]),
        log_scale=theta[:, 3 + tier] + scalar["lead"] * lines.lead[rows],
        shape=np.exp(scalar["shape"]),
        declared=_logistic(scalar["declared"]),
        loss_log_scale=scalar["loss_scale"],
        loss_shape=np.exp(scalar["loss_shape"]),
        stay_will=stay_will,
        stay_never=stay_never,
    )


def moves(
    lines: Lines, theta: np.ndarray, rows: np.ndarray | slice = slice(None)
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Log of staying and moving as lines did (N, L), and its slopes by parameter, of two classes.

    First those that convert, then those that do not. Slopes are (2, N, L): in the log rates of
    moving up and of moving down. Where nobody ever moved all is 0, of one row and column.
    """
    if not lines.stay.any():
        none = np.zeros((1, 1))
        return [(none, np.zeros((2, 1, 1)))] * 2
    found = []
    for is_will in (1.0, 0.0):
        value, slopes = np.zeros(()), []
        for k, way in enumerate(("up", "down")):
            log_rate = theta[:, [PLACE[way]]] + is_will * theta[:, [PLACE[f"{way}_ratio"]]]
            moved, stay = lines.moved[rows, k], lines.stay[rows, k]
            gone = np.exp(np.minimum(log_rate, _LARGEST_POWER)) * stay
            value = value + moved * log_rate - gone
            slopes.append(moved - gone)
        found.append((value, np.stack(slopes)))
    return found


def log_density(lines: Lines, x: np.ndarray) -> np.ndarray:
    """Log posterior (N,) up to a constant at whitened parameters (N, D)."""
    return _in_blocks(lines, x, slopes=False)[0]


def log_density_and_slope(lines: Lines, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log posterior (N,) up to a constant, and its gradient (N, D) in ``x``."""
    return _in_blocks(lines, x, slopes=True)


def _in_blocks(lines: Lines, x: np.ndarray, *, slopes: bool) -> tuple[np.ndarray, np.ndarray]:
    step = max(1, _BLOCK // max(len(lines.tier), 1))
    blocks = [x[at : at + step] for at in range(0, len(x), step)]
    parts = [_log_density(lines, block, slopes=slopes) for block in blocks]
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def _log_density(lines: Lines, x: np.ndarray, *, slopes: bool) -> tuple[np.ndarray, np.ndarray]:
    theta = lines.prior_mean + lines.prior_sd * x
    total = -0.5 * (x**2).sum(axis=1)
    slope = np.zeros_like(theta)
    for k, (value_of, slopes_of) in enumerate(_PARTS):
        rows = np.flatnonzero(lines.outcome == k)
        if rows.size:
            law, weight = laws(lines, theta, rows), lines.weight[rows]
            total += value_of(law, lines.month[rows]) @ weight
            if slopes:
                _add_slopes(lines, theta, slope, rows, slopes_of(law, lines.month[rows]))
    for above in (0, 1):
        value, ratio = _ordered((theta[:, above] - theta[:, above + 1]) / TIER_ORDER_SD)
        total += value
        slope[:, above] += ratio / TIER_ORDER_SD
        slope[:, above + 1] -= ratio / TIER_ORDER_SD
    return total, slope * lines.prior_sd - x


def _add_slopes(
    lines: Lines, theta: np.ndarray, slope: np.ndarray, rows: np.ndarray, part: Slopes
) -> None:
    """Add the slopes of landmarks ``rows`` to those of the parameters they are made of."""
    d_logit, d_scale, others, will = part
    weight = lines.weight[rows]
    (_, of_will), (_, of_never) = moves(lines, theta, rows)
    for k, way in enumerate(("up", "down")):
        from_will = will * of_will[k]
        others[way] = from_will + (1.0 - will) * of_never[k]
        others[f"{way}_ratio"] = from_will
    for name, derivative in others.items():
        slope[:, PLACE[name]] += np.broadcast_to(derivative, d_logit.shape) @ weight
    d_logit, d_scale = d_logit * weight, d_scale * weight
    first = SHARED + len(lines.names)
    tier, name = np.eye(3)[lines.tier[rows]], np.eye(len(lines.names))[lines.name[rows]]
    owner = np.eye(len(lines.owners) + 1)[lines.owner[rows]][:, :-1]
    slope[:, :3] += d_logit @ tier
    slope[:, 3:6] += d_scale @ tier
    slope[:, PLACE["lead"]] += d_scale @ lines.lead[rows]
    slope[:, PLACE["own"]] += d_logit @ lines.own[rows]
    for places, key, of_line in (
        (slice(SHARED, first), "name_sd", name),
        (slice(first, None), "owner_sd", owner),
    ):
        of_unit = np.exp(theta[:, [PLACE[key]]]) * (d_logit @ of_line)
        slope[:, places] += of_unit
        slope[:, PLACE[key]] += (of_unit * theta[:, places]).sum(axis=1)


def _log_open(law: Laws, age: np.ndarray) -> np.ndarray:
    will = law.chance * law.not_converted(age) * np.exp(law.stay_will)
    never = (1.0 - law.chance) * law.not_lost(age) * np.exp(law.stay_never)
    return np.log(np.maximum(will + never, _TINY))


def _log_converted(law: Laws, delay: np.ndarray) -> np.ndarray:
    value = _log_month(delay, law.log_scale, law.shape)
    return value + np.log(np.maximum(law.chance, _TINY)) + law.stay_will


def _log_lost(law: Laws, delay: np.ndarray) -> np.ndarray:
    value = _log_month(delay, law.loss_log_scale, law.loss_shape) + np.log(law.declared)
    return value + np.log(np.maximum(1.0 - law.chance, _TINY)) + law.stay_never


# Slopes of a landmark in logit and log scale, in shared ones, and the chance that it converts.
Slopes = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], np.ndarray | float]


def _slopes_open(law: Laws, age: np.ndarray) -> Slopes:
    power = _power(age + 1.0, law.log_scale, law.shape)
    lost = _power(age + 1.0, law.loss_log_scale, law.loss_shape)
    gone = np.exp(-lost)
    stays = 1.0 - law.declared * (1.0 - gone)
    will = law.chance * np.exp(law.stay_will - power)
    fails = (1.0 - law.chance) * np.exp(law.stay_never)
    both = np.maximum(will + fails * stays, _TINY)
    share = will / both
    by_lost, by_declared = -fails * law.declared * gone / both, -fails * (1.0 - gone) / both
    others = {
        "shape": -share * _x_log_x(power),
        "loss_scale": by_lost * -law.loss_shape * lost,
        "loss_shape": by_lost * _x_log_x(lost),
        "declared": by_declared * law.declared * (1.0 - law.declared),
    }
    d_logit = share * (1.0 - law.chance) - fails * stays / both * law.chance
    return d_logit, share * law.shape * power, others, share


def _slopes_converted(law: Laws, delay: np.ndarray) -> Slopes:
    scale, shape = _slopes_month(delay, law.log_scale, law.shape)
    return 1.0 - law.chance, scale, {"shape": shape}, 1.0


def _slopes_lost(law: Laws, delay: np.ndarray) -> Slopes:
    scale, shape = _slopes_month(delay, law.loss_log_scale, law.loss_shape)
    others = {"loss_scale": scale, "loss_shape": shape, "declared": 1.0 - law.declared}
    return -law.chance, np.zeros_like(law.chance), others, 0.0


_PARTS = ((_log_open, _slopes_open), (_log_converted, _slopes_converted), (_log_lost, _slopes_lost))


def _log_month(delay: np.ndarray, log_scale: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Log probability of a delay of so many whole months."""
    low, high = _power(delay, log_scale, shape), _power(delay + 1.0, log_scale, shape)
    return -low + np.log(-np.expm1(-np.maximum(high - low, _NARROWEST)))


def _slopes_month(
    delay: np.ndarray, log_scale: np.ndarray, shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Its slopes in log scale and log shape."""
    low, high = _power(delay, log_scale, shape), _power(delay + 1.0, log_scale, shape)
    by_high = 1.0 / np.expm1(np.clip(high - low, _NARROWEST, 700.0))
    by_low = -1.0 - by_high
    scale = -shape * (by_high * high + by_low * low)
    return scale, by_high * _x_log_x(high) + by_low * _x_log_x(low)


def _power(time: np.ndarray, log_scale: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(time / scale) ^ shape, 0 at time 0."""
    with np.errstate(divide="ignore"):
        log_time = np.log(time)
    return np.exp(np.minimum(shape * (log_time - log_scale), _LARGEST_POWER))


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.maximum(x, _TINY))


def _ordered(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the normal distribution function, and its slope."""
    from scipy.special import log_ndtr

    value = log_ndtr(z)
    return value, np.exp(-0.5 * z**2 - value) / np.sqrt(2.0 * np.pi)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
