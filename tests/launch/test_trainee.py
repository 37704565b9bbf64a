"""What a rank trains: the same by either way of averaging, and in one pass a step or in several."""

from pathlib import Path

import pytest
import torch
from curtail_launch.trainee import build_trainee
from together import run_ranks
from trainee_ranks import BATCH, STEADY, apart, feed_of, recipe, rows

from nanochat.loop import train, warm_up
from nanochat.ranks import Ranks

pytestmark = pytest.mark.timeout(180)

ALONE = Ranks(0, 1, torch.device("cpu"))


def trained_alone(batch, passes):
    trainee = build_trainee(recipe(), ALONE, seed=1)
    steps = list(feed_of(batch, passes).pack(rows(0)))
    train(trainee.trained, trainee.optimizer, steps, pace=STEADY, after_step=lambda _: None)
    return trainee, steps


def test_two_passes_of_half_a_batch_move_the_parameters_as_one_of_a_whole_one():
    (whole, ones), (halves, twos) = trained_alone(BATCH, 1), trained_alone(BATCH // 2, 2)
    assert [step.num_tokens for step in ones] == [step.num_tokens for step in twos]
    assert [step.open_tokens for step in ones] == [step.open_tokens for step in twos]
    assert [step.capacity for step in ones] == [step.capacity for step in twos]
    assert len(twos[-1].batches) == 1, "the last step is filled in part"
    assert apart(whole, halves) < 1e-5
    assert apart(whole, build_trainee(recipe(), ALONE, seed=1)) > 1e-3, "it was not trained"


def test_warming_up_leaves_the_model_as_it_was():
    trainee = build_trainee(recipe(), ALONE, seed=1)
    warm_up(trainee.trained, feed_of(BATCH, 2).empty())
    assert apart(trainee, build_trainee(recipe(), ALONE, seed=1)) == 0
    assert all(parameter.grad is None for parameter in trainee.model.parameters())
    assert not trainee.optimizer.state


def test_a_cpu_compiles_only_when_told_to():
    plain, told = (build_trainee(recipe(compile=one), ALONE, seed=1) for one in (None, True))
    assert plain.forward is plain.model
    assert told.forward is not told.model
    assert [one.data_ptr() for one in told.forward.parameters()] == [
        one.data_ptr() for one in told.model.parameters()
    ]


# Two ranks


@pytest.fixture(scope="module")
def two(nursery, tmp_path_factory):
    """What each of two ranks found."""
    script, folder = Path(__file__).with_name("trainee_ranks.py"), tmp_path_factory.mktemp("states")
    return run_ranks(nursery, script, 2, str(folder), output=folder, deadline_s=150.0)


@pytest.mark.integration
def test_the_sharded_optimizer_and_data_parallel_train_the_same(two):
    for found in two:
        assert found["kinds"] == ["GPT202601", "DistributedDataParallel"]
        assert found["moved"] > 1e-3
        assert found["sharded_and_averaged"] < 1e-5


@pytest.mark.integration
def test_ranks_whose_steps_have_different_numbers_of_passes_meet_in_each(two):
    first, second = (found["shapes"] for found in two)
    assert len(first) == len(second)
    passes = [(len(a), len(b)) for a, b in zip(first, second, strict=True)]
    assert (2, 2) in passes
    assert any(a != b for a, b in passes), "no step is filled in part"
    for found in two:
        assert found["two_passes_and_one"] < 1e-5


@pytest.mark.integration
def test_each_rank_takes_its_own_share_of_the_state_up_again_and_no_other(two):
    for found in two:
        kept = found["kept"]
        assert kept["taken"] == 1.0
        assert kept["same"]
        assert kept["refused"], "the other rank's share was taken"
        assert kept["numbers"] < 0.75 * found["numbers"], "a rank holds a share of it alone"
