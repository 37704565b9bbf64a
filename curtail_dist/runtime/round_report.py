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

    def encode(self) -> bytes:
        """Return the message."""
        return json.dumps([self.rows, self.open, self.loss, self.parameters]).encode()

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Read a message."""
        rows, open, loss, parameters = json.loads(message)
        return cls(rows=_pairs(rows), open=_pairs(open), loss=loss, parameters=parameters)


def joint_work(
    ranks: SiteRanks, round: OpenRound, parameters: Sequence[torch.Tensor]
) -> tuple[Work, float | None]:
    """Return the site's work in a round and its mean loss; every rank calls this.

    Raises:
        RankLost: a rank is gone.
        StateDiverged: `parameters` differ between ranks. The site's pseudo-gradient would be that of one rank
            alone, under the weight of all.
    """
    work = round.work
    if ranks.size == 1:
        return work, round.loss
    mine = RoundReport(rows=work.rows, open=work.open, loss=round.loss, parameters=fingerprint(parameters))
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
    return replace(work, rows=rows, open=open), sum(losses) / len(losses) if losses else None


@torch.no_grad()
def fingerprint(parameters: Sequence[torch.Tensor]) -> str:
    """Return the parameters' sums and sums of squares in float64: equal parameters have equal ones."""
    sums = [(value.double().sum(), value.double().square().sum()) for value in parameters]
    return json.dumps([[float(one).hex() for one in pair] for pair in sums])


def _pairs(raw: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in raw)
