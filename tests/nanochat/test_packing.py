from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.documents import Documents
from nanochat.model import GPTConfig, build_model
from nanochat.packing import Packer, empty_batch, pack

BOS = 999


@dataclass(frozen=True)
class Text:
    text: str
    start: int = 0


class Characters:
    """A whole tokenizer: one token a character."""

    bos_id = BOS

    def encode(self, text):
        return [ord(c) for c in text]

    def documents(self, texts):
        return Documents.of(map(self.encode, texts), self.bos_id)


def documents_as_pairs(texts):
    pairs = Counter()
    for text in texts:
        ids = [BOS, *map(ord, text), BOS]
        pairs.update(pairwise(ids))
    return pairs


def trained_pairs(batches):
    pairs = Counter()
    for batch in batches:
        flat = zip(batch.inputs.flatten().tolist(), batch.targets.flatten().tolist(), strict=True)
        pairs.update((a, b) for a, b in flat if b != -1)
    return pairs


texts_strategy = st.lists(st.text(alphabet="abcde", max_size=30), max_size=12)


@given(texts=texts_strategy, batch_size=st.integers(1, 4), length=st.integers(1, 7))
def test_every_token_of_a_document_and_its_end_are_trained_exactly_once(texts, batch_size, length):
    batches = list(pack(map(Text, texts), Characters(), batch_size, length, "cpu"))
    assert trained_pairs(batches) == documents_as_pairs(texts)
    assert sum(batch.num_tokens for batch in batches) == sum(len(text) + 1 for text in texts)


@given(texts=texts_strategy, batch_size=st.integers(1, 4), length=st.integers(1, 7))
def test_batches_are_full_except_the_last_which_is_padded(texts, batch_size, length):
    batches = list(pack(map(Text, texts), Characters(), batch_size, length, "cpu"))
    for batch in batches:
        assert batch.inputs.shape == batch.targets.shape == (batch_size, length)
        assert batch.num_tokens == int((batch.targets != -1).sum()) > 0
        assert torch.all(batch.inputs[batch.targets == -1] == BOS)
    assert all(batch.num_tokens == batch_size * length for batch in batches[:-1])


def test_a_target_is_the_token_after_its_input_across_windows():
    [batch] = pack(iter([Text("abcd")]), Characters(), 2, 3, "cpu")
    assert batch.inputs.tolist() == [[BOS, 97, 98], [99, 100, BOS]]
    assert batch.targets.tolist() == [[97, 98, 99], [100, BOS, -1]]
    assert batch.num_tokens == 5


def test_rows_are_pulled_only_when_the_next_batch_needs_them():
    pulled = []

    def rows():
        for i in range(100):
            pulled.append(i)
            yield Text("abcd")  # five tokens with bos

    batches = pack(rows(), Characters(), 2, 4, "cpu")  # eight tokens
    assert pulled == []
    next(batches)
    assert len(pulled) == 2
    next(batches)
    assert len(pulled) == 4
    next(batches)
    assert len(pulled) == 5


def test_the_caller_may_end_the_rows_between_two_batches_and_gets_the_rest():
    closed = False

    def rows():
        while not closed:
            yield Text("abcdefg")

    batches = pack(rows(), Characters(), 1, 5, "cpu")
    first = next(batches)
    closed = True
    rest = list(batches)
    assert sum(b.num_tokens for b in [first, *rest]) == 8


def test_a_batch_says_how_many_targets_of_the_last_row_are_in_batches():
    batches = list(pack(iter([Text("ab"), Text("cdefghijk")]), Characters(), 1, 4, "cpu"))
    # Three targets of the first row and one of the second, four, four, and the last one.
    assert [batch.open_tokens for batch in batches] == [1, 5, 9, None]


def test_a_batch_that_ends_with_its_row_leaves_nothing_open():
    batches = list(pack(iter([Text("abc"), Text("def")]), Characters(), 1, 4, "cpu"))
    assert [(batch.num_tokens, batch.open_tokens) for batch in batches] == [(4, None), (4, None)]


