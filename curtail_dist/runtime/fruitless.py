"""Rounds in a row of which nothing counts: their rows are given out again, and would be for ever.

One such round may be: rows with nothing in them that is predicted, a batch whose loss is no number. After it
the site is given others, or leaves. Where the same comes again the site ends, and says what to look at.
"""

import logging

from curtail_dist.errors import ConfigError
from curtail_dist.membership.records import Commit, Work

_LOG = logging.getLogger(__name__)
_SPOILED_MOST = 3
"""Rounds in a row on one version whose numbers are not finite: the next is the same again."""


class Fruitless:
    """Counts them at one site, and raises ConfigError where there are too many."""

    def __init__(self, site: str) -> None:
        """Begin with none."""
        self._site = site
        self._in_vain = 0
        """Rounds in a row in which rows were to be done and nothing was that counts."""
        self._spoiled_on: list[int] = []
        """Versions on which this site was left by rounds in a row whose numbers were not finite."""

    def note_work(self, work: Work, *, rows: int, assigned: bool) -> None:
        """Take in what was done of a round: `rows` were taken, and there were `assigned` ones or none."""
        if work.tokens:
            self._in_vain = 0
        if work.tokens or not (work.steps or assigned):
            return
        self._in_vain += 1
        said, again, must = self._told(work, rows)
        if self._in_vain > 1:
            raise ConfigError(f"{said}, {again} before; {must}")
        _LOG.warning("%s: none of it counts, its rows are given out again", said)

    def _told(self, work: Work, rows: int) -> tuple[str, str, str]:
        """Return what the round was, that the one before was the same, and what must be."""
        if work.steps:
            return (
                f"site {self._site}: the {work.steps} steps of this round had no tokens",
                "and neither had those of the round",
                "tokens weigh what a site did, and of nothing nothing counts: give outer.step(tokens=...) "
                "what the loss is a mean over",
            )
        return (
            f"site {self._site}: pack took {rows} rows of this round and gave out no batch",
            "nor did it in the round",
            "every row that it takes must be in a batch: give out what it holds when its rows end, too "
            "little for a whole batch as well",
        )

    def note_end(self, head: Commit | None, *, spoiled: bool, goes_on: bool) -> None:
        """Take in how a round ended: on which version, and whether numbers of it were not finite."""
        if not spoiled or head is None:
            self._spoiled_on.clear()
            return
        self._spoiled_on = [*self._spoiled_on, head.version][-_SPOILED_MOST:]
        if goes_on and self._spoiled_on == [head.version] * _SPOILED_MOST:
            raise ConfigError(
                f"site {self._site}: the numbers of {_SPOILED_MOST} rounds in a row on version "
                f"{head.version} were not finite, and the next one has the same rows; leave out rows whose "
                "loss is no number (a mean over no targets is none), or lower the inner learning rate"
            )
