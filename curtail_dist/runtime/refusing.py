"""How a rank program ends over what its user gave: one line, exit code 2, and the site's agent is told."""

import os
import sys
from types import TracebackType

from curtail_dist.config import RunConfig
from curtail_dist.coordination import open_store
from curtail_dist.errors import CurtailError, DataError, UserError
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.refusal import Refusal
from curtail_dist.telemetry.joining import DECIDED_AT

USERS_MISTAKE = 2
"""The exit code."""


def refuse(config: RunConfig, site: str, error: Exception) -> int:
    """Say in one line why this rank of `site` ends, to people and to its agent; return the exit code.

    torchrun would hide both line and code from the agent, and start the ranks again. So the store has them;
    where it does not answer, or no agent has started this process, the log alone does.
    """
    line = " ".join(str(error).split())
    sys.stderr.write(f"error: {line}\n")
    start = os.environ.get(DECIDED_AT)
    if start is not None:
        told = Refusal(reason=line, start=start, final=is_final(error))
        try:
            with open_store(config.coordination) as store:
                store.put(Keys(config.run.name).refused(site), told.encode())
        except CurtailError as unheard:
            sys.stderr.write(f"the site's agent could not be told: {unheard}\n")
    return USERS_MISTAKE


def is_final(error: Exception) -> bool:
    """Whether no other start can go better: data may still come, and a machine be mended."""
    beneath: BaseException | None = error
    while beneath is not None:
        if isinstance(beneath, OSError):
            return False
        beneath = beneath.__cause__
    return isinstance(error, UserError) and not isinstance(error, DataError)


def refuse_what_is_not_caught(config: RunConfig, site: str) -> None:
    """Have this process end so over a UserError that nobody catches, wherever the script raises it."""
    before = sys.excepthook

    def ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, UserError):
            before(kind, error, trace)
            return
        raise SystemExit(refuse(config, site, error))  # which the interpreter takes for the exit code

    sys.excepthook = ended
