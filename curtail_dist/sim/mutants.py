"""Protocols that are wrong on purpose, by name: the checks must catch each, or they prove nothing."""

from collections.abc import Mapping

from curtail_dist.sim import wrong_counts, wrong_fragments, wrong_order
from curtail_dist.sim.altering import altered
from curtail_dist.sim.process import Mutant

MUTANTS: Mapping[str, Mutant] = {
    name: altered(make)
    for name, make in {
        "apply-before-commit": wrong_order.apply_before_commit,
        "unfenced-commit": wrong_order.unfenced_commit,
        "joiner-counts-source": wrong_counts.joiner_counts_source,
        "dead-rows-not-returned": wrong_counts.dead_rows_not_returned,
        "says-nothing": wrong_order.says_nothing,
        "two-epochs": wrong_order.two_epochs,
        "no-durable-before": wrong_order.no_durable_before,
        "impatient": wrong_order.impatient,
        "dawdles-after-loss": wrong_order.dawdles_after_loss,
        "takes-silence-for-death": wrong_order.takes_silence_for_death,
        "never-resumes": wrong_order.never_resumes,
        "rewinds-at-will": wrong_order.rewinds_at_will,
        "key-for-each-round": wrong_counts.key_for_each_round,
        "expelled-keeps-round": wrong_counts.expelled_keeps_round,
        "open-rows-from-start": wrong_counts.open_rows_from_start,
        "plans-for-present-epoch": wrong_counts.plans_for_present_epoch,
        "done-with-first-fragment": wrong_fragments.done_with_first_fragment,
        "pending-outlives-site": wrong_fragments.pending_outlives_site,
        "forgets-reset": wrong_fragments.forgets_reset,
        "gives-rows-ahead-away": wrong_fragments.gives_rows_ahead_away,
        "resumes-over-the-living": wrong_order.resumes_over_the_living,
    }.items()
}
"""Every mutant by its name; each one's docstring says what is wrong with it."""
