"""The learning experiments: every run sees the same windows, each once, whoever learns them."""

from dataclasses import dataclass, field

import pytest
import torch
from learning.corpus import VOCABULARY, Corpus
from learning.play import BATCH, Plan, play


@dataclass(frozen=True, kw_only=True)
class Watched(Corpus):
    """Remembers which windows of the training split were asked for."""

    asked: list[int] = field(default_factory=list)

    def windows(self, split, numbers):
        if split is self.train:
            self.asked.extend(numbers.tolist())
        return super().windows(split, numbers)


def corpus():
    generator = torch.Generator().manual_seed(1)
    train, held_out = (torch.randint(VOCABULARY, (size,), generator=generator) for size in (4000, 9000))
    return Watched(train=train, held_out=held_out, length=16, hash="random")


@pytest.mark.slow
@pytest.mark.parametrize("phases", [(1,), (2,), (4,), (1, 2, 3, 1)], ids=str)
def test_sites_learn_the_windows_of_synchronous_training_each_once(phases):
    torch.set_num_threads(1)
    alone, together = corpus(), corpus()
    play(Plan(steps=8), alone)
    found = play(Plan(phases=phases, steps=8, every=2), together)
    assert len(alone.asked) == len(set(alone.asked)) == 8 * BATCH
    assert sorted(together.asked) == sorted(alone.asked)
    assert 0 < found["held_out"] < 20
