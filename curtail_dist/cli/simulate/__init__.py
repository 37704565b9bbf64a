from curtail_dist.cli.simulate.verb import VERB

__all__ = ["VERB"]
