"""What stands around attention, measured: head, relu^2, codec and Muon; all but relu^2 beside plain torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from curtail_kernels import codec, head, mlp_relu2, muon
from torch import Tensor

from curtail_dist.outer.codec import Blockwise
from gpu_kernels.beside import beside, with_gradients
from gpu_kernels.timing import relative_error, same_bits, seconds
from nanochat.optim.muon import NORM_EPS, NORM_MARGIN, POLAR_EXPRESS

if TYPE_CHECKING:
    from collections.abc import Callable

SOFTCAP = 15.0
APART = 2e-2
"""How far the head's loss and gradients may be from torch's, relative."""
BITS = ((8, 128), (4, 64))
"""Bits and block of each codec."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything."""

    tokens: int = 65_536
    vocabulary: int = 65_536
    width: int = 768
    chunk: int = 8_192
    numbers: int = 2**28
    """Of a pseudo-gradient."""
    matrices: tuple[tuple[int, int, int], ...] = ((48, 768, 768), (12, 3072, 768), (80, 1280, 1280))
    """Stacks that Muon works on: count, rows, columns; of a d12, and a d20's squares."""
    repeats: int = 10


TINY = Sizes(tokens=48, vocabulary=96, width=16, chunk=32, numbers=1000, matrices=((2, 16, 8),), repeats=1)


def measure_head(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Loss with its gradients: seconds, and the most memory beyond inputs, weights and gradients."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    x = torch.randn(sizes.tokens, sizes.width, device=device, dtype=dtype).requires_grad_()
    weight = torch.randn(sizes.vocabulary, sizes.width, device=device, dtype=dtype) * 0.05
    weight.requires_grad_()
    targets = torch.randint(sizes.vocabulary, (sizes.tokens,), device=device)
    targets[:: max(1, sizes.tokens // 16)] = -1

    def ours() -> Tensor:
        return head.head_loss(x, weight, targets, softcap=SOFTCAP, chunk=sizes.chunk)

    def plain() -> Tensor:
        return head.reference_head_loss(x, weight, targets, softcap=SOFTCAP)

    losses = {"torch": torch.compile(plain) if device.type == "cuda" else plain, "ours": ours}
    ways = {name: lambda loss=loss: with_gradients(loss(), (x, weight)) for name, loss in losses.items()}
    row: dict[str, Any] = {"what": "head", "tokens": sizes.tokens, "vocabulary": sizes.vocabulary}
    return row | beside(ways, device, repeats=sizes.repeats, apart=APART, memory=True)


def measure_relu2(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """GB/s of both passes in place, each of the memory that it reads and writes; needs a GPU."""
    shape = sizes.tokens, 4 * sizes.width
    h = torch.relu(torch.randn(shape, device=device, dtype=torch.bfloat16)).square()
    z = torch.randn_like(h)
    passes: dict[str, tuple[int, Callable[[], None]]] = {
        "squares": (2, lambda: mlp_relu2.launch_squares(h, h)),
        "slopes": (3, lambda: mlp_relu2.launch_slopes(h, z, z)),
    }
    size = h.numel() * h.element_size()
    row: dict[str, Any] = {"what": "relu2", "shape": list(h.shape)}
    for name, (times, launch) in passes.items():
        took = seconds(launch, device, repeats=sizes.repeats)
        row[name] = {"s": took, "gb_s": times * size / took["median"] / 1e9}
    return row


def measure_codec(sizes: Sizes, device: torch.device) -> list[dict[str, Any]]:
    """GB/s of fp32 numbers encoded and decoded; the bytes against those of the library's codec."""
    flat = torch.randn(sizes.numbers, device=device) * 1e-3
    rows: list[dict[str, Any]] = []
    for bits, block in BITS:
        plain = Blockwise(bits, block)
        payload, rest = codec.encode_with_feedback(flat, None, bits, block)
        wanted = plain.encode(flat)
        bytes_agree = same_bits(payload, wanted) and same_bits(codec.encode(flat, bits, block), wanted)
        numbers = codec.decode(payload, flat.numel(), bits, block)
        right = plain.decode(wanted, flat.numel())
        calls: dict[str, Callable[[], Any]] = {
            "encode": lambda b=bits, k=block: codec.encode(flat, b, k),
            "encode_with_feedback": lambda r=rest, b=bits, k=block: codec.encode_with_feedback(flat, r, b, k),
            "decode": lambda p=payload, b=bits, k=block: codec.decode(p, flat.numel(), b, k),
            "torch_encode": lambda codec=plain: codec.encode(flat),
            "torch_decode": lambda p=payload, codec=plain: codec.decode(p, flat.numel()),
        }
        took = {name: seconds(call, device, repeats=sizes.repeats) for name, call in calls.items()}
        rows.append(
            {
                "what": "codec",
                "bits": bits,
                "numbers": sizes.numbers,
                "bytes_agree": bytes_agree,
                "holds": bytes_agree and same_bits(numbers, right) and same_bits(rest, flat - right),
                **{f"{name}_gb_s": 4 * sizes.numbers / one["median"] / 1e9 for name, one in took.items()},
            }
        )
    return rows


def measure_muon(sizes: Sizes, device: torch.device) -> list[dict[str, Any]]:
    """Seconds of orthogonalising each stack, with the symmetric products computed once and computed whole."""
    rows: list[dict[str, Any]] = []
    for K, m, n in sizes.matrices:
        g = torch.randn(K, m, n, device=device)
        options: dict[str, Any] = {"norm_margin": NORM_MARGIN, "norm_eps": NORM_EPS}

        def ours(g: Tensor = g, options: dict[str, Any] = options) -> Tensor:
            return muon.orthogonalize(g, POLAR_EXPRESS, **options)

        def plain(g: Tensor = g, options: dict[str, Any] = options) -> Tensor:
            return muon.reference_orthogonalize(g, POLAR_EXPRESS, **options)

        apart = relative_error(ours(), plain())
        rows.append(
            {
                "what": "muon",
                "stack": [K, m, n],
                "ours_s": seconds(ours, device, repeats=sizes.repeats),
                "torch_s": seconds(plain, device, repeats=sizes.repeats),
                "apart": apart,
                "holds": apart <= 5e-2,
            }
        )
    return rows
