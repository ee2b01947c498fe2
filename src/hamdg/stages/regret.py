"""How well rules choose a merge: a study that opens the held-out domain, whose scores nothing that chooses reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypedDict

import numpy as np
import torch

from hamdg import console
from hamdg.data.domain import Domain, open_domain
from hamdg.data.subset import Subset
from hamdg.files import write_json
from hamdg.merge.candidates import Candidate
from hamdg.merge.search import Found
from hamdg.runs import schema
from hamdg.runs.averages import average
from hamdg.runs.directory import RunDirectory
from hamdg.stages.repeating import trained_recipe
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.search import Searched, search_merges
from hamdg.stages.source_models import SourceModels, source_models

RESULTS = "regret.json"
RULES = ("leave one source out", "the same, best score", "in-domain", "plain average", "random candidate")


class HeldOutScores(TypedDict):
    """`regret.json`: what candidates score on the held-out domain.

    Attributes:
        identity: The digests of the models.
        scores: By the candidates' keys.
    """

    identity: dict[str, str]
    scores: dict[str, float]


@dataclass(frozen=True)
class Regrets:
    """How the choices of a run's merge do on its held-out domain.

    Args:
        path: The run.
        oracle: The best candidate's score.
        values: What each rule's choice scores.
        searched: The search.
        best: The best candidate.
    """

    path: Path
    oracle: float
    values: Mapping[str, float]
    searched: Searched
    best: Candidate


def study(path: Path, budget: int, methods: Sequence[str] = (), clean: bool = False) -> Regrets:
    """Search a run's merges, then score all candidates on the held-out domain.

    Args:
        path: The trained run.
        budget: How many candidates there are.
        methods: The methods to try; all that need no data if there are none.
        clean: As for a search.
    """
    searched = search_merges(path, budget, methods, clean)
    with RunDirectory.hold(path) as run:
        sources = source_models(trained_recipe(run), run)
        scores = _held_out(sources, run, searched.found)
    found = {one.candidate.key: scores[one.candidate.key] for one in searched.found.scored}
    best = max(searched.found.scored, key=lambda one: found[one.candidate.key]).candidate
    return Regrets(path, found[best.key], _values(searched.found, found), searched, best)


def _values(found: Found, scores: Mapping[str, float]) -> dict[str, float]:
    """Return what each rule's choice scores; of a random candidate, the mean."""
    chosen = (found.chosen, found.ranked("leave_one_out")[0], found.best("in_domain"), found.average)
    values = [*(scores[one.candidate.key] for one in chosen), fmean(scores.values())]
    return dict(zip(RULES, values, strict=True))


def _held_out(sources: SourceModels, run: RunDirectory, found: Found) -> Mapping[str, float]:
    """Return what all candidates score on the held-out domain, most of them from before where that was done."""
    file, identity = run.path / RESULTS, dict(sources.origins)
    before = schema.read(file, HeldOutScores, "delete it, and repeat the study") if file.is_file() else None
    scores = dict(before["scores"]) if before is not None and before["identity"] == identity else {}
    context = sources.context
    domains = {name: _labeled(open_domain(context.recipe, name, context.preprocess.side)) for name in context.targets}
    scorer, network = Scorer(context.device, context.preprocess, context.half), context.network()
    missing = [one.candidate for one in found.scored if one.candidate.key not in scores]
    with console.progress(len(missing), "merges tested") as advance:
        for candidate in missing:
            (own,) = scorer.by_domain([Scored(network, sources.merged(candidate))], domains, context.task)
            scores[candidate.key] = average(list(own.values()), "arithmetic")
            write_json(file, HeldOutScores(identity=identity, scores=scores))
            advance(1)
    return scores


def _labeled(domain: Domain) -> Subset:
    """Return all images of a domain with their true labels, as the evaluation takes them."""
    everything = Subset(domain.evaluation, np.arange(len(domain)), torch.from_numpy(np.array(domain.clean_labels)))
    everything.prepare()
    return everything
