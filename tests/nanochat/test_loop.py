import math

import pytest
import torch

from nanochat.documents import Documents
from nanochat.evaluate import bits_per_byte, validation_batches
from nanochat.loop import train
from nanochat.model import GPTConfig, build_model
from nanochat.packing import Batch
from nanochat.recipes import OptimConfig, build_optimizer
from nanochat.schedule import Pace, Schedule
from nanochat.steps import steps_of

SMALL = GPTConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=2, vocab_size=64, sequence_length=8)
STEADY = Pace(schedule=Schedule(), progress=lambda: 0)


class Letters:
    """A whole tokenizer: a to z are 1 to 26, bos is 0."""

    bos_id = 0

    def encode(self, text):
        return [ord(c) - 96 for c in text]

    def documents(self, texts):
        return Documents.of(map(self.encode, texts), self.bos_id)


def batch(seed, rows=4, counted=None):
    inputs = torch.randint(1, 27, (rows, 8), generator=torch.Generator().manual_seed(seed))
    targets = (inputs + 1) % 27
    count = inputs.numel() if counted is None else counted
    targets.view(-1)[count:] = -1
    return Batch(inputs=inputs, targets=targets, num_tokens=count)


def run(model, batches, accumulate=1, **changes):
    reports = []
    pace = Pace(schedule=Schedule(), progress=lambda: len(reports) / 40)
    arguments = {"pace": pace, "after_step": reports.append}
    steps = steps_of(batches, accumulate)
    train(model, build_optimizer(model, OptimConfig()), steps, **{**arguments, **changes})
    return reports


def test_a_step_is_reported_once_with_loss_tokens_and_rate():
    reports = run(build_model(SMALL), [batch(i) for i in range(36)])
    assert [r.tokens for r in reports] == [32] * 36
    assert reports[0].loss == pytest.approx(math.log(64), abs=0.02)
    assert reports[-1].loss < 1.5
    assert reports[0].lr_factor == 1.0 and reports[32].lr_factor == pytest.approx(0.5)


def test_gradients_are_dropped_before_anyone_is_told():
    model = build_model(SMALL)
    seen = []

    def look(_):
        seen.append([p.grad for p in model.parameters()])

    run(model, [batch(0)], after_step=look, pace=STEADY)
    assert seen and all(grad is None for grad in seen[0])


def test_a_batch_is_pulled_only_when_its_step_begins():
    pulled, steps = [], []

    def batches():
        for i in range(6):
            pulled.append(i)
            yield batch(i)

    run(
        build_model(SMALL),
        batches(),
        after_step=lambda _: steps.append(len(pulled)),
        pace=STEADY,
        accumulate=2,
    )
    assert steps == [2, 4, 6]


class Watch(torch.optim.Optimizer):
    """An optimizer that changes nothing and keeps the gradients it is given."""

    def __init__(self, model):
        super().__init__([{"params": list(model.parameters()), "kind": "adamw", "initial_lr": 0.0}], {})
        self.seen = []

    def step(self, closure=None):
        self.seen.append([p.grad.clone() for p in self.param_groups[0]["params"]])


def gradients(model, batches, accumulate=1):
    watch, reports = Watch(model), []
    train(
        model,
        watch,
        steps_of(batches, accumulate),
        pace=STEADY,
        after_step=reports.append,
    )
    return watch.seen, reports


def test_two_accumulated_batches_step_as_one_of_twice_the_rows():
    first, second = batch(0), batch(1)
    joined = Batch(
        inputs=torch.cat([first.inputs, second.inputs]),
        targets=torch.cat([first.targets, second.targets]),
        num_tokens=64,
    )
    [apart], [a] = gradients(build_model(SMALL), [first, second], accumulate=2)
    [together], [b] = gradients(build_model(SMALL), [joined])
    assert a.tokens == b.tokens == 64 and a.loss == pytest.approx(b.loss, rel=1e-5)
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(apart, together, strict=True))


def test_a_padded_batch_weighs_as_much_as_it_has_tokens():
    padded = batch(0, counted=8)
    alone = Batch(inputs=padded.inputs[:1], targets=padded.targets[:1], num_tokens=8)
    (small, whole), reports = gradients(build_model(SMALL), [padded, alone])
    assert [r.tokens for r in reports] == [8, 8]
    assert reports[0].loss == pytest.approx(reports[1].loss, rel=1e-5)
    assert all(torch.allclose(p * 4, q, atol=1e-6) for p, q in zip(small, whole, strict=True))


def test_the_same_batches_give_the_same_bytes():
    models = [build_model(SMALL), build_model(SMALL)]
    for model in models:
        run(model, [batch(i) for i in range(5)])
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_bits_per_byte_of_guessing_follow_from_the_vocabulary():
    model = build_model(SMALL)
    with torch.no_grad():
        model.head.weight.zero_()
    batches = validation_batches(["abcdefghijk"] * 4, Letters(), sequences=3, batch_size=2, sequence_length=8)
    lengths = torch.full((64,), 2)
    lengths[0] = 0
    # Every target costs log2(64) = 6 bits and has 2 bytes; bos targets are left out of both sums.
    assert bits_per_byte(model, batches, lengths) == pytest.approx(3.0, rel=1e-5)


def test_bits_per_byte_leave_out_the_specials_cost():
    model = build_model(SMALL, seed=1)
    with torch.no_grad():
        model.head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    [batch] = validation_batches(["abc", "def"], Letters(), sequences=1, batch_size=1, sequence_length=7)
    lengths = torch.ones(64, dtype=torch.int64)
    lengths[0] = 0
    each = model(batch.inputs, batch.targets, reduction="none")
    assert batch.targets.flatten().tolist() == [1, 2, 3, 0, 4, 5, 6]
    expected = each[[0, 1, 2, 4, 5, 6]].double().sum().item() / math.log(2) / 6
    assert bits_per_byte(model, [batch], lengths) == pytest.approx(expected, rel=1e-9)


def test_validation_windows_are_fixed_in_number_and_content():
    def batches(size):
        return validation_batches(
            ["abcdefg"] * 20, Letters(), sequences=5, batch_size=size, sequence_length=8
        )

    twos, fives = batches(2), batches(5)
    assert [b.inputs.size(0) for b in twos] == [2, 2, 1]
    assert torch.equal(torch.cat([b.targets for b in twos]), fives[0].targets)
    assert sum(b.num_tokens for b in twos) == 40


def test_a_short_split_gives_fewer_windows_and_an_empty_one_is_refused():
    [batch] = validation_batches(["abc"], Letters(), sequences=5, batch_size=2, sequence_length=8)
    assert batch.inputs.shape == (1, 8) and batch.num_tokens == 4  # the three and the end
    with pytest.raises(ValueError, match="the validation split is 'empty'"):
        validation_batches([], Letters(), sequences=5, batch_size=2, sequence_length=8)
