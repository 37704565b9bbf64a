"""Pictures and figures of a run, from its events alone."""

from curtail_dist.report.build import summarize, write_report

__all__ = ["summarize", "write_report"]
