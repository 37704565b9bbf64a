import math

import plain_model
import pytest
import torch
from curtail_kernels.attend import attend
from curtail_kernels.own import rotate
from torch.utils.flop_counter import FlopCounterMode

from nanochat.model import Cache, GPTConfig, build_model, plain
from nanochat.model.cache import bytes_per_token
from nanochat.model.layers import norm, rotary_tables

MATH = torch.nn.attention.SDPBackend.MATH
SMALL = GPTConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=1, vocab_size=70, sequence_length=8)


def tokens(seed=0, rows=3, length=8, vocab=70):
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


def trained_a_little(config=SMALL):
    """A model whose zero-initialised matrices are no longer zero."""
    model = build_model(config, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.empty(p.shape).normal_(0, 0.1, generator=generator))
    return model


def test_d20_has_560_988_200_parameters():
    with torch.device("meta"):
        model = build_model(GPTConfig.from_depth(20))
    assert model.config.n_embd == 1_280 and model.config.n_head == 10
    assert model.parameter_count() == 560_988_200


def test_an_untrained_model_is_as_good_as_guessing():
    loss = build_model(SMALL)(tokens(), tokens(1))
    assert loss.item() == pytest.approx(math.log(70), abs=0.02)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    torch.manual_seed(1)
    first = build_model(SMALL, seed=5).state_dict()
    torch.manual_seed(2)
    same = build_model(SMALL, seed=5).state_dict()
    other = build_model(SMALL, seed=6).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_initial_weights_have_the_recipes_spread():
    model = build_model(
        GPTConfig(n_layer=1, n_embd=128, n_head=2, n_kv_head=2, vocab_size=1_024, sequence_length=8)
    )
    block = model.blocks[0]
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


VARIANTS = ("2026-01", "2026-07")
SHAPES = {
    "one window": {"window_pattern": "L", "n_kv_head": 3},
    "grouped": {"window_pattern": "L", "n_kv_head": 1},
    "short windows": {"window_pattern": "SSL", "n_kv_head": 1, "n_layer": 5},
}


def shaped(variant, name, sequence_length=16):
    shape = {"n_layer": 4, "n_embd": 48, "n_head": 3, "vocab_size": 70, **SHAPES[name]}
    return GPTConfig(variant=variant, sequence_length=sequence_length, **shape)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_loss_are_those_of_a_plain_reference(variant, name):
    length = 24 if variant == "2026-01" else 140  # beyond the short window, which is 8 or 128
    model = trained_a_little(shaped(variant, name, sequence_length=16 if variant == "2026-01" else 512))
    inputs, targets = tokens(rows=1, length=length), tokens(1, rows=1, length=length)
    expected = plain_model.logits(model, inputs[0])
    found = model.logits(inputs)[0]
    assert (found.double() - expected).abs().max().item() < 1e-5
    loss = torch.nn.functional.cross_entropy(expected, targets[0])
    assert abs(model(inputs, targets).item() - loss.item()) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_short_windows_change_what_is_seen(variant):
    length, first = 300, 0
    short = trained_a_little(shaped(variant, "short windows", 512 if variant == "2026-07" else 32))
    full = build_model(GPTConfig(**{**plain(short.config), "window_pattern": "L"}))
    full.load_state_dict(short.state_dict())
    inputs = tokens(rows=1, length=length)
    first = min(w for w in short.config.windows if w is not None) + 1
    a, b = short.logits(inputs), full.logits(inputs)
    assert torch.allclose(a[:, :first], b[:, :first], atol=1e-5)
    assert not torch.allclose(a[:, first:], b[:, first:], atol=1e-3)


