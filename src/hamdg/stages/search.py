"""Searches the merges of a trained run by what they score on source domains; the held-out domain stays closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hamdg import console
from hamdg.config.reading import checked
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import JOIN
from hamdg.data.conflicts import without_domain
from hamdg.data.domain import only_domains
from hamdg.data.find_images import find_images
from hamdg.digests import sha256_file
from hamdg.errors import ConfigError
from hamdg.merge.candidates import Candidate, searchable
from hamdg.merge.method_info import MethodInfo
from hamdg.merge.search import RULES, Found, Outcomes, Rule, Scored, Scorer, find
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import hashed, run_directory
from hamdg.runs.merge_search import SEEN_LABELS, shared_drawings
from hamdg.runs.versions import library_versions
from hamdg.stages import pipeline
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.holdout_scores import HoldoutScores
from hamdg.stages.machine import keep_freed_memory, set_threads
from hamdg.stages.repeating import trained_recipe
from hamdg.stages.search_results import read_results, write_results
from hamdg.stages.source_models import SourceModels, own_candidate, source_models

# Another number for each change of what scores mean.
_SCORING = 2
RESULTS, CLEAN_RESULTS = "search.json", "search-clean.json"


@dataclass(frozen=True)
class Searched:
    """What a search of a run's merges found.

    Args:
        found: What was tried by leave-one-source-out.
        in_domain: What a search by the in-domain rule tried, whose refinement follows that rule; `None` if it was not
            asked for.
        file: Where it is kept.
        own: How the run is merged itself.
        new: How many candidates were scored now, and not before.
        notes: What a reader must know of the scores.
        leaking: Whether the models that were merged for a source have seen it, or its drawings.
    """

    found: Found
    in_domain: Found | None
    file: Path
    own: Candidate
    new: int
    notes: Sequence[str]
    leaking: bool


def search_merges(
    path: Path, budget: int, methods: Sequence[str] = (), clean: bool = False, both: bool = False
) -> Searched:
    """Search the merges of a run's source models by leave-one-source-out; score them in-domain beside it.

    Args:
        path: The trained run.
        budget: How many candidates are scored.
        methods: The methods to try; all that need no data if there are none.
        clean: Train the models that are merged for a source without that source, as runs of their own.
        both: Search by the in-domain rule, too, with a budget of its own.

    Raises:
        ConfigError: It has no model for each of several source domains, or a method cannot be tried.
        RunDirectoryError: A file of the run is missing or damaged.
    """
    infos = searchable(methods)
    with RunDirectory.hold(path) as run:
        recipe = trained_recipe(run)
        find_images(recipe, held_out=False)
        set_threads(recipe.runtime.threads)
        keep_freed_memory()
        sources = source_models(recipe, run)
        _check_count(sources)
        clean_cohorts = _trained_without(sources, recipe) if clean else {}
        left_out = clean_cohorts or {name: sources.without(name) for name in sources.models}
        mixed = not clean and algorithm_of(recipe).mixes_sources
        shared = shared_drawings(recipe.benchmark, sources.context.sources)
        leaking = mixed or bool(shared)
        # Whatever code a merge method calls, no other domain is opened.
        with only_domains(sources.context.sources):
            search = _Search(sources, left_out, run.path / (CLEAN_RESULTS if clean else RESULTS), leaking)
            in_domain = search.run(infos, budget, "in_domain") if both else None
            found = search.run(infos, budget)
    notes = [*_notes(recipe, sources, clean=clean, mixed=mixed), *shared]
    return Searched(found, in_domain, search.file, own_candidate(recipe), search.new, notes, leaking)


class _Search:
    """A search whose scores are kept in a file.

    Args:
        sources: The models.
        left_out: For each source, the models that are merged and scored on it.
        file: The file.
        leaking: Whether these have seen it, or its drawings.
    """

    def __init__(self, sources: SourceModels, left_out: Mapping[str, SourceModels], file: Path, leaking: bool) -> None:
        self.sources = sources
        self.left_out = left_out
        self.file = file
        self.leaking = leaking
        self.new = 0
        self._holdouts = HoldoutScores(sources.context)
        self._identity = scoring_identity(sources, left_out)
        self._known = read_results(file, self._identity)
        own = sources.context.network()
        # A head that is learned from the sources is another one where a source was left out.
        self._networks = {
            name: own if one.context is sources.context else one.context.network() for name, one in left_out.items()
        }

    def run(self, infos: Sequence[MethodInfo], budget: int, by: Rule = "leave_one_out") -> Found:
        """Search, and write what was found."""
        with console.progress(budget, "merges tried") as advance:

            def tell(_: Scored) -> None:
                self.new += 1
                advance(1)
                self._write({})

            found = find(Scorer(self._measure, self._known, tell), infos, budget, by)
        self._write({rule: found.best(rule).candidate for rule in RULES})
        return found

    def _write(self, chosen: Mapping[Rule, Candidate]) -> None:
        images = self._holdouts.images
        write_results(self.file, self._identity, self._known, images, leaking=self.leaking, chosen=chosen)

    def _measure(self, candidate: Candidate) -> Mapping[Rule, Outcomes]:
        self.sources.check(candidate)
        outside = {}
        for name, others in self.left_out.items():
            fewer = candidate.scaled(len(self.sources.models) / len(others.models))
            outside[name] = self._holdouts.outcomes(others.merged(fewer), name, self._networks[name])
        merged = self.sources.merged(candidate)
        inside = {name: self._holdouts.outcomes(merged, name) for name in self.sources.models}
        return {"leave_one_out": outside, "in_domain": inside}


def _trained_without(sources: SourceModels, recipe: Recipe) -> dict[str, SourceModels]:
    """Train, where it is not done, the models that are merged for each source, without it and the held-out domain."""
    # What one of them is refused for is said before the first one is trained.
    recipes, found = {name: _recipe_without(name, sources, recipe) for name in sources.models}, {}
    for name, own in recipes.items():
        console.heading(f"source models without {name}")
        last = pipeline.steps_before_merge(own)[-1]
        pipeline.run(own, until=last, show=False)
        with RunDirectory.hold(run_directory(own)) as run:
            found[name] = source_models(own, run)
    return found


def _recipe_without(name: str, sources: SourceModels, recipe: Recipe) -> Recipe:
    """Return the recipe of the models that are merged for a source.

    Raises:
        ConfigError: It cannot be trained on the others alone.
    """
    # The runs that `leave_out: pairs` of a sweep makes: one serves both domains.
    held_out = JOIN.join(sources.context.bench.targets(JOIN.join([*sources.context.targets, name])))
    data = replace(recipe.data, conflicts=without_domain(recipe.data.conflicts, name))
    controls = replace(recipe.controls, erm=False)
    return checked(replace(recipe, held_out=held_out, label="", data=data, controls=controls))


def _check_count(sources: SourceModels) -> None:
    if len(sources.models) < 2:
        (only,) = sources.models
        raise ConfigError(
            f"`{sources.context.run.path}` has one source domain, `{only}`, and leaving one out needs two or more; "
            "name a run with more source domains."
        )


def scoring_identity(sources: SourceModels, left_out: Mapping[str, SourceModels]) -> str:
    """Return the hash of all that scores of merges depend on, but the images where these are not the sources'.

    Args:
        sources: The models.
        left_out: For each source, the models that are merged and scored on it.
    """
    context = sources.context
    values: dict[str, object] = {
        "scoring": _SCORING,
        "start": context.start_sha256,
        "models": dict(sources.origins),
        "left_out": {name: [sorted(one.models), dict(one.origins)] for name, one in left_out.items()},
        "buffers": context.recipe.merge.buffers,
        "splits": sha256_file(context.run.splits),
        "half": context.half,
        "hamdg": library_versions()["hamdg"],
    }
    return hashed(values)


def _notes(recipe: Recipe, sources: SourceModels, *, clean: bool, mixed: bool) -> list[str]:
    """Return what a reader must know of the scores."""
    notes = []
    if mixed:
        notes.append(
            "LEAKING: the source models have learned from each other's domains, so that none is left out; --clean "
            "trains them without it."
        )
    if len(sources.models) == 2:
        notes.append(
            "With two sources, leave-one-source-out merges one model: it judges what scales and trims a change, and "
            "cannot tell averages apart."
        )
    if recipe.model.learns_text_head and not clean:
        notes.append(SEEN_LABELS)
    return notes
