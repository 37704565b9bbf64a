"""What a run saved of what could have been saved, in words, also where a share of it would say nothing.

Programs read `oracle_fraction` as it was reckoned, beside what it is a share of, in summary.json and from
`simulate`; people get these words.
"""

from collections.abc import Mapping
from typing import Any

from curtail_dist.energy.oracle import SLOT_S
from curtail_dist.energy.saving import Saving


def saving_facts(saving: Saving | None) -> dict[str, float | None]:
    """Return what programs read of a saving."""
    return {
        "oracle_fraction": None if saving is None else saving.fraction,
        "possible_saving_kg": None if saving is None else saving.possible_kg,
        "resolvable_saving_kg": None if saving is None else saving.resolvable_kg,
    }


def share_told(saving: Saving | None) -> float | None:
    """Return the share where it says something: it is a share, of a saving that the reckoning can resolve."""
    if saving is None or saving.fraction is None or not saving.is_resolved:
        return None
    return saving.fraction if 0 <= saving.fraction <= 1 else None


def multiple_tells(saving: Saving) -> bool:
    """Whether the multiple of the optimum does: the same, and no run emits less than the bound."""
    return saving.is_resolved and saving.fraction is not None and saving.fraction <= 1


def multiple_text(multiple: float, of: str) -> str:
    """Return how many times what `of` names was emitted, and how that can be less than the optimum."""
    below = "" if multiple > 1 - 5e-3 else f", which starts and stops on slots of {SLOT_S:g} s"
    return f"{multiple:.2f} times {of}{below}"


def saving_text(summary: Mapping[str, Any]) -> str | None:
    """Return how much of the possible saving a run made, of what `saving_facts` are in; None: unknown."""
    fraction = summary["oracle_fraction"]
    if fraction is None:
        return None
    possible_kg, resolvable_kg = summary.get("possible_saving_kg"), summary.get("resolvable_saving_kg")
    if possible_kg is not None and resolvable_kg is not None and possible_kg <= resolvable_kg:
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
