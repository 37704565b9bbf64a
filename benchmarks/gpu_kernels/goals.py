"""What the kernels are to reach, beside what they reached: ratios of throughput, and memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One figure that is to be at least so much."""

    name: str
    values: Callable[[Sequence[Row]], Iterator[float]]
    """Of all rows, the figures that count; the least of them is held against the goal."""
    at_least: float
    stretch: float | None = None
    """What would be better still."""


def ratios(what: str, pass_: str, rival: str, **shape: Any) -> Callable[[Sequence[Row]], Iterator[float]]:
    """Throughput of ours over a rival's, of each row of this shape that has both."""

    def values(rows: Sequence[Row]) -> Iterator[float]:
        for row in rows:
            if row.get("what") != what or any(row.get(name) != value for name, value in shape.items()):
                continue
            mine, other = row.get("ours", {}).get(f"{pass_}_s"), row.get(rival, {}).get(f"{pass_}_s")
            if mine and other:
                yield other["median"] / mine["median"]

    return values


def _products_over_cublas(rows: Sequence[Row]) -> Iterator[float]:
    yield from (row["over_cublas"] for row in rows if row.get("what") == "product" and "over_cublas" in row)


def _gain_in_steps(means: str) -> Callable[[Sequence[Row]], Iterator[float]]:
    def values(rows: Sequence[Row]) -> Iterator[float]:
        rates = {row["means"]: row for row in rows if row.get("what") == "steps" and "tokens_per_s" in row}
        if {means, "torch"} <= set(rates):
            yield rates[means]["tokens_per_s"]["median"] / rates["torch"]["tokens_per_s"]["median"]

    return values


def _memory_saved(rows: Sequence[Row]) -> Iterator[float]:
    peaks = {row["means"]: row.get("peak_memory_bytes") for row in rows if row.get("what") == "steps"}
    before, after = peaks.get("torch"), peaks.get("attention, head and relu2")
    if before and after:
        yield (before - after) / 1e9


GOALS = (
    Goal(
        name="forward over cuDNN, D 128",
        values=ratios("bare", "forward", "cudnn", D=128),
        at_least=0.80,
        stretch=0.95,
    ),
    Goal(name="forward over cuDNN, D 64", values=ratios("bare", "forward", "cudnn", D=64), at_least=1.05),
    Goal(
        name="forward over FlexAttention, window 768",
        values=ratios("bare", "forward", "flex", window=768),
        at_least=1.2,
    ),
    Goal(name="backward over cuDNN", values=ratios("bare", "backward", "cudnn"), at_least=0.85),
    Goal(name="backward over FlexAttention", values=ratios("bare", "backward", "flex"), at_least=1.15),
    Goal(name="whole path over FlexAttention", values=ratios("whole", "both", "flex"), at_least=1.25),
    Goal(name="whole path over cuDNN", values=ratios("whole", "both", "cudnn"), at_least=1.0, stretch=1.1),
    Goal(name="products with relu2 in them over cuBLAS", values=_products_over_cublas, at_least=0.95),
    Goal(name="d12 with our attention", values=_gain_in_steps("attention"), at_least=1.03),
    Goal(
        name="d12 with our attention, head and relu2",
        values=_gain_in_steps("attention, head and relu2"),
        at_least=1.07,
    ),
    Goal(name="memory of a d12 at vocabulary 65,536, GB saved", values=_memory_saved, at_least=6.0),
)


def judge(rows: Sequence[Row], goals: Sequence[Goal] = GOALS) -> list[dict[str, Any]]:
    """Each goal beside the least of its figures; `holds` is None where nothing was measured."""
    found: list[dict[str, Any]] = []
    for goal in goals:
        values = sorted(goal.values(rows))
        least = values[0] if values else None
        one: dict[str, Any] = {
            "goal": goal.name,
            "at_least": goal.at_least,
            "least": least,
            "most": values[-1] if values else None,
            "of_rows": len(values),
            "holds": None if least is None else least >= goal.at_least,
        }
        if goal.stretch is not None:
            one |= {
                "stretch": goal.stretch,
                "stretch_holds": None if least is None else least >= goal.stretch,
            }
        found.append(one)
    return found
