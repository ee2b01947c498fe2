"""Greedy soup: average those models whose company does not make the average worse."""

from __future__ import annotations

import math
from typing import Literal

from hamdg.errors import ConfigError
from hamdg.merge.evidence import Validation
from hamdg.merge.method_info import MergePlan
from hamdg.merge.methods.sma import mean_of
from hamdg.merge.model_set import ModelSet, Rule
from hamdg.merge.registry import global_method


@global_method("greedy_soup", on="models", needs=("validation",))
def greedy_soup(model_set: ModelSet, *, accept: Literal["ge", "gt"] = "ge") -> MergePlan:
    """Average models chosen one by one on validation data: a model stays if the mean with it scores no worse.

    The models are sorted by their own score, best first; the soup begins with the first; the next one is added if
    score(mean(soup and it)) >= score(soup). See Wortsman et al., https://arxiv.org/abs/2203.05482. The paper's recipe
    accepts a soup that is as good as before, as DiWA (https://arxiv.org/abs/2205.09739) does; the released code of
    model soups accepts gains only.

    Our choices: equal scores are sorted by name; buffers are pooled over the models of the soup alone. Every soup
    that is tried is averaged again from its models, so that memory does not grow with them; for n models that is n
    evaluations of single models and n - 1 of soups.

    Args:
        accept: Whether a soup as good as the one before is accepted (`ge`, the paper) or only a better one (`gt`, its
            released code).
    """
    scores = {source: _score(model_set, (source,)) for source in model_set.sources}
    first, *others = sorted(scores, key=lambda source: (-scores[source], source))
    soup: tuple[str, ...] = (first,)
    best = scores[first]
    for source in others:
        score = _score(model_set, (*soup, source))
        if score > best or (accept == "ge" and score == best):
            soup, best = (*soup, source), score
    return MergePlan(_mean(soup), soup)


def _mean(soup: tuple[str, ...]) -> Rule:
    ordered = tuple(sorted(soup))
    return lambda tensor_set: mean_of(tensor_set, ordered)


def _score(model_set: ModelSet, soup: tuple[str, ...]) -> float:
    evidence = model_set.evidence
    assert isinstance(evidence, Validation)
    score = float(evidence.score(model_set.complete(_mean(soup), soup)))
    if not math.isfinite(score):
        raise ConfigError(
            f"Expected the validation score of {' + '.join(f'`{source}`' for source in sorted(soup))} to be a finite "
            f"number, but got `{score}`; leave such a model out."
        )
    return score
