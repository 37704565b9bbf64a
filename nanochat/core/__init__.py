"""CORE (DCLM, arXiv 2406.11794): 22 tasks of three kinds, scored without training, their centred mean.

A task's accuracy a is centred by that of guessing, b: (a - b) / (1 - b), so that 0 is guessing and 1 is
always right. CORE is the mean over the tasks.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        model: Sequences are cropped from the left to its training windows.
        encoder: Its tokenizer.
        tasks: From `read_bundle`.
        max_per_task: Ask so many items of a task at most, drawn always alike; None: all.
        ranks: Share the items among them, all together; None: alone.
        after_task: Called with each task's score.
    """
    scores: list[TaskScore] = []
    for task in tasks:
        order = list(range(len(task.items)))
        random.Random(ORDER_SEED).shuffle(order)
        asked = order[:max_per_task]
        own = asked if ranks is None else asked[ranks.rank :: ranks.count]
        right = float(sum(is_right(model, encoder, task, number) for number in own))
        if ranks is not None:
            [right] = ranks.sum([right])
        accuracy = right / len(asked)
        centred = (accuracy - task.baseline) / (1 - task.baseline)
        scores.append(TaskScore(label=task.label, asked=len(asked), accuracy=accuracy, centred=centred))
        after_task(scores[-1])
    return CoreResult(scores=tuple(scores))