@pytest.mark.parametrize("window", [None, 3])
def test_gradients_of_attention_are_those_of_scores_written_out(window):
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 9, 4, 8), (2, 9, 2, 8), (2, 9, 2, 8))
    given = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    twin = [one.detach().clone().requires_grad_() for one in given]
    weight = torch.randn(2, 9, 4, 8, generator=generator)
    (attend(*given, window) * weight).sum().backward()

    q, k, v = twin[0], *(one.repeat_interleave(2, dim=2) for one in twin[1:])
    back = torch.arange(9)[:, None] - torch.arange(9)
    seen = (back >= 0) & (back <= (9 if window is None else window))
    scores = torch.einsum("bthd,bshd->bhts", q, k) / 8**0.5
    shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    (torch.einsum("bhts,bshd->bthd", shares, v) * weight).sum().backward()
    for one, other in zip(given, twin, strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_a_cache_the_logits_are_those_of_all_at_once(variant, name):
    """In parts of 5, 1, 1, 140 and the rest, past the short windows and over more than one row."""
    model = trained_a_little(shaped(variant, name, sequence_length=512 if variant == "2026-07" else 32))
    inputs = tokens(rows=2, length=200)
    cache = Cache(model.config, batch_size=2, most=200)
    parts = [model.logits(part, cache) for part in inputs.split((5, 1, 1, 140, 53), dim=1)]
    assert cache.length == 200
    assert torch.allclose(torch.cat(parts, dim=1), model.logits(inputs), atol=1e-5)
    with pytest.raises(ValueError, match="the length of the sequence is 201; it must be at most the cache's"):
        model.logits(inputs[:, :1], cache)


def test_a_cache_takes_what_the_formula_says():
    config = shaped("2026-07", "grouped")
    cache = Cache(config, batch_size=3, most=10, dtype=torch.bfloat16)
    one = torch.ones(3, 10, 1, 16, dtype=torch.bfloat16)
    held = sum(t.nbytes for layer in cache.layers for t in layer.append(one, one))
    assert held == 3 * 10 * bytes_per_token(config, torch.bfloat16)


@pytest.mark.parametrize("variant", VARIANTS)
def test_operations_are_within_a_hundredth_of_those_counted(variant):
    """Attention is counted as if every query saw every key: so it is asked of full windows."""
    config = GPTConfig.from_depth(4, vocab_size=1_024, sequence_length=256, variant=variant)
    model = build_model(GPTConfig(**{**plain(config), "window_pattern": "L"}))
    inputs = tokens(rows=2, length=256, vocab=1_024)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(MATH):
        model(inputs, inputs).backward()
    assert counter.get_total_flops() / inputs.numel() == pytest.approx(model.flops_per_token(), rel=0.01)


def test_windows_follow_pattern_and_variant():
    assert GPTConfig.from_depth(20).windows == (None,) * 20
    assert GPTConfig.from_depth(8, variant="2026-07").windows == (512, 512, 512, None, 512, 512, 512, None)
    assert GPTConfig.from_depth(5, variant="2026-07").windows == (512, 512, 512, None, None)
    halves = GPTConfig.from_mapping({"depth": 3, "window_pattern": "SL"})
    assert halves.windows == (1_024, None, None)
    full = 12 * 2 * 128 * 2_048
    with torch.device("meta"):
        model = build_model(halves)
    assert model.flops_per_token() == 6 * model.product_count() + full * 2 + full // 2


def test_the_new_variant_begins_as_its_recipe_says():
    config = GPTConfig.from_depth(4, vocab_size=512, sequence_length=64, variant="2026-07")
    model = build_model(config, seed=2)
    weights = dict(model.named_parameters())
    spread = config.n_embd**-0.5
    assert model.residual_lambdas.tolist() == pytest.approx([1.15, 1.15 - 0.1 / 3, 1.15 - 0.2 / 3, 1.05])
    assert model.x0_lambdas.tolist() == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert weights["embedding.weight"].std().item() == pytest.approx(0.8, rel=0.02)
    assert weights["blocks.0.mlp.up.weight"].std().item() == pytest.approx(0.4 * spread, rel=0.02)
    assert weights["blocks.0.attention.v.weight"].std().item() == pytest.approx(spread, rel=0.02)
    assert weights["value_embeddings.3.weight"].std().item() == pytest.approx(spread, rel=0.02)
    assert {name for name in weights if name.startswith("value")} == {
        "value_embeddings.1.weight",
        "value_embeddings.3.weight",
    }
    for gate in ("smear.gate.weight", "blocks.1.value_gate.weight", "blocks.3.value_gate.weight"):
        assert 0 <= weights[gate].min().item() <= weights[gate].max().item() <= 0.02
        assert weights[gate].std().item() > 0
    assert weights["smear.strength"].item() == 0 and weights["back_out"].item() == pytest.approx(0.2)


def test_the_new_variants_parameters_are_counted():
    config = GPTConfig.from_depth(20, variant="2026-07")
    with torch.device("meta"):
        model = build_model(config)
    V, C, heads = 32_768, 1_280, 10
    blocks = 20 * 12 * C**2 + 10 * heads * 12
    assert model.parameter_count() == 2 * V * C + blocks + 10 * V * C + 40 + 24 + 2
    assert model.product_count() == V * C + blocks + 24


def test_rotation_makes_scores_depend_on_distance_alone():
    cos, sin = rotary_tables(64, 16, 10_000.0)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    wide_q, wide_k = q.expand(1, 64, 1, 16), k.expand(1, 64, 1, 16)
    scores = rotate(wide_q, cos, sin)[0, :, 0] @ rotate(wide_k, cos, sin)[0, :, 0].T
    assert scores[10, 3].item() == pytest.approx(scores[50, 43].item(), abs=1e-4)
    assert abs(scores[10, 3].item() - scores[50, 20].item()) > 0.1


def test_the_norm_makes_the_mean_square_one():
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0)) * 7
    assert torch.allclose(norm(x).square().mean(-1), torch.ones(4), atol=1e-5)


def test_lambdas_mix_the_stream_with_its_start():
    model = build_model(SMALL)  # zero matrices: blocks add nothing
    with torch.no_grad():
        model.residual_lambdas.copy_(torch.tensor([2.0, 3.0]))
        model.x0_lambdas.copy_(torch.tensor([0.5, -1.0]))
    inputs = tokens()
    x0 = norm(model.embedding(inputs))
    expected = 15 * torch.tanh(model.head(norm((3 * 2.5 - 1) * x0))[..., :70] / 15)
    assert torch.allclose(model.logits(inputs), expected, atol=1e-6)


def test_flops_of_d20_follow_the_formula():
    with torch.device("meta"):
        model = build_model(GPTConfig.from_depth(20))
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
        ({"depth": 4, "variant": "2026-02"}, "model.variant is '2026-02'; it must be 2026-01 or 2026-07"),
        ({"depth": 4, "window_pattern": "SX"}, "model.window_pattern is 'SX'; it must be letters S and L"),
        ({"depth": 4, "window_pattern": ""}, "model.window_pattern is ''; it must be letters S and L"),
    ],
)  # fmt: skip
def test_a_bad_shape_is_refused_in_one_line(values, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")) as caught:
        GPTConfig.from_mapping(values)
    assert "\n" not in str(caught.value)


def test_a_window_longer_than_the_rotary_tables_is_refused():
    with pytest.raises(ValueError, match="the sequence length is 81; it must be at most 80"):
        build_model(SMALL).logits(tokens(length=81))
