"""Every launch of the kernels around attention that is shipped for Hopper, on tensors too small to matter."""

from collections.abc import Iterator
from itertools import product

import torch

from curtail_kernels.codec import parts, payload_size
from curtail_kernels.codec_kernels import launch_decode, launch_encode
from curtail_kernels.head_rows import launch_head_rows
from curtail_kernels.mlp_products import TABLE, launch_slopes_product, launch_squares_product
from curtail_kernels.mlp_relu2 import launch_slopes, launch_squares
from curtail_kernels.muon import HOPPER, OTHERS, launch_symmetric_product

NUMBERS = 8192
SIDE = 256
PROCESSORS = 132


def hopper_launches() -> Iterator[str]:
    """Perform each launch and say after it what it was, and fp16 where it is that."""
    yield from _of(torch.bfloat16)
    for label in _of(torch.float16):
        yield f"{label} fp16"
    yield from _codec()


def _of(dtype: torch.dtype) -> Iterator[str]:
    yield from _head(dtype)
    yield from _mlp(dtype)
    yield from _muon(dtype)


def _head(dtype: torch.dtype) -> Iterator[str]:
    logits, targets = torch.zeros(16, NUMBERS, dtype=dtype), torch.zeros(16, dtype=torch.int64)
    losses = torch.zeros(16)
    for softcap, scales in product((15.0, 100.0, 0.0), (None, torch.ones(16))):
        for gradient in (True,) if scales is not None else (False, True):
            launch_head_rows(
                logits,
                targets,
                losses,
                NUMBERS,
                softcap=softcap,
                ignore_index=-1,
                gradient=gradient,
                scales=scales,
            )
            variant = "scaled gradient" if scales is not None else "gradient" if gradient else "loss"
            yield f"head rows softcap {softcap:g} {variant}"


def _mlp(dtype: torch.dtype) -> Iterator[str]:
    x = torch.zeros(NUMBERS, dtype=dtype)
    launch_squares(x, x)
    yield "squares"
    launch_slopes(x, x, x)
    yield "slopes"
    square = torch.zeros(SIDE, SIDE, dtype=dtype)
    launch_squares_product(square, square, square, config=TABLE["squares", (9, 0)], processors=PROCESSORS)
    yield "squares in the product tma"
    launch_slopes_product(
        square, square, square, square, config=TABLE["slopes", (9, 0)], processors=PROCESSORS
    )
    yield "slopes in the product tma"


def _codec() -> Iterator[str]:
    flat = torch.zeros(NUMBERS)
    for bits, block in ((8, 128), (4, 64)):
        scales, integers = parts(
            torch.zeros(payload_size(NUMBERS, bits, block), dtype=torch.uint8), NUMBERS, block
        )
        for carried, kept in ((None, None), (None, torch.empty_like(flat)), (flat, torch.empty_like(flat))):
            launch_encode(flat, carried, scales, integers, kept, bits=bits, block=block)
            yield f"encode int{bits} residual {carried is not None} rest {kept is not None}"
        launch_decode(scales, integers, flat, bits=bits, block=block)
        yield f"decode int{bits}"


def _muon(dtype: torch.dtype) -> Iterator[str]:
    x = torch.zeros(2, SIDE, SIDE, dtype=dtype)
    for config, addend in product((HOPPER, OTHERS), (None, x)):
        launch_symmetric_product(x, addend, torch.empty_like(x), alpha=0.5, beta=0.25, config=config)
        yield f"symmetric product {config.side} {'with' if addend is not None else 'without'} addend"
