"""A member of a Gloo group in a process of its own: takes part in one gather for each line it reads.

Arguments: host and port of rank 0's store, group name, rank, size. Prints `ready` when the group stands and
`done` after each gather of the sizes on the line.
"""

import sys

import torch

from curtail_dist.outer.gloo import form


def main() -> None:
    host, port, name, rank, size = sys.argv[1:]
    member = form(
        name=name,
        rank=int(rank),
        size=int(size),
        host=host,
        meet=(host, int(port)),
        timeout=60.0,
        alive=lambda rank: True,
    )
    _say("ready")
    for line in sys.stdin:
        sizes = [int(word) for word in line.split()]
        member.gather(torch.zeros(sizes[member.rank], dtype=torch.uint8), sizes)
        _say("done")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
