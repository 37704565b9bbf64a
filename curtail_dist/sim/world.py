"""What all processes of a schedule share: time, store, network, disks, and the history."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from curtail_dist.membership.effects import Done
from curtail_dist.membership.records import Member
from curtail_dist.sim.disk import Disk
from curtail_dist.sim.history import History
from curtail_dist.sim.kernel import Kernel
from curtail_dist.sim.network import Network
from curtail_dist.sim.setting import Setting
from curtail_dist.sim.state import Behind, OpenRound, State
from curtail_dist.sim.store import SimStore

if TYPE_CHECKING:
    from curtail_dist.sim.process import Process


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a process kept on its site's disk when the store was gone for good."""

    done: Done
    head: str
    """Hash of the version it stood on."""
    open_round: OpenRound
    behind: Behind
    since: int


@dataclass(kw_only=True)
class World:
    """One schedule's world."""

    setting: Setting
    kernel: Kernel
    history: History
    store: SimStore
    network: Network
    disks: dict[str, Disk]
    """By url."""
    states: dict[str, State] = field(default_factory=dict[str, State])
    """Every state that was ever computed, by hash."""
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    """By site."""
    processes: dict[Member, "Process"] = field(default_factory=dict[Member, "Process"])
    """Those that live, hung ones too."""
    calm: bool = False
    """Whether faults are over."""

    @classmethod
    def of(cls, setting: Setting) -> "World":
        """Build the world of a schedule, with nobody in it."""
        kernel = Kernel(setting.seed)
        history = History(kernel)
        store = SimStore(kernel, history)
        store.loss, store.slow, store.lag_s = setting.loss, setting.slow, setting.lag_s
        network = Network(kernel, history)
        network.bulk_s = setting.bulk_s
        urls = sorted(set(setting.url.values()))
        return cls(
            setting=setting,
            kernel=kernel,
            history=history,
            store=store,
            network=network,
            disks={url: Disk(url=url, history=history) for url in urls},
        )

    def disk(self, site: str) -> Disk:
        """Return where a site keeps its snapshots."""
        return self.disks[self.setting.url[site]]

    def remember(self, state: State) -> State:
        """Return the state, the same object for the same hash."""
        return self.states.setdefault(state.hash, state)
