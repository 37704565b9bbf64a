"""CORE (DCLM, arXiv 2406.11794): 22 tasks of three kinds, scored without training, their centred mean.

A task's accuracy a is centred by that of guessing, b: (a - b) / (1 - b), so that 0 is guessing and 1 is
always right. CORE is the mean over the tasks.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from nanochat.core.prompts import Encoder
from nanochat.core.scoring import is_right
from nanochat.core.tasks import CORE_TASKS, Task, read_bundle
from nanochat.model import GPT
from nanochat.ranks import Ranks

__all__ = ["CORE_TASKS", "CoreResult", "Task", "TaskScore", "evaluate_core", "read_bundle"]

ORDER_SEED = 1_337


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """How a model did on a task."""

    label: str
    asked: int
    accuracy: float
    centred: float
    """0: like guessing; 1: always right."""


@dataclass(frozen=True, kw_only=True)
class CoreResult:
    """How a model did on a bundle."""

    scores: tuple[TaskScore, ...]

    @property
    def mean(self) -> float:
        """Mean of the centred accuracies."""
        return mean(score.centred for score in self.scores)

    @property
    def missing(self) -> list[str]:
        """Tasks of CORE that the bundle lacks; while there is one, the mean is not CORE."""
        return sorted(CORE_TASKS - {score.label for score in self.scores})

    @property
    def name(self) -> str:
        """What the mean is called."""
        known = len(CORE_TASKS) - len(self.missing)
        return f"mean of {known} of {len(CORE_TASKS)} tasks" if self.missing else "CORE"


def evaluate_core(
    model: GPT,
    encoder: Encoder,
    tasks: Sequence[Task],
    *,
    max_per_task: int | None = None,
    ranks: Ranks | None = None,
    after_task: Callable[[TaskScore], None] = lambda score: None,
) -> CoreResult:
    """Score a model on the tasks of a bundle.

    Args:
        model: Of a sequence beyond its positions the beginning is left out.
        encoder: Its tokenizer.
        tasks: From `read_bundle`.
        max_per_task: Ask so many items of a task at most, drawn always alike; None: all.
        ranks: Share the items among them, all together; None: alone.
        after_task: Called with each task's score.
    """
    scores: list[TaskScore] = []
    for task in tasks:
        drawn = drawn_from(task, max_per_task)
        asked = range(len(drawn.items))[:max_per_task]
        own = asked if ranks is None else asked[ranks.rank :: ranks.count]
        right = float(sum(is_right(model, encoder, drawn, number) for number in own))
        if ranks is not None:
            [right] = ranks.sum([right])
        accuracy = right / len(asked)
        centred = (accuracy - task.baseline) / (1 - task.baseline)
        scores.append(TaskScore(label=task.label, asked=len(asked), accuracy=accuracy, centred=centred))
        after_task(scores[-1])
    return CoreResult(scores=tuple(scores))


def drawn_from(task: Task, most: int | None) -> Task:
    """The task with its items in the order in which they are asked, and no more than `most` of them.

    The shots of an item follow from its place in this order, as in the original. A few items more than `most`
    stay where its shots need them.
    """
    items = list(task.items)
    random.Random(ORDER_SEED).shuffle(items)
    kept = None if most is None else max(most, task.shots + 1)
    return replace(task, items=tuple(items[:kept]))
