"""The network between sites: groups that exchange messages, and links that break."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curtail_dist.errors import PeerLost
from curtail_dist.membership.decisions import counted_on
from curtail_dist.membership.records import Epoch, Member
from curtail_dist.membership.view import View
from curtail_dist.sim.history import History
from curtail_dist.sim.kernel import Kernel
from curtail_dist.units import Seconds

_NOTICE_S = 0.3
"""Greatest time in which a closed connection is noticed, behind what was sent over it."""

Answer = Callable[[Mapping[int, Any] | None, PeerLost | None], None]


@dataclass(kw_only=True)
class Operation:
    """What one member waits for in its group."""

    number: int
    kind: str
    needed: Sequence[int]
    answer: Answer


@dataclass
class Group:
    """The group of one epoch. Ranks come when they come; the first operation is to have met."""

    epoch: Epoch
    seats: dict[int, "Seat"] = field(default_factory=dict[int, "Seat"])
    box: dict[tuple[int, int, int], tuple[str, Any]] = field(
        default_factory=dict[tuple[int, int, int], tuple[str, Any]]
    )
    """Messages arrived, by (receiver, operation, sender)."""
    broken: dict[tuple[int, int], bool] = field(default_factory=dict[tuple[int, int], bool])
    """Links over which nothing arrives any more, by (receiver, sender); True once noticed."""
    gone: dict[int, bool] = field(default_factory=dict[int, bool])
    """Ranks that left or died."""


class Network:
    """All groups and links. A link between two sites is cut in both directions."""

    def __init__(self, kernel: Kernel, history: History) -> None:
        """Begin whole."""
        self.kernel = kernel
        self.history = history
        self._groups: dict[bytes, Group] = {}
        self._cut: dict[tuple[str, str], bool] = {}
        self.bulk_s: Seconds = 0.3
        """Greatest time that a payload takes."""

    def linked(self, one: str, other: str) -> bool:
        """Whether two sites reach each other."""
        return (min(one, other), max(one, other)) not in self._cut

    def cut(self, one: str, other: str) -> None:
        """Part two sites: what is under way between them is lost."""
        self._cut[min(one, other), max(one, other)] = True
        for group in self._groups.values():
            names = group.epoch.sites
            if one in names and other in names:
                first, second = names.index(one), names.index(other)
                self.snap(group, first, second, notice_s=self.kernel.between(0.01, 1.0))
                self.snap(group, second, first, notice_s=self.kernel.between(0.01, 1.0))

    def mend(self, one: str, other: str) -> None:
        """Let two sites reach each other again; broken groups stay broken."""
        self._cut.pop((min(one, other), max(one, other)), None)

    def seat(self, epoch: Epoch, me: Member, view: Callable[[], View]) -> "Seat":
        """Return a member's place in the group of an epoch."""
        group = self._groups.setdefault(epoch.encode(), Group(epoch))
        rank = epoch.members.index(me)
        seat = Seat(self, group, rank, view)
        group.seats[rank] = seat
        for other in range(len(epoch.members)):
            if other == rank:
                continue
            if not self.linked(me.site, epoch.members[other].site):
                self.snap(group, rank, other, notice_s=self.kernel.between(0.01, 1.0))
                self.snap(group, other, rank, notice_s=self.kernel.between(0.01, 1.0))
            elif other in group.gone:
                self.snap(group, rank, other, notice_s=self.kernel.between(0.01, _NOTICE_S))
        return seat

    def send(self, group: Group, sender: int, number: int, kind: str, value: Any) -> None:
        """Send one message to all others, each on its own way."""
        kernel = self.kernel
        for receiver in range(len(group.epoch.members)):
            if receiver == sender or (receiver, sender) in group.broken:
                continue
            delay = kernel.between(0.002, 0.03)
            if kind == "payloads" and value is not None:
                delay = kernel.between(0.3, 1.0) * self.bulk_s
            kernel.after(delay, self._arrive, group, (receiver, number, sender), kind, value)

    def snap(self, group: Group, receiver: int, sender: int, *, notice_s: Seconds) -> None:
        """Break one direction of a link now; the receiver notices later."""
        if (receiver, sender) not in group.broken:
            group.broken[receiver, sender] = False
            self.kernel.after(notice_s, self._notice, group, receiver, sender)

    def close(self, group: Group, rank: int, *, abrupt: bool) -> None:
        """A member leaves, or dies: then what it has sent may not arrive."""
        if rank in group.gone:
            return
        group.gone[rank] = True
        for receiver in group.seats:
            if receiver == rank:
                continue
            if abrupt and self.kernel.chance(0.5):
                self.snap(group, receiver, rank, notice_s=self.kernel.between(0.01, _NOTICE_S))
            else:
                late = self.bulk_s + self.kernel.between(0.03, _NOTICE_S)
                self.kernel.after(late, self._break_late, group, receiver, rank)

    def _break_late(self, group: Group, receiver: int, sender: int) -> None:
        self.snap(group, receiver, sender, notice_s=0.0)

    def _arrive(self, group: Group, place: tuple[int, int, int], kind: str, value: Any) -> None:
        receiver, _, sender = place
        if (receiver, sender) in group.broken:
            return
        group.box[place] = (kind, value)
        if receiver in group.seats:
            group.seats[receiver].check()

    def _notice(self, group: Group, receiver: int, sender: int) -> None:
        group.broken[receiver, sender] = True
        if receiver in group.seats:
            group.seats[receiver].check()


