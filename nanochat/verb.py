"""What every `python -m nanochat.VERB` shares: one line for wrong input, exit code 2."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser, as a rule with `--root`, whose errors are one line."""

    def __init__(self, description: str, *, root: bool = True, **given: Any) -> None:
        """Begin with `--root` or without; `given` is for `argparse.ArgumentParser`."""
        super().__init__(
            description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **given
        )
        if root:
            self.add_argument("--root", type=Path, required=True, help="directory of data and outputs")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; exit with 2."""
        self.exit(2, f"{self.prog}: {message}\n")


STANDARD_OUTPUT = "standard output"
"""What an error of it has for a file name."""


def say(line: str) -> None:
    """Write one line to standard output at once."""
    write(line + "\n")


def warn(line: str) -> None:
    """Write one line to standard error: something went otherwise than it should, and the verb goes on."""
    sys.stderr.write(f"warning: {line}\n")
    sys.stderr.flush()


def write(text: str) -> None:
    """Write to standard output at once. Raises OSError, which names it, where it takes no more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from error


OF_THE_INPUT = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What is wrong with a path that was given; a full disk is not."""


def run(main: Callable[[list[str] | None], None], argv: list[str] | None = None) -> int:
    """Run a verb; returns its exit code.

    It is 2, with one line on standard error, where the input was wrong; 1, with such a line, where a file
    could not be read or written for another reason; 1 without a line where the reader of standard output went
    away.
    """
    try:
        main(argv)
    except ValueError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    except OSError as error:
        where = error.filename2 or error.filename
        if where is None:  # no file's: whoever sees it needs to know where it came from
            raise
        if where == STANDARD_OUTPUT:
            _write_no_more()
            if isinstance(error, BrokenPipeError):  # who read has seen enough
                return 1
        sys.stderr.write(f"error: {where} cannot be used ({error.strerror}): give another path\n")
        return 2 if isinstance(error, OF_THE_INPUT) else 1
    except KeyboardInterrupt:
        return 130
    return 0


def _write_no_more() -> None:
    """Send what is left for standard output nowhere: else Python tries again as it ends, and complains."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
