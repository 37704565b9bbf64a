"""What each rank of a site did in a round, put together to the site's work."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from curtail_dist.data.ledger import Offset, Range, normalize
from curtail_dist.errors import StateDiverged
from curtail_dist.membership.records import Work
from curtail_dist.runtime.intrasite import SiteRanks
from curtail_dist.runtime.open_round import OpenRound


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What one rank did in a round, beside the steps, which all take together."""

    rows: tuple[Range, ...]
    """Positions whose last token it trained on."""
    open: tuple[Offset, ...]
    """The row that it left begun, if any."""
    loss: float | None
    """Mean of its losses."""
    parameters: str
    """Fingerprint of its parameters."""
    ahead: tuple[Range, ...]
    """What it keeps of its rows for the steps beside the exchange."""

    def encode(self) -> bytes:
        """Return the message."""
        return json.dumps([self.rows, self.open, self.loss, self.parameters, self.ahead]).encode()

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Read a message."""
        rows, open, loss, parameters, ahead = json.loads(message)
        return cls(
            rows=_pairs(rows), open=_pairs(open), loss=loss, parameters=parameters, ahead=_pairs(ahead)
        )


@dataclass(frozen=True, kw_only=True)
class Joint:
    """What the ranks of a site did in a round together."""

    work: Work
    loss: float | None
    """Mean over the ranks, nats per token."""
    ahead: tuple[tuple[Range, ...], ...]
    """By rank, the rows that it keeps for the steps beside the exchange."""


def joint_work(
    ranks: SiteRanks, round: OpenRound, parameters: Sequence[torch.Tensor], *, delay: int
) -> Joint:
    """Return the site's work in a round; every rank calls this.

    Args:
        ranks: Of the site.
        round: What this rank did.
        parameters: This rank's.
        delay: Inner steps that are to be done beside the exchange that comes.

    Raises:
        RankLost: a rank is gone.
        StateDiverged: `parameters` differ between ranks. The site's pseudo-gradient would be that of one rank
            alone, under the weight of all.
    """
    work = round.work
    ahead = round.rest(delay).rows
    if ranks.size == 1:
        return Joint(work=work, loss=round.loss, ahead=(ahead,))
    mine = RoundReport(
        rows=work.rows,
        open=work.open,
        loss=round.loss,
        parameters=fingerprint(parameters),
        ahead=ahead,
    )
    reports = [RoundReport.decode(message) for message in ranks.gather(mine.encode())]
    odd = [str(rank) for rank, report in enumerate(reports) if report.parameters != reports[0].parameters]
    if odd:
        raise StateDiverged(
            f"site {work.site}: after {round.steps} steps the parameters of rank {', '.join(odd)} differ "
            "from those of rank 0; average the gradients over the site's ranks in the training loop "
            "(torch.nn.parallel.DistributedDataParallel does)"
        )
    losses = [report.loss for report in reports if report.loss is not None]
    rows = normalize(span for report in reports for span in report.rows)
    open = tuple(sorted(row for report in reports for row in report.open))
    return Joint(
        work=replace(work, rows=rows, open=open),
        loss=sum(losses) / len(losses) if losses else None,
        ahead=tuple(report.ahead for report in reports),
    )


@torch.no_grad()
def fingerprint(parameters: Sequence[torch.Tensor]) -> str:
    """Return the parameters' sums and sums of squares in float64: equal parameters have equal ones."""
    sums = [(value.double().sum(), value.double().square().sum()) for value in parameters]
    return json.dumps([[float(one).hex() for one in pair] for pair in sums])


def _pairs(raw: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in raw)
