"""A tensor's memory as bytes, and the names of the element types that may be stored or sent."""

import torch

SLICE_BYTES = 8 * 2**20
"""How much is hashed, written or read at once."""

ELEMENTS: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Element types by their name in safetensors files."""
_NAMES = {dtype: name for name, dtype in ELEMENTS.items()}


def element_name(dtype: torch.dtype) -> str:
    """Return the stored name of an element type. Raises ValueError for one that is not stored."""
    if dtype not in _NAMES:
        raise ValueError(f"a tensor has type {dtype}; it must be one of {', '.join(ELEMENTS)}")
    return _NAMES[dtype]


def raw(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor, in row order.

    They are the tensor's own memory, to be read and written, if it is contiguous and on the CPU; else a copy.
    """
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def allocate(element: object, shape: object, *, limit_bytes: int) -> torch.Tensor:
    """Return a new tensor on the CPU as a stored description asks for it, its contents undefined.

    Raises ValueError where the description is none, or asks for more than `limit_bytes`.
    """
    dtype = ELEMENTS.get(element) if isinstance(element, str) else None
    if dtype is None or not isinstance(shape, list):
        raise ValueError(f"{element!r} {shape!r} does not describe a tensor")
    size = dtype.itemsize
    for length in shape:
        if type(length) is not int or length < 0:
            raise ValueError(f"{shape!r} is not a shape")
        size *= length
    if size > limit_bytes:
        raise ValueError(f"a tensor of {size} bytes is described where there can be {limit_bytes}")
    return torch.empty(shape, dtype=dtype, device="cpu")
