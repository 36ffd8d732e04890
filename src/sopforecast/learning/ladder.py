"""The stages whose worth is compared, in the order in which they come: the ladder.

naive, statistical, then each source twice: alone (``source:<name>``) and on top of those before it
(``through:<name>``), consensus, approved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sopforecast.core.learning_tables import SEQUENTIAL

NAIVE, STATISTICAL, CONSENSUS, APPROVED = "naive", "statistical", "consensus", "approved"
ALONE = "source:"


def order_of_sources(spoken: Collection[str], sources: Sequence[str]) -> tuple[str, ...]:
    """Sources that spoke: first those of the settings, in that order, then others by alphabet.

    Examples
    --------
    >>> order_of_sources({"zeta", "finance", "alpha", "sales"}, ["sales", "marketing", "finance"])
    ('sales', 'finance', 'alpha', 'zeta')
    """
    known = [name for name in dict.fromkeys(sources) if name in spoken]
    return (*known, *sorted(set(spoken) - set(known)))


def ladder(spoken: Sequence[str]) -> tuple[str, ...]:
    """Every stage of these sources, in order.

    Examples
    --------
    >>> ladder(["sales"])
    ('naive', 'statistical', 'source:sales', 'through:sales', 'consensus', 'approved')
    """
    of_sources = [stage + name for name in spoken for stage in (ALONE, SEQUENTIAL)]
    return (NAIVE, STATISTICAL, *of_sources, CONSENSUS, APPROVED)
