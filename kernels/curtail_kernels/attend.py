"""Attention by whichever implementation the table or the caller chooses."""

from torch import Tensor

from curtail_kernels import own
from curtail_kernels.dispatch import Implementation, implementation_for
from curtail_kernels.own import Place


def attend(
    q: Tensor, k: Tensor, v: Tensor, window: int | None, implementation: Implementation | None = None
) -> Tensor:
    """Causal attention of the newest queries over all keys, scores divided by sqrt(D).

    Args:
        q: [B, T, H, D], the last T of the S positions.
        k: [B, S, Hkv, D]; query head h uses key head h // (H / Hkv).
        v: [B, S, Hkv, D].
        window: A query sees its own position and so many before it; None: all before it.
        implementation: See `dispatch`; None: by the table.

    Returns:
        [B, T, H, D].

    Raises:
        ValueError: `implementation` is unknown, or cannot do this.
    """
    taken = implementation_for(q, k, window, implementation)
    if taken == "triton":
        from curtail_kernels.attention.op import attention

        return attention(q, k, v, window=window)
    chosen = {"plain": own.plain, "cudnn": own.cudnn, "flex": own.flex}[taken]
    return chosen(q, k, v, window)


def place_and_attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    place: Place,
    window: int | None,
    implementation: Implementation | None = None,
) -> Tensor:
    """The same for q and k as they come out of their products, T of each: they are placed first.

    Args:
        q: [B, T, H, D].
        k: [B, T, Hkv, D].
        v: [B, T, Hkv, D].
        place: What is done to queries and keys.
        window: See `attend`.
        implementation: See `attend`.
    """
    if implementation_for(q, k, window, implementation) == "triton":
        from curtail_kernels.attention.op import rotary_norm_attention

        return rotary_norm_attention(
            q, k, v, place.cos, place.sin, gain=place.gain, eps=place.eps, window=window
        )
    return attend(place(q), place(k), v, window, implementation)
