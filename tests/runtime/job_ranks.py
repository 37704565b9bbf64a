"""The ranks of several sites that one torchrun started; prints what each got from its own site's as JSON.

Arguments: the site of each rank, in the order of ranks.
"""

import json
import os
import sys

import torch
import torch.distributed as dist
from intrasite_ranks import talk

from curtail_dist.runtime.intrasite import open_ranks


def together(group):
    """Which ranks of the job add up what they have over a group, as powers of two."""
    mine = torch.tensor([1 << dist.get_rank()])
    dist.all_reduce(mine, group=group)
    return [rank for rank in range(dist.get_world_size()) if int(mine) >> rank & 1]


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    site = sys.argv[1:][dist.get_rank()]
    ranks = open_ranks(site)
    found = {
        "site": site,
        "talk": talk(ranks),
        "gathered": [message.decode() for message in ranks.gather(f"{site}{dist.get_rank()}".encode())],
        "averaged_with": together(ranks.group),
        "all": ranks.group is None,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # as a rank whose node dies: nothing is torn down in order


if __name__ == "__main__":
    main()
