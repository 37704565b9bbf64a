"""What a script says of an inner step, as plain numbers."""

from operator import index

import torch

from curtail_dist.errors import ConfigError


def tokens_of(said: object) -> int:
    """Return how many tokens a step had: a whole number, of Python, numpy, or a tensor's one element.

    Raises ConfigError for any other.
    """
    try:
        tokens = index(said)  # pyright: ignore[reportArgumentType] - what it takes is asked of it
    except TypeError:
        tokens = -1
    if tokens < 0:
        raise ConfigError(
            f"tokens in outer.step() is {_shown(said)}; it must be a whole number, at least 0: give how "
            "many the loss is a mean over, int(mask.sum()) or len(rows)"
        )
    return tokens


def loss_of(said: object) -> float:
    """Return the loss of a step: any number, or a tensor's one element, which may require a gradient.

    Raises ConfigError for what is no single number.
    """
    number = said.detach() if isinstance(said, torch.Tensor) else said
    try:
        if isinstance(number, str):
            raise TypeError  # noqa: TRY301 - float() would read it
        return float(number)  # pyright: ignore[reportArgumentType] - what it takes is asked of it
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"the loss of an inner step is {_shown(said)}; it must be one number: give its mean, "
            "loss.mean().item(), or none"
        ) from None


def _shown(said: object) -> str:
    if isinstance(said, torch.Tensor) and said.numel() != 1:
        return f"a tensor of shape {list(said.shape)}"
    return repr(said)