class Seat:
    """One member's place in a group: it takes part in one operation after the other."""

    def __init__(self, network: Network, group: Group, rank: int, view: Callable[[], View]) -> None:
        """Use `Network.seat`."""
        self._network = network
        self.group = group
        self.rank = rank
        self._view = view
        self._number = 0
        self._waiting: Operation | None = None
        self._failed = False

    def gather(
        self, kind: str, value: Any, needed: Sequence[int], *, patience_s: Seconds | None, answer: Answer
    ) -> None:
        """Give `value` to all, and answer with what the needed ranks gave, or with PeerLost."""
        number, self._number = self._number, self._number + 1
        operation = Operation(number=number, kind=kind, needed=needed, answer=answer)
        if self._failed:
            answer(None, PeerLost("the epoch's group failed before; regroup"))
            return
        self._waiting = operation
        network = self._network
        network.send(self.group, self.rank, number, kind, value)
        if patience_s is not None:
            network.kernel.after(patience_s, self._lose_patience, number, patience_s)
        self.check()

    def check(self) -> None:
        """Look whether what is waited for has come, or cannot come any more."""
        operation = self._waiting
        if operation is None:
            return
        group, rank = self.group, self.rank
        missing = [one for one in operation.needed if (rank, operation.number, one) not in group.box]
        if not missing:
            self._complete(operation)
            return
        broken = next((one for one in missing if group.broken.get((rank, one))), None)
        if broken is not None:
            self._fail(f"the connection to {group.epoch.members[broken].site} closed")
            return
        view = self._view()
        gone = next((one for one in group.epoch.members if not counted_on(view, group.epoch, one)), None)
        if gone is not None:
            self._fail(f"{gone.site} is not counted on any more in epoch {group.epoch.number}")

    def leave(self, *, abrupt: bool = False) -> None:
        """Close all connections."""
        self._waiting = None
        self._failed = True
        self._network.close(self.group, self.rank, abrupt=abrupt)

    def _lose_patience(self, number: int, patience_s: Seconds) -> None:
        if self._waiting is not None and self._waiting.number == number:
            self._fail(f"an operation took more than {patience_s:.0f} s")

    def _complete(self, operation: Operation) -> None:
        group, rank = self.group, self.rank
        if any(group.broken.get((rank, one)) for one in range(len(group.epoch.members))) and (
            self._network.kernel.chance(0.5)
        ):
            self._fail("a connection of the group closed")
            return
        given: dict[int, Any] = {}
        for one in operation.needed:
            kind, value = group.box.pop((rank, operation.number, one))
            if kind != operation.kind:
                sites = group.epoch.sites
                self._network.history.blame(
                    sites[rank], f"gathers {operation.kind} while {sites[one]} gathers {kind}"
                )
            given[one] = value
        self._waiting = None
        operation.answer(given, None)

    def _fail(self, reason: str) -> None:
        operation, self._waiting, self._failed = self._waiting, None, True
        if operation is not None:
            operation.answer(None, PeerLost(reason))
