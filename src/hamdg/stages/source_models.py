"""The source models of a trained run, one for each source domain, to be merged in several ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from hamdg.algorithms.base import Step, StepResult
from hamdg.config.merge_section import method_of
from hamdg.config.recipe import Recipe
from hamdg.data.domain import only_domains
from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge_with
from hamdg.merge.candidates import Candidate
from hamdg.models.network import Weights
from hamdg.runs.directory import RunDirectory
from hamdg.stages.context import Context, open_context
from hamdg.stages.pipeline import steps_before_merge
from hamdg.stages.start import check_start
from hamdg.stages.step_files import joined


@dataclass(frozen=True)
class SourceModels:
    """The histories of a run's source models.

    Args:
        context: The run, as a step sees it that reads the sources.
        models: The history of each source, by the source's name.
        base: What training started from.
        origins: What the histories were made of: digests of their files.
    """

    context: Context
    models: Mapping[str, Weights]
    base: Weights
    origins: Mapping[str, str]

    def check(self, candidate: Candidate) -> None:
        """Merge copies of the start, at no cost: what cannot merge so many models says so.

        Raises:
            ConfigError: The candidate cannot merge them.
        """
        merge_with(candidate.method, dict.fromkeys(self.models, self.base), self.base, candidate.options)

    def merged(self, candidate: Candidate) -> Weights:
        """Return what a candidate makes of all models."""
        settings = MergeSettings(buffers=self.context.recipe.merge.buffers)
        return merge_with(candidate.method, self.models, self.base, candidate.options, settings)

    def without(self, source: str) -> SourceModels:
        """Return the models but one."""
        return replace(self, models={name: own for name, own in self.models.items() if name != source})


def source_models(recipe: Recipe, run: RunDirectory) -> SourceModels:
    """Return the source models of a trained run.

    Args:
        recipe: Its recipe.
        run: The run, held.

    Raises:
        ConfigError: It has no model for each source domain.
        RunDirectoryError: A file of its histories is missing or another.
    """
    whole = open_context(recipe, run)
    step = Step("merge", lambda _: StepResult(), sections=frozenset({"merge"}))
    context = whole.narrowed(step, "")
    with only_domains(context.sources):
        check_start(whole)
        found = joined(whole.step(name).history() for name in _steps_with_models(whole))
        base = context.base()
    if set(found.history) != set(context.sources) or not _learned_from_their_own(whole):
        raise ConfigError(
            f"`{run.path}` is a run of `{recipe.algorithm}`, whose models are not one for each source domain, so that "
            "no domain can be left out of a merge; name a run whose source models learn from one domain each."
        )
    return SourceModels(context, found.history, base, found.origins)


def own_candidate(recipe: Recipe) -> Candidate:
    """Return how a run is merged itself, as a candidate."""
    known = method_of(recipe.merge).options
    options = {name: value for name, value in recipe.merge.options.items() if value != known[name].default}
    return Candidate(recipe.merge.method, options)


def _steps_with_models(context: Context) -> list[str]:
    return [name for name in steps_before_merge(context.recipe) if context.step(name).index.is_file()]


def _learned_from_their_own(context: Context) -> bool:
    own: dict[str, list[str]] = {}
    for name in _steps_with_models(context):
        own |= cast("dict[str, list[str]]", context.step(name).read()["facts"].get("learners", {}))
    return all(domains == [name] for name, domains in own.items())
