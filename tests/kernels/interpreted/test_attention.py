"""Attention is right by the interpreter, over lengths, windows, groups, dtypes and awkward inputs."""

from itertools import product

import pytest
import torch
from attention_runs import (
    Case,
    check,
    check_prologue,
    check_raw_forward,
    check_whole,
    inputs,
    run_backward,
    run_forward,
)
from curtail_kernels.attention.configs import Config
from curtail_kernels.attention.forward import may_leave_out_maximum

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
WIDE = Config(128, 64, 4, 1)
LONG = Config(64, 128, 4, 1)
LENGTHS = (1, 17, 96, 128, 130, 200, 256)


def grid() -> list[Case]:
    """Every length with every window; head dims, groups, dtypes, blocks and variants take turns."""
    cases = []
    for i, (T, window) in enumerate(product(LENGTHS, (None, 0, 1, 40, 64, "T - 1", "past T"))):
        cases.append(
            Case(
                T=T,
                window={"T - 1": T - 1, "past T": T + 5}.get(window, window),
                D=(64, 128)[i % 2],
                group=(1, 2, 3, 4)[(i // 2 + i // 7) % 4],
                dtype=(BF16, FP32, BF16, FP16)[(i + i // 7) % 4],
                bounded=(i // 3) % 2 == 0,
                config=(WIDE, LONG)[(i // 5) % 2],
            )
        )
    return cases


def name(case: Case) -> str:
    shape = f"T{case.T}-S{case.S}-D{case.D}-group{case.group}-window{case.window}"
    return f"{shape}-{str(case.dtype).removeprefix('torch.')}-{'bounded' if case.bounded else 'online'}"


@pytest.mark.parametrize("case", grid(), ids=name)
def test_attention_is_right_for_each_length_and_window(case):
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        Case(T=1, before=199, group=4, window=None),
        Case(T=1, before=130, D=128, window=40, bounded=True),
        Case(T=17, before=64, group=2, window=1, dtype=FP32),
        Case(T=96, before=100, D=128, window=64, bounded=True),
        Case(T=130, before=3, group=3, window=None, dtype=FP16),
        Case(T=100, before=156, window=0),
    ],
    ids=name,
)
def test_queries_are_the_last_of_the_positions(case):
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        Case(B=2, T=130, kv_heads=2, group=2, strided=True),
        Case(B=2, T=96, kv_heads=2, D=128, window=40, strided=True, dtype=FP32),
        Case(B=2, T=96, kv_heads=2, group=3, D=128, bounded=True, strided=True, path="tma"),
    ],
    ids=name,
)
def test_views_into_one_projection_need_no_copy(case):
    check(case)


@pytest.mark.parametrize(
    ("kind", "D", "window", "bounded", "dtype"),
    [
        ("constant logits", 64, None, True, BF16),
        ("constant logits", 128, 40, False, BF16),
        ("one hot", 64, None, False, BF16),
        ("one hot", 128, 64, False, FP32),
        ("large norms", 64, 40, False, BF16),
        ("large norms", 128, None, False, FP16),
        ("fair norms", 64, None, True, BF16),
        ("zeros", 64, None, True, BF16),
        ("zeros", 128, 1, False, FP32),
    ],
)
def test_attention_is_right_for_adversarial_inputs(kind, D, window, bounded, dtype):
    check(Case(T=130, D=D, group=2, window=window, bounded=bounded, dtype=dtype, kind=kind, config=WIDE))


@pytest.mark.parametrize("D", [64, 128])
def test_a_row_that_few_keys_rule_is_right_wherever_they_lie(D):
    check(Case(T=256, D=D, bounded=True, kind="normed one hot", config=Config(64, 64, 4, 1)))


@pytest.mark.parametrize(
    "case",
    [
        Case(B=4, T=130, lengths=(130, 64, 1, 0)),
        Case(B=2, T=130, D=128, lengths=(129, 65), window=40, bounded=True, dtype=FP32),
        Case(B=3, T=70, before=60, lengths=(130, 61, 60), group=2, window=64),
    ],
    ids=name,
)
def test_padding_of_ragged_rows_is_not_seen_and_gives_zeros(case):
    check(case)


def test_what_lies_in_the_padding_does_not_matter():
    case = Case(B=2, T=130, lengths=(70, 0), window=40)
    given = inputs(case)
    o, lse = run_forward(case, given)
    grads = run_backward(case, given, o, lse)
    for x in (given.q, given.k, given.v, given.do):
        x[0, 70:] = 1.0
        x[1] = 1.0
    again_o, again_lse = run_forward(case, given)
    again = run_backward(case, given, again_o, again_lse)
    for one, other in zip((o, lse, *grads), (again_o, again_lse, *again), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("D", "window", "bounded", "before", "dtype"),
    [
        (64, None, True, 0, BF16),
        (64, 40, False, 0, BF16),
        (128, None, False, 70, FP16),
        (128, 64, True, 70, BF16),
    ],
)
def test_descriptors_and_pointers_give_the_same_bits(D, window, bounded, before, dtype):
    results = []
    for path in ("pointers", "tma"):
        case = Case(
            T=130, before=before, D=D, group=2, window=window, bounded=bounded, dtype=dtype, path=path
        )
        given = inputs(case)
        o, lse = run_forward(case, given)
        results.append((o, lse, *run_backward(case, given, o, lse)))
    for one, other in zip(*results, strict=True):
        assert one.isfinite().all()
        assert torch.equal(one, other)


def test_two_runs_give_the_same_bits():
    case = Case(T=130, group=3, window=64)
    given = inputs(case)
    runs = []
    for _ in range(2):
        o, lse = run_forward(case, given)
        runs.append((o, lse, *run_backward(case, given, o, lse)))
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("T", "D", "dtype", "table", "size", "strided"),
    [
        (1, 64, BF16, FP32, 1.0, False),
        (130, 64, BF16, BF16, 1.0, True),
        (130, 128, FP16, FP32, 1.0, False),
        (96, 128, FP32, FP32, 1.0, True),
        (17, 64, FP32, FP32, 1e-3, False),
        (17, 64, BF16, FP32, 0.0, False),
        (17, 128, BF16, FP32, 1e4, False),
    ],
)
def test_the_prologue_rotates_and_norms(T, D, dtype, table, size, strided):
    case = Case(B=2, T=T, kv_heads=2, group=2, D=D, dtype=dtype, strided=strided)
    check_prologue(case, table=table, size=size)


WHOLE_PATHS = [
    Case(T=130, group=2, bounded=True),
    Case(T=130, group=3, D=128, window=40, bounded=True, path="tma"),
    Case(T=96, D=128, window=64, dtype=FP16),
    Case(B=2, T=70, kv_heads=2, group=2, dtype=FP32, strided=True),
    Case(T=17, D=64, window=0, dtype=FP32, bounded=True),
]


@pytest.mark.parametrize("case", WHOLE_PATHS, ids=name)
def test_the_whole_path_gives_gradients_of_the_raw_projections(case):
    check_whole(case)


@pytest.mark.parametrize("case", WHOLE_PATHS, ids=name)
def test_queries_placed_by_the_forward_kernel_give_the_same_bits(case):
    check_raw_forward(case)


def test_the_maximum_is_left_out_only_where_no_exponential_can_overflow():
    assert may_leave_out_maximum(1.2**2 * 128**0.5, BF16)
    assert may_leave_out_maximum(69.0, FP32)
    assert not may_leave_out_maximum(70.0, BF16)
    assert not may_leave_out_maximum(float("inf"), BF16)
    assert may_leave_out_maximum(8.0, FP16)
    assert not may_leave_out_maximum(10.0, FP16)
