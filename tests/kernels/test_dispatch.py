"""Which implementation is taken, and that each that a CPU has gives the same."""

import logging
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from curtail_kernels import dispatch
from curtail_kernels.attend import attend, place_and_attend
from curtail_kernels.dispatch import Call, choose, implementation_of, refusal
from curtail_kernels.own import Place

HOPPER = Call(
    device="cuda",
    capability=(9, 0),
    dtype=torch.bfloat16,
    head_dim=128,
    queries=2048,
    keys=2048,
    window=None,
)
AMPERE = replace(HOPPER, capability=(8, 0))


@pytest.mark.parametrize(
    ("call", "taken"),
    [
        (HOPPER, "cudnn"),
        (replace(HOPPER, window=2047), "cudnn"),
        (replace(HOPPER, window=768), "flex"),
        (replace(HOPPER, head_dim=256), "plain"),
        (replace(HOPPER, head_dim=96, window=768), "plain"),
        (replace(HOPPER, head_dim=8, window=768), "plain"),
        (replace(HOPPER, dtype=torch.float32), "plain"),
        (replace(HOPPER, queries=1), "plain"),
        (replace(HOPPER, queries=1, window=768), "plain"),
        (AMPERE, "plain"),
        (replace(AMPERE, window=768), "flex"),
        (replace(HOPPER, device="cpu", capability=None), "plain"),
        (replace(HOPPER, device="mps", capability=None, window=3), "plain"),
    ],
)
def test_the_table_says_what_is_taken(call, taken):
    assert choose(call).taken == taken
    assert implementation_of(call, None) == taken
    assert refusal(taken, call) is None


def test_fused_kernels_are_for_those_who_ask():
    assert implementation_of(HOPPER, "triton") == "triton"
    assert all(row.taken != "triton" for row in dispatch.TABLE)


def test_generation_keeps_to_the_table_whatever_training_is_told():
    assert implementation_of(replace(HOPPER, queries=1), "triton") == "plain"


@pytest.mark.parametrize(
    ("call", "asked", "said"),
    [
        (replace(HOPPER, head_dim=96), "triton", "head_dim is 96; the fused kernels must have 64 or 128"),
        (replace(HOPPER, window=3), "cudnn", "no window; 'flex' can"),
        (replace(HOPPER, device="cpu"), "triton", "on cpu; it must be cuda; 'plain' can"),
        (replace(HOPPER, device="cpu"), "flex", "on cpu"),
        (replace(HOPPER, head_dim=96), "flex", "power of two of at least 16; 'cudnn' can"),
        (HOPPER, "flash", "'flash'; it must be one of triton, cudnn, flex, plain"),
    ],
)
def test_what_cannot_be_had_is_said_with_what_can(call, asked, said):
    with pytest.raises(ValueError, match=said):
        implementation_of(call, asked)


def test_a_choice_is_logged_once(caplog):
    dispatch._say.cache_clear()
    caplog.set_level(logging.INFO, logger="curtail_kernels.dispatch")
    for _ in range(3):
        implementation_of(HOPPER, None)
        implementation_of(replace(HOPPER, window=768), None)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "attention by cudnn",
        "attention by flex",
    ]


def tensors(T=40, H=4, Hkv=2, D=16):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, T, heads, D, generator=generator) for heads in (H, Hkv, Hkv)]


@pytest.mark.parametrize("window", [None, 0, 7, 100])
def test_a_compiled_graph_holds_the_choice_without_a_break(window):
    q, k, v = tensors()
    compiled = torch.compile(attend, fullgraph=True, dynamic=False, backend="eager")
    assert torch.equal(compiled(q, k, v, window), attend(q, k, v, window))


def test_queries_and_keys_are_placed_before_they_meet():
    q, k, v = tensors()
    angles = torch.outer(torch.arange(40.0), torch.rand(8, generator=torch.Generator().manual_seed(2)))
    place = Place(angles.cos()[:, None], angles.sin()[:, None], gain=1.2, eps=1e-6)
    placed = place_and_attend(q, k, v, place, 5)
    assert torch.equal(placed, attend(place(q), place(k), v, 5))
    assert place(q).square().mean(-1).sqrt().allclose(torch.full((2, 40, 4), 1.2), atol=1e-4)


@pytest.mark.slow
def test_a_model_is_imported_without_triton_and_torchs_compiler():
    program = """
import sys
import nanochat.model
print([name for name in ("triton", "torch._dynamo", "torch._inductor") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
