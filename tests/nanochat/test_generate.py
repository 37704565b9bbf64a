"""Text that is generated with a cache is the text that full recomputation gives, token for token."""

import pytest
import torch

from nanochat.generate import Sampling, draw, generate
from nanochat.model import GPTConfig, build_model

PROMPT = [3, 1, 4, 1, 5]
SHAPES = {
    "2026-01": {"sequence_length": 16, "window_pattern": "SL"},
    "2026-07": {"sequence_length": 64, "window_pattern": "SSSL"},
}


@pytest.fixture(params=SHAPES)
def model(request):
    config = GPTConfig.from_mapping(
        {
            "n_layer": 3,
            "n_embd": 48,
            "n_head": 3,
            "n_kv_head": 1,
            "vocab_size": 70,
            "variant": request.param,
            **SHAPES[request.param],
        }
    )
    model = build_model(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # its matrices are 0 at the start: it would say the same whatever came before
        for p in model.parameters():
            p.add_(torch.empty(p.shape).normal_(0, 0.2, generator=generator))
    return model


def recomputed(model, prompt, most, sampling):
    generator = torch.Generator().manual_seed(sampling.seed)
    text = list(prompt)
    for _ in range(most):
        with torch.no_grad():
            z = model.logits(torch.tensor([text]))[0, -1]
        text.append(draw(z, sampling, generator))
    return text[len(prompt) :]


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(seed=3), Sampling(top_k=0, seed=4)])
def test_with_a_cache_the_text_is_that_of_full_recomputation(model, sampling):
    most = 150
    found = list(generate(model, PROMPT, most=most, sampling=sampling))
    assert found == recomputed(model, PROMPT, most, sampling)
    assert len(set(found)) > 5, "a text of one token would hide a cache that forgets"


def test_the_same_seed_draws_the_same_and_another_does_not(model):
    first, same, other = (
        list(generate(model, PROMPT, most=30, sampling=Sampling(seed=s))) for s in (1, 1, 2)
    )
    assert first == same != other


def test_it_ends_with_the_stop_token(model):
    text = list(generate(model, PROMPT, most=30, sampling=Sampling(seed=1)))
    ended = list(generate(model, PROMPT, most=30, sampling=Sampling(seed=1), stop=frozenset({text[10]})))
    assert ended == text[: text.index(text[10]) + 1]


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-38, 1e-30])
@pytest.mark.parametrize("z", [[0.0, 3.0, 2.9, -1.0], [-1.0, 0.0, -2.0, -3.0], [-7.0, -2.0, -3.0, -9.0]])
@pytest.mark.parametrize("top_k", [0, 2])
def test_a_temperature_next_to_0_draws_the_likeliest(temperature, z, top_k):
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(temperature=temperature, top_k=top_k)
    assert {draw(torch.tensor(z), sampling, generator) for _ in range(20)} == {1}


def test_only_the_likeliest_are_drawn_from():
    z = torch.tensor([0.0, 3.0, 2.9, -1.0, 2.8])
    generator = torch.Generator().manual_seed(0)
    drawn = {draw(z, Sampling(temperature=1, top_k=2), generator) for _ in range(200)}
    assert drawn == {1, 2}
    assert {draw(z, Sampling(temperature=3, top_k=0), generator) for _ in range(400)} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"prompt": [], "most": 3}, r"the prompt is \[\]; it must be at least one token"),
        ({"prompt": [1], "most": 10_000}, "prompt and continuation is 10001; it must be at most"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_the_first_token(model, ask, message):
    with pytest.raises(ValueError, match=message):
        generate(model, **ask)


def test_bad_sampling_is_refused():
    with pytest.raises(ValueError, match="temperature is -1; it must be at least 0"):
        Sampling(temperature=-1)
    with pytest.raises(ValueError, match="top_k is -2; it must be at least 0"):
        Sampling(top_k=-2)
