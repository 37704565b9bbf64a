"""Who computes an attention: ours, and what torch and others have."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from curtail_kernels import own
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_kernels.cases import Case

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q [B, T, H, D], k and v [B, T, Hkv, D] -> [B, T, H, D]."""

ONLINE = "ours, running maximum"
"""Ours where nothing is known of the logits."""

IN_FORWARD = "ours, queries placed in attention"
"""The whole path where attention itself rotates and norms the queries; `ours` does as the table says."""

OTHERS = {"fa3": ("flash_attn_interface",), "fa4": ("flash_attn.cute", "flash_attn.cute.interface")}
"""Packages that are no dependencies: measured where they can be imported."""


def contenders(case: Case, device: torch.device) -> dict[str, Attention | str]:
    """Who can compute a case, by name; in place of a function stands why one cannot."""
    found: dict[str, Attention | str] = {
        "ours": _ours(case, bound=case.bound),
        ONLINE: _ours(case, bound=float("inf")),
    }
    if device.type != "cuda":
        return {**found, "torch": lambda q, k, v: own.plain(q, k, v, case.window)}
    if case.window is None:
        found["cudnn"] = _only(SDPBackend.CUDNN_ATTENTION)
        found["fa2"] = _only(SDPBackend.FLASH_ATTENTION)
    found["flex"] = lambda q, k, v: own.flex(q, k, v, case.window)
    return {**found, **{name: _imported(modules, case) for name, modules in OTHERS.items()}}


def whole_paths(case: Case, place: own.Place, device: torch.device) -> dict[str, Attention]:
    """Who computes rotary, norm and attention of raw projections, compiled on a GPU; first the judge."""
    if device.type != "cuda":
        return {
            "torch": lambda q, k, v: own.plain(place(q), place(k), v, case.window),
            "ours": _ours_whole(case, place),
            IN_FORWARD: _ours_whole(case, place, in_forward=True),
        }
    found: dict[str, Attention] = {"flex": torch.compile(_flex_whole(case, place, device), dynamic=False)}
    if case.window is None:
        alone = _only(SDPBackend.CUDNN_ATTENTION)
        found["cudnn"] = torch.compile(lambda q, k, v: alone(place(q), place(k), v), dynamic=False)
    for name, in_forward in (("ours", None), (IN_FORWARD, True)):
        path = _ours_whole(case, place, in_forward)
        found[name] = torch.compile(path, dynamic=False, fullgraph=True)
    return found


def _ours_whole(case: Case, place: own.Place, in_forward: bool | None = None) -> Attention:
    def path(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from curtail_kernels.attention.op import rotary_norm_attention

        return rotary_norm_attention(
            q,
            k,
            v,
            place.cos,
            place.sin,
            gain=place.gain,
            eps=place.eps,
            window=case.window,
            in_forward=in_forward,
        )

    return path


def _flex_whole(case: Case, place: own.Place, device: torch.device) -> Attention:
    """FlexAttention with its blocks made beforehand: made inside, they would be made anew at each call."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def seen(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del b, h
        back = query - key
        return back >= 0 if case.window is None else (back >= 0) & (back <= case.window)

    blocks = create_block_mask(seen, None, None, case.T, case.T, device=device)

    def path(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y: Any = flex_attention(
            place(q).transpose(1, 2),
            place(k).transpose(1, 2),
            v.transpose(1, 2),
            block_mask=blocks,
            enable_gqa=q.size(2) != k.size(2),
        )
        return y.transpose(1, 2)

    return path


def _ours(case: Case, bound: float) -> Attention:
    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from curtail_kernels.attention.op import attention

        return attention(q, k, v, window=case.window, bound=bound)

    return attention


def _only(backend: SDPBackend) -> Attention:
    """Torch's scaled dot product by one backend and no other; it fails where that cannot."""

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return own.plain(q, k, v, None)

    return attention


def _imported(modules: tuple[str, ...], case: Case) -> Attention | str:
    function: Any = None
    for name in modules:
        try:
            function = getattr(import_module(name), "flash_attn_func", None)
        except ImportError:
            continue
        if function is not None:
            break
    if function is None:
        return f"missing: {' and '.join(modules)} cannot be imported"
    options: dict[str, Any] = {"causal": True}
    if case.window is not None:
        options["window_size"] = (case.window, 0)

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = function(q, k, v, **options)
        return found[0] if isinstance(found, tuple) else found

    return attention
