"""Search: the best of the methods that need no data, chosen on the sources' hold-out sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from hamdg.errors import ConfigError
from hamdg.merge.buffers import BufferShares, by_weight
from hamdg.merge.candidates import Candidate, searchable, split_names
from hamdg.merge.evidence import HoldOut, SearchListener
from hamdg.merge.method_info import MergePlan
from hamdg.merge.model_set import ModelSet
from hamdg.merge.registry import global_method
from hamdg.merge.search import Outcomes, Rule, Scorer, find
from hamdg.values import Range


def _shares(weights: Mapping[str, float]) -> BufferShares:
    """Mix statistics as the chosen method does."""
    return by_weight(weights)


@global_method("search", on="models", uses_base=True, needs=("holdout",), buffers=_shares)
def search(
    model_set: ModelSet,
    *,
    by: Rule = "leave_one_out",
    budget: Annotated[int, Range(1)] = 40,
    methods: str = "all",
) -> MergePlan:
    """Try methods that need no data, with values of their options, and merge with the one that scores best.

    Our own rule. A candidate's score by `leave_one_out` is the mean over the sources of the score on the hold-out set
    of one of them, of what the candidate makes of all the others, with factors of sums multiplied by N / (N - 1), since
    one of N changes is missing; by `in_domain` it is the mean over all hold-out sets of what the candidate makes of all
    sources. Two thirds of the budget go to the methods' defaults and to points of
    their grids, in turn; the rest to values near the best so far, one option changed at a time. The best is chosen
    unless the plain average is within one standard error of it, paired by examples; of equally good ones that with
    fewer options. With two sources, `leave_one_out` judges merges of one model each.

    The sources must have learned from their own data alone: a model that has seen the domain that is left out makes
    the score one of the domain itself.

    Args:
        by: What a candidate is scored by.
        budget: How many candidates are scored, the plain average among them.
        methods: Which methods are tried, separated by commas; `all` for all that need no data.
    """
    infos, sources, evidence = searchable(split_names(methods)), model_set.sources, model_set.evidence
    assert isinstance(evidence, HoldOut)
    if by == "leave_one_out" and len(sources) < 2:
        raise ConfigError(
            "Merge method `search` leaves one source out at a time and needs two, but got one; set `by` to "
            "`in_domain`, or merge by a method."
        )

    def measure(candidate: Candidate) -> Mapping[Rule, Outcomes]:
        # Of all sources, copies of one model show at no cost what cannot be merged.
        model_set.merged(candidate.method, candidate.options, sources, True)
        found: dict[str, list[float]] = {}
        for source in sources:
            if by == "leave_one_out" or not found:
                others = [one for one in sources if one != source or by == "in_domain"]
                own = candidate.scaled(len(sources) / len(others))
                weights = model_set.merged(own.method, own.options, others, False)
            found[source] = list(evidence.outcomes(weights, source))
        return {by: found}

    found = find(Scorer(measure), infos, budget, by)
    if isinstance(evidence, SearchListener):
        evidence.searched(found)
    chosen = found.chosen.candidate
    merged = model_set.merged(chosen.method, chosen.options, sources, False)
    # Buffers that all models agree on stay as they are.
    return MergePlan(lambda tensor_set: merged[tensor_set.name], models=dict.fromkeys(sources, merged))
