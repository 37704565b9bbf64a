"""The rank program of nanochat, whose forward passes in training take as long as the test says.

Takes the rank program's arguments. The file `pace` beside the run file holds seconds, or `hold`.
"""

import sys
import time
from pathlib import Path

import torch
from curtail_launch import train
from torch.nn.modules.module import register_module_forward_pre_hook

from nanochat.model import GPT

DEADLINE_S = 200.0
LOOK_S = 0.02


def main():
    pace = Path(sys.argv[sys.argv.index("--config") + 1]).with_name("pace")

    def left(began):
        said = pace.read_text()
        return (DEADLINE_S if said == "hold" else float(said)) - (time.monotonic() - began)

    def wait(module, _):
        began = time.monotonic()
        while isinstance(module, GPT) and torch.is_grad_enabled() and (rest := left(began)) > 0:
            time.sleep(min(rest, LOOK_S))

    register_module_forward_pre_hook(wait)
    return train.main()


if __name__ == "__main__":
    sys.exit(main())
