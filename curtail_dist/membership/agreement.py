"""The run's identity: what must be the same at every site, or the model would be another one."""

import re
from collections.abc import Mapping

from curtail_dist.errors import IdentityMismatch, StoreUnavailable
from curtail_dist.membership.effects import Await, Read, Steps, Transact, ask
from curtail_dist.membership.part import Part
from curtail_dist.membership.patience import patiently
from curtail_dist.membership.records import decode, encode
from curtail_dist.membership.view import View

_HASH = re.compile("[0-9a-f]{32,}")


def agree(part: Part) -> Steps[None]:
    """Write the identity if this site comes first, else compare; return when its presence is seen.

    Raises IdentityMismatch naming each key that differs, StoreUnavailable.
    """
    mine, key = dict(part.rules.identity), part.keys.identity

    def theirs() -> Steps[Mapping[str, str]]:
        result = yield from ask(Transact({key: 0}, {key: encode(mine)}))
        entry = None if result.succeeded else (yield from ask(Read([key])))[key]
        return mine if entry is None else decode(entry.value)

    compare(mine, (yield from patiently(part, theirs, "the run's identity")))

    def registered(view: View) -> bool | None:
        return True if view.present.get(part.me.site) == part.me else None

    if not (yield from ask(Await(registered, part.rules.outage_s))):
        raise StoreUnavailable(f"site {part.me.site} could not register; is the store reachable from here?")


def compare(mine: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    """Raise IdentityMismatch for what differs."""
    odd = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
    if odd:
        shown = "; ".join(
            f"{key} is {_shown(mine.get(key))}, the run's is {_shown(theirs.get(key))}" for key in odd
        )
        raise IdentityMismatch(
            f"this site would train something else than the run: {shown}; use the run's own"
        )


def _shown(value: str | None) -> str:
    """Return as much as tells two values apart: of a hash its beginning does."""
    return str(value)[: 12 if value and _HASH.fullmatch(value) else 80]
