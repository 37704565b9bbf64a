"""What a run saved of what could have been saved, in words, also where a share of it would say nothing.

The possible saving is the mean of the always-on sites less the offline bound. Both are reckoned on slots of
some minutes, so a possible saving of no more than always-on training emits in one slot is beyond what the
reckoning can resolve; on a run of minutes any share may come out. summary.json keeps `oracle_fraction` as
it was reckoned, beside what it is a share of, since programs read it; people get these words.
"""

from collections.abc import Mapping
from typing import Any


def resolved(*, possible_kg: float, resolvable_kg: float) -> bool:
    """Whether the reckoning can tell the offline bound from training that is always on."""
    return possible_kg > resolvable_kg


def share_tells(fraction: float, *, possible_kg: float, resolvable_kg: float) -> bool:
    """Whether the share says something: it is a share, of a saving that the reckoning can resolve."""
    return resolved(possible_kg=possible_kg, resolvable_kg=resolvable_kg) and 0 <= fraction <= 1


def multiple_tells(fraction: float, *, possible_kg: float, resolvable_kg: float) -> bool:
    """Whether the multiple of the optimum does: the same, and no run emits less than the bound."""
    return resolved(possible_kg=possible_kg, resolvable_kg=resolvable_kg) and fraction <= 1


def saving_text(summary: Mapping[str, Any]) -> str | None:
    """Return how much of the possible saving a run made, for a summary.json; None where that is unknown."""
    fraction = summary["oracle_fraction"]
    if fraction is None:
        return None
    possible_kg, resolvable_kg = summary.get("possible_saving_kg"), summary.get("resolvable_saving_kg")
    if (
        possible_kg is not None
        and resolvable_kg is not None
        and not resolved(possible_kg=possible_kg, resolvable_kg=resolvable_kg)
    ):
        return (
            f"the possible saving, {possible_kg:.3g} kg, is too small for a share of it to be told "
            f"(up to {resolvable_kg:.3g} kg are beyond the reckoning)"
        )
    if fraction < 0:
        more = "" if possible_kg is None else f": {-fraction * possible_kg:.3g} kg more than always-on sites"
        return f"nothing of the possible saving{more}"
    if fraction > 1:
        return "all of the possible saving, to what the reckoning's slots can resolve"
    return f"{fraction:.1%} of the possible saving"
