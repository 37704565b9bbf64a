import math

import pytest
import torch

from nanochat.model import GPT, GPTConfig, norm, plain, rotary_tables, rotate

SMALL = GPTConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=1, vocab_size=70, sequence_length=8)


def tokens(seed=0, rows=3, length=8, vocab=70):
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


def trained_a_little(config=SMALL):
    """A model whose zero-initialised matrices are no longer zero."""
    model = GPT(config, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.empty(p.shape).normal_(0, 0.1, generator=generator))
    return model


def test_d20_has_560_988_200_parameters():
    with torch.device("meta"):
        model = GPT(GPTConfig.from_depth(20))
    assert model.config.n_embd == 1_280 and model.config.n_head == 10
    assert model.parameter_count() == 560_988_200


def test_an_untrained_model_is_as_good_as_guessing():
    loss = GPT(SMALL)(tokens(), tokens(1))
    assert loss.item() == pytest.approx(math.log(70), abs=0.02)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    torch.manual_seed(1)
    first = GPT(SMALL, seed=5).state_dict()
    torch.manual_seed(2)
    same = GPT(SMALL, seed=5).state_dict()
    other = GPT(SMALL, seed=6).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_initial_weights_have_the_recipes_spread():
    model = GPT(GPTConfig(n_layer=1, n_embd=128, n_head=2, n_kv_head=2, vocab_size=1_024, sequence_length=8))
    block = model.typed_blocks()[0]
    assert model.embedding.weight.std().item() == pytest.approx(1, rel=0.02)
    assert model.head.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert block.attention.q.weight.std().item() == pytest.approx(128**-0.5, rel=0.03)
    assert block.mlp.up.weight.std().item() == pytest.approx(128**-0.5, rel=0.03)
    assert block.attention.out.weight.abs().max() == 0 and block.mlp.down.weight.abs().max() == 0
    assert torch.equal(model.residual_lambdas, torch.ones(1)) and torch.equal(
        model.x0_lambdas, torch.zeros(1)
    )


def test_a_token_never_sees_a_later_one():
    model = trained_a_little()
    inputs = tokens()
    changed = inputs.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 70
    before, after = model.logits(inputs), model.logits(changed)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)


def test_logits_are_fp32_below_the_softcap_and_cropped_to_the_vocabulary():
    model = trained_a_little()
    with torch.no_grad():
        model.head.weight.mul_(1e4)
    z = model.logits(tokens())
    assert z.shape == (3, 8, 70) and z.dtype == torch.float32
    assert model.head.weight.shape == (128, 32)
    assert z.abs().max().item() <= 15


def test_ignored_targets_count_for_nothing():
    model = trained_a_little()
    inputs, targets = tokens(), tokens(1)
    each = model(inputs, targets, reduction="none").view(3, 8)
    targets[:, 4:] = -1
    assert model(inputs, targets).item() == pytest.approx(each[:, :4].mean().item(), rel=1e-6)
    assert model(inputs, targets, reduction="none").view(3, 8)[:, 4:].abs().max() == 0


def test_attention_matches_a_plain_reference():
    """Scores by hand, with grouped keys, rotation and norm written out."""
    model = trained_a_little()
    attention = model.typed_blocks()[0].attention
    x = torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(7))
    cos, sin = model.cos[:8], model.sin[:8]

    def heads(product):
        return product(x).view(1, 8, -1, 16)

    def placed(y):
        y1, y2 = y[..., :8], y[..., 8:]
        turned = torch.cat((y1 * cos + y2 * sin, -y1 * sin + y2 * cos), dim=-1)
        return turned / (turned.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    q, k, v = placed(heads(attention.q)), placed(heads(attention.k)), heads(attention.v)
    out = torch.zeros(1, 8, 2, 16)
    for h in range(2):
        for t in range(8):
            scores = (q[0, t, h] @ k[0, : t + 1, 0].T) / 16**0.5
            out[0, t, h] = scores.softmax(-1) @ v[0, : t + 1, 0]
    expected = out.reshape(1, 8, 32) @ attention.out.weight.T
    assert torch.allclose(attention(x, cos, sin), expected, atol=1e-5)


def test_rotation_makes_scores_depend_on_distance_alone():
    cos, sin = rotary_tables(64, 16)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    wide_q, wide_k = q.expand(1, 64, 1, 16), k.expand(1, 64, 1, 16)
    scores = rotate(wide_q, cos, sin)[0, :, 0] @ rotate(wide_k, cos, sin)[0, :, 0].T
    # the tables hold bf16 values, so equality is as fine as bf16
    assert scores[10, 3].item() == pytest.approx(scores[50, 43].item(), abs=0.1)
    assert abs(scores[10, 3].item() - scores[50, 20].item()) > 0.1


def test_the_norm_makes_the_mean_square_one():
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0)) * 7
    assert torch.allclose(norm(x).square().mean(-1), torch.ones(4), atol=1e-5)


def test_lambdas_mix_the_stream_with_its_start():
    model = GPT(SMALL)  # zero matrices: blocks add nothing
    with torch.no_grad():
        model.residual_lambdas.copy_(torch.tensor([2.0, 3.0]))
        model.x0_lambdas.copy_(torch.tensor([0.5, -1.0]))
    inputs = tokens()
    x0 = norm(model.embedding(inputs))
    expected = 15 * torch.tanh(model.head(norm((3 * 2.5 - 1) * x0))[..., :70] / 15)
    assert torch.allclose(model.logits(inputs), expected, atol=1e-6)


def test_flops_of_d20_follow_the_formula():
    with torch.device("meta"):
        model = GPT(GPTConfig.from_depth(20))
    products = 560_988_200 - 40 - 65_536 * 1_280
    assert model.flops_per_token() == 6 * products + 20 * 12 * 10 * 128 * 2_048


def test_depth_fills_in_the_shape_and_an_odd_one_gets_whole_heads():
    odd = GPTConfig.from_depth(3)
    assert (odd.n_layer, odd.n_embd, odd.n_head, odd.n_kv_head) == (3, 256, 2, 2)
    assert GPTConfig.from_mapping(plain(odd)) == odd
    assert GPTConfig.from_mapping({"n_layer": 4, "n_embd": 96, "n_head": 3}).n_kv_head == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 4, "layers": 3}, "model.layers is no key; it must be one of depth"),
        ({"depth": 4, "n_layer": 4}, "model.depth is 4; it must be given, or n_layer is"),
        ({}, "model.depth is None"),
        ({"depth": "4"}, "model.n_layer is '4'; it must be a whole number"),
        ({"depth": True}, "model.n_layer is True; it must be a whole number"),
        ({"depth": 0}, "model.n_layer is 0; it must be at least 1"),
        ({"depth": 4, "n_embd": 100, "n_head": 3}, "model.n_embd is 100; it must be a multiple of n_head 3"),
        ({"depth": 4, "n_embd": 12, "n_head": 4}, "must be even"),
        ({"depth": 4, "n_embd": 96, "n_head": 3, "n_kv_head": 2}, "model.n_kv_head is 2; it must be"),
        ({"depth": 4, "variant": "2026-07"}, "model.variant is '2026-07'; it must be 2026-01"),
    ],
)  # fmt: skip
def test_a_bad_shape_is_refused_in_one_line(values, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")) as caught:
        GPTConfig.from_mapping(values)
    assert "\n" not in str(caught.value)


def test_a_window_longer_than_the_rotary_tables_is_refused():
    with pytest.raises(ValueError, match="the sequence length is 81; it must be at most 80"):
        GPT(SMALL).logits(tokens(length=81))