@given(st.text(alphabet="abcde", max_size=30), st.data())
def test_a_row_begun_elsewhere_gives_the_rest_of_its_targets(text, data):
    start = data.draw(st.integers(0, len(text)))
    [batch] = pack(iter([Text(text, start)]), Characters(), 1, 31, "cpu")
    ids = [BOS, *map(ord, text), BOS]
    assert batch.inputs.flatten().tolist()[: batch.num_tokens] == ids[start:-1]
    assert batch.targets.flatten().tolist()[: batch.num_tokens] == ids[start + 1 :]


def test_the_row_before_one_begun_elsewhere_still_ends_with_bos():
    [batch] = pack(iter([Text("ab"), Text("cdef", 2)]), Characters(), 1, 6, "cpu")
    assert batch.inputs.tolist() == [[BOS, 97, 98, 100, 101, 102]]
    assert batch.targets.tolist() == [[97, 98, BOS, 101, 102, BOS]]


def test_a_row_that_was_trained_whole_is_refused():
    with pytest.raises(ValueError, match=r"a row's start is 4; it must be in \[0, 3\]"):
        list(pack(iter([Text("abc", 4)]), Characters(), 1, 4, "cpu"))


def test_no_rows_give_no_batch():
    assert list(pack(iter([]), Characters(), 2, 2, "cpu")) == []


@given(texts=texts_strategy, data=st.data(), batch_size=st.integers(1, 4), length=st.integers(1, 7))
def test_documents_that_come_together_are_packed_as_those_that_come_alone(texts, data, batch_size, length):
    packers = [Packer(Characters(), batch_size=batch_size, sequence_length=length) for _ in range(2)]
    start = data.draw(st.integers(0, len(texts[0]))) if texts else 0
    alone = [packers[0].add([text], start=0 if at else start)[0] for at, text in enumerate(texts)]
    assert packers[1].add(texts, start=start) == alone == [len(text) + 1 for text in texts]
    assert packers[0].held == packers[1].held == sum(alone) - start
    while not packers[0].empty():
        one, other = (packer.take() for packer in packers)
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
        assert one.num_tokens == other.num_tokens
    assert packers[1].empty()


# A batch for a rank that has no rows left


def tiny_model():
    """A GPT that knows the bos of `Characters` and is not at its beginning, where much is 0 anyway."""
    config = GPTConfig(n_layer=2, n_embd=16, n_head=2, n_kv_head=1, vocab_size=1000, sequence_length=8)
    model = build_model(config, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def gradients(model, batch):
    """Return the summed loss and each parameter's gradient, as the training loop gets them."""
    loss = model(batch.inputs, batch.targets, reduction="sum")
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


def test_an_empty_batch_has_the_shape_of_others_and_nothing_to_predict():
    batch = empty_batch(Characters(), 3, 8, "cpu")
    assert batch.inputs.shape == batch.targets.shape == (3, 8)
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert (batch.num_tokens, batch.open_tokens) == (0, None)
    assert bool((batch.inputs == BOS).all()) and bool((batch.targets == -1).all())


def test_an_empty_batch_has_loss_0_and_a_gradient_of_0_at_every_parameter():
    loss, found = gradients(tiny_model(), empty_batch(Characters(), 3, 8, "cpu"))
    assert loss == 0.0
    for name, gradient in found.items():
        assert gradient is not None, f"{name} has none: a rank's mean with the others' would wait for it"
        assert not gradient.any(), name


def test_a_batch_with_one_target_has_gradients():
    """Not at every parameter: a token that sees itself alone leaves none at queries and keys."""
    [batch] = pack(iter([Text("abcdefg", 7)]), Characters(), 3, 8, "cpu")
    loss, found = gradients(tiny_model(), batch)
    assert loss > 0.0
    assert all(gradient is not None for gradient in found.values())
    assert any(gradient.any() for gradient in found.values())
