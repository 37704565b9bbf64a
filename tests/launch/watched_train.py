"""The rank program of nanochat, watched: what a rank's model was at each forward pass, and at the end.

Takes the rank program's arguments; writes `ranks/RANK.json` beside the run file.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
from curtail_launch import train
from torch.nn.modules.module import register_module_forward_pre_hook

from nanochat.model import GPT


class Watch:
    """Notes the model before each forward pass in training."""

    def __init__(self):
        self._parameters = []
        self.passes = []

    def __call__(self, module, _):
        if isinstance(module, GPT) and torch.is_grad_enabled():
            self._parameters = list(module.parameters())
            self.passes.append(self.digest)

    @property
    def digest(self):
        found = hashlib.sha256()
        for parameter in self._parameters:
            found.update(parameter.detach().numpy().tobytes())
        return found.hexdigest()


def main():
    watch = Watch()
    hook = register_module_forward_pre_hook(watch)
    code = train.main()
    hook.remove()
    folder = Path(sys.argv[sys.argv.index("--config") + 1]).parent / "ranks"
    folder.mkdir(exist_ok=True)
    found = {"code": code, "passes": watch.passes, "end": watch.digest}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
    return code


if __name__ == "__main__":
    sys.exit(main())
