"""The MLP measured, and its products with relu squared at their end beside cuBLAS's with a pass after."""

from typing import TYPE_CHECKING, Any

import torch
from curtail_kernels.attention.operands import Compiled
from curtail_kernels.mlp import mlp, reference_mlp
from curtail_kernels.mlp_products import (
    TABLE,
    Config,
    Product,
    launch_slopes_product,
    launch_squares_product,
)
from curtail_kernels.mlp_relu2 import launch_slopes, launch_squares
from torch import Tensor

from gpu_kernels.beside import beside, with_gradients
from gpu_kernels.timing import refuse_spills, relative_error, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

PRODUCTS: tuple[Product, ...] = ("squares", "slopes")

IN_PRODUCT = "ours, relu2 in the products"
"""The MLP with both products so; `ours` does as the table says."""

MLP_APART = 2e-2
"""How far the MLP and its gradients may be from torch's, relative."""

APART = 6e-3
"""How far two ways to a product in bf16 may be apart, relative: some 3e-3 is rounding, and one tile of the
12,288 of a d12 that is all wrong makes 9e-3."""


def measure_mlp(tokens: int, width: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """Forward and backward together: seconds, and the most memory beyond inputs and weights."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    x = torch.randn(tokens, width, device=device, dtype=dtype).requires_grad_()
    up = (torch.randn(4 * width, width, device=device, dtype=dtype) * width**-0.5).requires_grad_()
    down = (torch.randn(width, 4 * width, device=device, dtype=dtype) * width**-0.5).requires_grad_()
    dout = torch.randn_like(x)
    paths: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "torch": torch.compile(reference_mlp) if device.type == "cuda" else reference_mlp,
        "ours": mlp,
        IN_PRODUCT: lambda x, up, down: mlp(x, up, down, in_product=True),
    }
    leaves = x, up, down
    ways = {
        name: lambda path=path: with_gradients(path(*leaves), leaves, dout) for name, path in paths.items()
    }
    row: dict[str, Any] = {"what": "mlp", "tokens": tokens, "width": width}
    return row | beside(ways, device, repeats=repeats, apart=MLP_APART, memory=True)


class ProductBench:
    """The tensors of one product.

    Args:
        product: Which.
        shape: (M, N, K): the result is [M, N], each number a sum of K terms.
        device: Where they lie.
        dtype: Of all.
    """

    def __init__(
        self,
        product: Product,
        shape: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        M, N, K = shape
        self.product = product
        self.shape = shape
        self._device = device
        self._a = torch.randn(M, K, device=device, dtype=dtype)
        across = (N, K) if product == "squares" else (K, N)
        self._b = torch.randn(across, device=device, dtype=dtype) * K**-0.5
        self._right_b = self._b.mT if product == "squares" else self._b
        self._h = torch.relu(torch.randn(M, N, device=device, dtype=dtype)).square()
        self.out = torch.empty(M, N, device=device, dtype=dtype)
        self._processors = (
            torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
        )

    def fused(self, config: Config) -> Compiled:
        """Both in one launch, into `self.out`, as all three."""
        options: dict[str, Any] = {"config": config, "processors": self._processors}
        if self.product == "squares":
            return launch_squares_product(self._a, self._b, self.out, **options)
        return launch_slopes_product(self._a, self._b, self._h, self.out, **options)

    def cublas(self) -> None:
        """The product alone."""
        torch.mm(self._a, self._right_b, out=self.out)

    def two_steps(self) -> None:
        """The product, then relu squared in place."""
        self.cublas()
        if self.product == "squares":
            launch_squares(self.out, self.out)
        else:
            launch_slopes(self._h, self.out, self.out)

    def took(self, config: Config, repeats: int) -> float:
        """Seconds of one launch.

        Raises:
            ValueError: It computes something else than the two steps do, or spills.
        """
        if (apart := self.apart(config)) > APART:
            raise ValueError(f"is {apart:.1e} from the two steps; it must be at most {APART}")
        return seconds(lambda: self.fused(config), self._device, repeats=repeats)["median"]

    def apart(self, config: Config) -> float:
        """How far one launch is from the two steps, relative; ValueError if it spills."""
        self.two_steps()
        right = self.out.clone()
        self.out.fill_(torch.nan)
        refuse_spills(self.fused(config))
        return relative_error(self.out, right)

    def row(self, config: Config, repeats: int) -> dict[str, Any]:
        """One launch, cuBLAS alone, cuBLAS with a pass: seconds, and the first's throughput over theirs."""
        apart = self.apart(config)
        calls: dict[str, Callable[[], None]] = {
            "fused": lambda: self.fused(config),
            "cublas": self.cublas,
            "two_steps": self.two_steps,
        }
        took = {name: seconds(call, self._device, repeats=repeats) for name, call in calls.items()}
        M, N, K = self.shape
        own = took["fused"]["median"]
        return {
            "what": "product",
            "product": self.product,
            "shape": [M, N, K],
            "config": config._asdict(),
            **{f"{name}_s": each for name, each in took.items()},
            **{f"{name}_tflops": 2 * M * N * K / each["median"] / 1e12 for name, each in took.items()},
            "over_cublas": took["cublas"]["median"] / own,
            "over_two_steps": took["two_steps"]["median"] / own,
            "apart": apart,
            "holds": apart <= APART,
        }


def measure_products(tokens: int, width: int, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """A row of each product, by the config that is shipped for the device."""
    capability = torch.cuda.get_device_capability(device)
    shape = (tokens, 4 * width, width)
    return [
        ProductBench(product, shape, device).row(TABLE[product, capability], repeats) for product in PRODUCTS
    ]
