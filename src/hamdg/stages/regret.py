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
from hamdg.data.domain import Domain, combined_fingerprint, open_domain
from hamdg.data.subset import Subset
from hamdg.files import write_json
from hamdg.merge.candidates import Candidate
from hamdg.merge.search import Found
from hamdg.runs import schema
from hamdg.runs.averages import Average, average
from hamdg.runs.directory import RunDirectory
from hamdg.stages.context import Context
from hamdg.stages.repeating import trained_recipe
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.search import Searched, scoring_identity, search_merges
from hamdg.stages.source_models import SourceModels, source_models

RESULTS = "regret.json"
RULES = ("leave one source out", "the same, best score", "in-domain", "plain average", "random candidate")


class HeldOutScores(TypedDict):
    """`regret.json`: what candidates score on the held-out domain.

    Attributes:
        identity: What the scores depend on: the hash of what merges do, the digest of the held-out images, and which
            mean of several held-out domains they are.
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
        best: The best candidate.
        chosen: What leave-one-source-out chooses.
        in_domain: What the in-domain rule chooses.
        searched: The searches.
    """

    path: Path
    oracle: float
    values: Mapping[str, float]
    best: Candidate
    chosen: Candidate
    in_domain: Candidate
    searched: Searched


def study(path: Path, budget: int, methods: Sequence[str] = (), clean: bool = False) -> Regrets:
    """Search a run's merges by each rule, then score all candidates on the held-out domain.

    Args:
        path: The trained run.
        budget: How many candidates each rule scores; they have the points of the grid in common.
        methods: The methods to try; all that need no data if there are none.
        clean: As for a search.
    """
    searched = search_merges(path, budget, methods, clean, both=True)
    # Each rule has refined its own best with the same budget, so that none chooses among another's candidates.
    outside, inside = searched.found, searched.in_domain
    assert inside is not None
    tried = list({one.candidate.key: one.candidate for one in (*outside.scored, *inside.scored)}.values())
    with RunDirectory.hold(path) as run:
        recipe = trained_recipe(run)
        tested = _held_out(source_models(recipe, run), run, tried, recipe.evaluate.average)
    scores = {one.key: tested[one.key] for one in tried}
    best = max(tried, key=lambda one: scores[one.key])
    values, chosen = _values(outside, inside, scores), (outside.chosen.candidate, inside.chosen.candidate)
    return Regrets(path, scores[best.key], values, best, *chosen, searched)


def _values(outside: Found, inside: Found, scores: Mapping[str, float]) -> dict[str, float]:
    """Return what each rule's choice scores; of a random candidate, the mean."""
    chosen = (outside.chosen, outside.ranked("leave_one_out")[0], inside.chosen, outside.average)
    values = [*(scores[one.candidate.key] for one in chosen), fmean(scores.values())]
    return dict(zip(RULES, values, strict=True))


def _held_out(
    sources: SourceModels, run: RunDirectory, tried: Sequence[Candidate], kind: Average
) -> Mapping[str, float]:
    """Return what all candidates score on the held-out domain, most of them from before where that was done."""
    file, context = run.path / RESULTS, sources.context
    opened = [open_domain(context.recipe, name, context.preprocess.side) for name in context.targets]
    identity = {"merges": scoring_identity(sources, {}), "held_out": combined_fingerprint(opened), "average": kind}
    before = schema.read(file, HeldOutScores, "delete it, and repeat the study") if file.is_file() else None
    scores = dict(before["scores"]) if before is not None and before["identity"] == identity else {}
    domains = {domain.name: _labeled(context, domain) for domain in opened}
    scorer, network = Scorer(context.device, context.preprocess, context.half), context.network()
    missing = [one for one in tried if one.key not in scores]
    with console.progress(len(missing), "merges tested") as advance:
        for candidate in missing:
            (own,) = scorer.by_domain([Scored(network, sources.merged(candidate))], domains, context.task)
            scores[candidate.key] = average(list(own.values()), kind)
            write_json(file, HeldOutScores(identity=identity, scores=scores))
            advance(1)
    return scores


def _labeled(context: Context, domain: Domain) -> Subset:
    """Return all images of a domain with their true labels, as the evaluation takes them."""
    labels = torch.from_numpy(np.array(domain.clean_labels))
    everything = Subset(context.tested_images(domain), np.arange(len(domain)), labels)
    everything.prepare()
    return everything
