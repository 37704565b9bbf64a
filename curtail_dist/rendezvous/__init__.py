"""torchrun's rendezvous on etcd's v3 API: `--rdzv-backend etcd-v3`, and `etcd` too.

`register` is the entry point that torch loads in the middle of importing its own rendezvous package. This
module is complete by then, whichever was imported first, since it imports torch only in its functions.
"""

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousParameters

log = logging.getLogger(__name__)

__all__ = ["create_handler", "register"]


def register() -> "Callable[[RendezvousParameters], RendezvousHandler]":
    """Return the maker of handlers for `etcd-v3`, and let `etcd` mean the same.

    torch registers a handler of its own for `etcd`, on the v2 API that etcd 3.6 removed, and `register()` of
    its registry refuses a name that is taken. So this writes to the registry's table, which is private: where
    a torch has no such table, `etcd` keeps torch's meaning, a warning says so, and `etcd-v3` works.
    """
    from torch.distributed.elastic.rendezvous.api import rendezvous_handler_registry

    table = vars(rendezvous_handler_registry).get("_registry")
    if isinstance(table, dict):
        table["etcd"] = create_handler
    else:
        log.warning(
            "this torch keeps its rendezvous backends elsewhere: use --rdzv-backend etcd-v3, not etcd"
        )
    return create_handler


def create_handler(params: "RendezvousParameters") -> "RendezvousHandler":
    """Make torch's elastic rendezvous over the etcd at `params.endpoint`.

    The endpoint is HOST:PORT, or several of them with commas between: the first that answers is used.
    `--rdzv-conf` may hold what torch's elastic handler takes and, of this backend, all optional:

        read_timeout    seconds that one call to etcd may take (5)
        ca              certificate of the authority that signed etcd's; with it, TLS is spoken
        cert, key       this node's certificate and its key, where etcd asks for one
        user            etcd's user, and
        password_file   the file with its password
        secret_file     the file with the run's secret; also taken from CURTAIL_RUN_SECRET

    The files are PEM; anything else is refused. torch keeps the state of a rendezvous as a pickle. With the
    secret, nodes read only what nodes with the same secret wrote for this rendezvous; without it, whoever can
    write to etcd can run code on them.

    torch is told not to share a store between an agent and its ranks, unless the environment says something
    of that. It publishes such a store's address in a job's first round only, so that ranks of nodes that
    come later would wait for it in vain; and ranks that are restarted find in it the addresses of the dead.
    Rank 0 then opens the store itself, and a site of one rank opens none.

    Raises RendezvousClosedError where a start of the same name has ended of late: torch would say so at the
    end of a long traceback, without a word on why.
    """
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    from torch.distributed.elastic.rendezvous.api import RendezvousClosedError
    from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler as create_elastic

    from curtail_dist.rendezvous.backend import KEPT_S, open_backend

    backend, store = open_backend(params)
    handler = create_elastic(store, backend, params)
    if handler.is_closed():
        raise RendezvousClosedError(
            f"the rendezvous {params.run_id!r} is closed: a start of that name has ended, and the "
            f"name is free again only {KEPT_S / 3600:g} hours later; give each start another --rdzv-id"
        )
    return handler
