"""The blockwise codecs by fused kernels: the same bytes, in one pass over the numbers on a GPU."""

import torch

from curtail_dist.outer.codec import CODECS, Blockwise
from curtail_dist.outer.feedback import Encoder, encoder


def fused_encoder(name: str) -> Encoder:
    """Return what encodes by this codec of `CODECS`: fused on CUDA where it is blockwise, else as ever."""
    codec = CODECS[name]
    plain = encoder(codec)
    if not isinstance(codec, Blockwise):
        return plain
    bits, block = codec.bits, codec.block

    def encode(flat: torch.Tensor, residual: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        if not flat.is_cuda:
            return plain(flat, residual)
        from curtail_kernels.codec import encode_with_feedback  # it imports Triton

        return encode_with_feedback(flat, residual, bits, block)

    return encode
