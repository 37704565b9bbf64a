"""The inner optimizer's state over a short absence of its site: kept by each rank, resumed by all or none."""

import logging

from curtail_dist.config import RunConfig
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.intrasite import SiteRanks
from curtail_dist.state import inner
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)


class InnerState:
    """Keeps one rank's part of it on the site's disk: the whole of it, or the rank's shard of it."""

    def __init__(self, config: RunConfig, site: str, ranks: SiteRanks, outer: DiLoCo) -> None:
        """Keep the state of `outer`'s inner optimizer, in `inner/` of the run directory."""
        self._config = config
        self._ranks = ranks
        self._outer = outer
        name = f"{site}.safetensors" if ranks.rank == 0 else f"{site}.{ranks.rank}.safetensors"
        self._path = config.run.directory / "inner" / name

    def is_finite(self) -> bool:
        """Return whether all numbers of this rank's part are finite."""
        return inner.is_finite(self._outer.inner)

    def forget(self) -> None:
        """Begin afresh and gently."""
        self._outer.forget_inner(warmup_steps=self._config.train.warmup_steps)

    def keep(self, *, at: Seconds) -> None:
        """Write it, as of run time `at`, if all its numbers are finite.

        A disk that does not take it is no failure: the site that comes back begins gently, as after a long
        absence, and what else is kept as it goes is worth more.
        """
        if not self._config.state.inner_max_age_s:
            return
        try:
            inner.save(self._path, self._outer.inner, at=at)
        except OSError as error:
            _LOG.warning("the inner optimizer's state is not kept in %s: %s", self._path, error)

    def resume(self, *, now: Seconds, left_at: Seconds | None = None) -> None:
        """Take it up again if it is fresh enough at run time `now`, else begin gently; all ranks call this.

        A process that did its last step at `left_at` still has it. Ranks that kept theirs at different times
        have parts that do not fit together: all begin afresh then. Raises RankLost.
        """
        max_age_s = self._config.state.inner_max_age_s
        if left_at is not None:
            if now - left_at > max_age_s:
                _LOG.info("the inner optimizer begins afresh: its state is %.0f s old", now - left_at)
                self.forget()
            return
        kept_at = inner.load(self._path, self._outer.inner, now=now, max_age_s=max_age_s)
        same = len(set(self._ranks.gather(repr(kept_at).encode()))) == 1
        if kept_at is not None and same:
            return
        if kept_at is not None:
            self._outer.inner.state.clear()
        self._outer.begin_warmup(self._config.train.warmup_steps)
