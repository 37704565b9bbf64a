"""What a script says of an inner step, as plain numbers."""

from operator import index

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
            f"tokens in outer.step() is {said!r}; it must be a whole number, at least 0: give how many the "
            "loss is a mean over, int(mask.sum()) or len(rows)"
        )
    return tokens
