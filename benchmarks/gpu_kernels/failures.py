"""What a kernel may fail with and be recorded as failed, while the others go on."""

from triton.errors import TritonError

FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, ImportError, AssertionError, TritonError)


def failure(error: BaseException) -> str:
    """One line of an error."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]
