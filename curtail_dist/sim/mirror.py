"""What one process has last seen of the store: in order, late, and listed anew after a break."""

from collections.abc import Callable, Sequence
from typing import Protocol

from curtail_dist.coordination.keyspace import Keyspace
from curtail_dist.coordination.store import Change, Entry
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.notice import Notice
from curtail_dist.membership.view import View, applied
from curtail_dist.sim.kernel import Kernel
from curtail_dist.units import Seconds

_RETRY_S = 0.2


class _Store(Protocol):
    contents: Keyspace

    def reaches(self, site: str) -> bool:
        """Whether the site and the store reach each other."""
        ...


class Mirror:
    """A process's view of the run's keys. Calls `changed` whenever it differs."""

    def __init__(
        self, kernel: Kernel, store: _Store, keys: Keys, *, site: str, changed: Callable[[], None]
    ) -> None:
        """Begin without having seen anything; `list_anew` comes next."""
        self._kernel = kernel
        self._store = store
        self._keys = keys
        self._changed = changed
        self.site = site
        self.connected = False
        self.closed = False
        self.failing_since: Seconds | None = None
        """Since when the process's calls have had no answer."""
        self.ending = False
        """Whether the process was told to end."""
        self._entries: dict[str, Entry] = {}
        self._link = 0
        self._last_at: Seconds = 0.0
        self._view: View | None = None
        self._held: list[Callable[[], None]] | None = None

    @property
    def view(self) -> View:
        """The run as last seen."""
        if self._view is None:
            asked = self._entries.get(self._keys.drain(self.site))
            self._view = View(
                keys=self._keys,
                entries=self._entries,
                draining=asked is not None,
                after_commit=asked is not None and Notice.decode(asked.value).after_commit,
                ending=self.ending,
            )
        return self._view

    @property
    def stale_s(self) -> Seconds:
        """Since when the store has not answered."""
        return 0.0 if self.failing_since is None else self._kernel.now - self.failing_since

    def offer(self, changes: Sequence[Change], delay: Seconds) -> None:
        """Show changes after a delay, and after all earlier ones."""
        kernel = self._kernel
        self._last_at = max(self._last_at, kernel.now + delay)
        kernel.after(self._last_at - kernel.now, self._deliver, self._link, changes)

    def note(self, entry: Entry) -> None:
        """Show what this process itself read or wrote."""
        self._apply([Change(key=entry.key, entry=entry, revision=entry.revision)])

    def end(self) -> None:
        """Tell the process to end."""
        self.ending = True
        self._refresh()

    def freeze(self) -> None:
        """The process is stopped: what comes waits for it."""
        self._held = []

    def thaw(self) -> None:
        """The process goes on, and reads what has come, in order."""
        held, self._held = self._held or [], None
        for action in held:
            self._last_at = max(self._last_at, self._kernel.now + self._kernel.between(0.001, 0.05))
            self._kernel.after(self._last_at - self._kernel.now, action)

    def sever(self) -> None:
        """Lose the connection: nothing comes until the keys were listed anew."""
        if self.connected:
            self.connected = False
            self._link += 1
            self._kernel.after(self._kernel.between(0.1, 1.0), self.list_anew)

    def list_anew(self) -> None:
        """Connect, again and again until the store answers."""
        if self.closed or self.connected:
            return
        kernel = self._kernel
        if self._store.reaches(self.site):
            listing = self._store.contents.list(self._keys.root)
            self.connected = True
            entries = {entry.key: entry for entry in listing.entries}
            self._last_at = max(self._last_at, kernel.now + kernel.between(0.001, 0.02))
            kernel.after(self._last_at - kernel.now, self._replace, self._link, entries)
        else:
            kernel.after(_RETRY_S, self.list_anew)

    def _replace(self, link: int, entries: dict[str, Entry]) -> None:
        if self._held is not None:
            self._held.append(lambda: self._replace(link, entries))
        elif link == self._link and not self.closed:
            self._entries = entries
            self._refresh()

    def _deliver(self, link: int, changes: Sequence[Change]) -> None:
        if self._held is not None:
            self._held.append(lambda: self._deliver(link, changes))
        elif link == self._link and not self.closed:
            self._apply(changes)

    def _apply(self, changes: Sequence[Change]) -> None:
        self._entries = applied(self._entries, changes)
        self._refresh()

    def _refresh(self) -> None:
        self._view = None
        self._changed()
