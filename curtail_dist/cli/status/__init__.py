from curtail_dist.cli.status.verb import VERB

__all__ = ["VERB"]
