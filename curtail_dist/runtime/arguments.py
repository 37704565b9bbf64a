"""What a rank program is started with: `--config RUN.yaml --site NAME`, or `--check`."""

import argparse
import sys
from collections.abc import Sequence

from curtail_dist.config import RunConfig
from curtail_dist.data.manifest import read_manifest
from curtail_dist.errors import UserError
from curtail_dist.runtime.refusing import refuse_what_is_not_caught


def arguments(argv: Sequence[str] | None = None) -> tuple[RunConfig, str]:
    """Return the run file and this site's name in it, as torchrun hands them to a rank program.

    With `--check`, by which an agent asks before it starts anything, the process ends here, with 0 where the
    library can read the run file and its manifest; what stands in `train` and `model` is the program's own to
    check. A wrong run file ends it with 2 and one line; from here on so does every UserError that the script
    does not catch, and the site's agent is told.
    """
    parser = argparse.ArgumentParser(description="Train at one site; torchrun starts this.")
    parser.add_argument("--config", required=True, metavar="RUN.yaml", help="the run file")
    parser.add_argument("--site", metavar="NAME", help="one of the run file's sites")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="override one value")
    parser.add_argument("--check", action="store_true", help="only check the run file")
    given = parser.parse_args(argv)
    if not given.check and given.site is None:
        parser.error("--site is missing; it must name a site of the run file")
    try:
        config = RunConfig.from_yaml(given.config, given.set)
        if given.check:
            read_manifest(config.data.manifest)
            sys.exit(0)
        config.site(given.site)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    refuse_what_is_not_caught(config, given.site)
    return config, given.site
