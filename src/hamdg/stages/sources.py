"""Opens a run's source domains, and ensures that all steps of the run work on the same images and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import numpy as np

from hamdg import console
from hamdg.config.data import RENDERED
from hamdg.config.recipe import Recipe
from hamdg.data.activations import FrozenLayers
from hamdg.data.benchmark import Benchmark
from hamdg.data.contents import contents_digest
from hamdg.data.domain import Domain
from hamdg.data.label_maps import IGNORED
from hamdg.data.listing import Listing
from hamdg.data.lists.meaning import read_lists
from hamdg.data.module import SourceData, draws_training_part, split_domain, target_positions, training_part
from hamdg.data.resolve import benchmark_of, place_of
from hamdg.data.splits import Indices, image_classes, seed_hash
from hamdg.data.subset import Subset
from hamdg.data.verify.versions import agrees
from hamdg.errors import DataError
from hamdg.files import write_json
from hamdg.runs import schema
from hamdg.runs.directory import RunDirectory
from hamdg.stages.context import Context
from hamdg.text import counted, listed


class SplitFacts(TypedDict):
    """How a domain was split.

    Attributes:
        environment: The domain's position among the benchmark's domains, from which DomainBed's rule makes its seed.
        seed: That seed.
        images: How many images the domain has.
        validation: How many of them validate.
        validation_sha256: Digest of their positions, as little-endian 64-bit integers in DomainBed's order.
        fingerprint: What tells these images from others: a digest of names, sizes and labels, or of images.
        contents: Digest of what is in the files, where images are files (`hamdg.data.contents`); earlier runs have
            none.
        training: With `data.shots` or `data.conflicts.imbalance`: how many of a source domain's images are trained on.
        training_sha256: The digest of their positions.
    """

    environment: int
    seed: int
    images: int
    validation: int
    validation_sha256: str
    fingerprint: str
    contents: NotRequired[str]
    training: NotRequired[int]
    training_sha256: NotRequired[str]


class Splits(TypedDict):
    """`splits.json`: how the source domains were split, and which of their images validate."""

    rule: str
    trial_seed: int
    fraction: float
    domains: dict[str, SplitFacts]
    validation_positions: dict[str, list[int]]


def open_sources(context: Context, begun: bool, layers: FrozenLayers | None = None) -> SourceData:
    """Open and split the source domains; `splits.json` is written when a run begins and obeyed from then on.

    Args:
        context: The run.
        begun: Whether the run has learned something; before, damaged images may be taken away.
        layers: The frozen layers whose activations stand for the images of hold-out sets, where these are kept.

    Raises:
        DataError: If the images are not those that the run began with, or no pixel of a hold-out set has a class.
    """
    data = SourceData(context.recipe, context.preprocess, layers=layers, device=context.device)
    data.setup()
    run, found = context.run, _found(context, data)
    if begun:
        _compare(run, schema.read(run.splits, Splits)["domains"], found)
    else:
        _check_labeled(data)
        _write(context, found, data)
        _announce(context.recipe, data)
    return data


def check_sources(context: Context) -> None:
    """Refuse images that no run could begin with, without writing anything.

    Raises:
        DataError: If a source domain cannot be opened and split, or no pixel of a hold-out set has a class.
    """
    data = SourceData(context.recipe, context.preprocess, device=context.device)
    with console.output(quiet=True):  # the run says it when it begins
        data.setup()
    _check_labeled(data)


def _check_labeled(data: SourceData) -> None:
    """Refuse a hold-out set of which no metric would be a number.

    Raises:
        DataError: If no pixel of its label maps has a class.
    """
    for name, part in data.validation_part.items():
        held = data.domains[name].labels[part]
        if held.ndim > 1 and len(held) and not (held != IGNORED).any():
            raise DataError(
                f"domain `{name}` has {counted(len(held), 'label map')} to validate on, and no pixel of a class in "
                "them; raise `data.validation_fraction`, or give the domain more label maps."
            )


def open_holdouts(context: Context) -> dict[str, Subset]:
    """Return the sources' hold-out sets, as the run's networks take them, once it has learned something.

    Raises:
        DataError: If the images are not those that the run began with.
    """
    return open_sources(context, begun=True, layers=context.trunk).holdouts()


def learned_from_these(context: Context, other: RunDirectory) -> bool:
    """Return whether another run, which is trained, began with the images and splits that this one would take."""
    data = SourceData(context.recipe, context.preprocess)
    data.setup()
    before, now = schema.read(other.splits, Splits)["domains"], _found(context, data)
    return before.keys() == now.keys() and all(same_images(before[name], now[name]) for name in now)


def check_learned_from_these(context: Context, other: RunDirectory) -> None:
    """Check what `learned_from_these` returns.

    Raises:
        DataError: If the other run began with other images or splits.
    """
    data = SourceData(context.recipe, context.preprocess)
    data.setup()
    _compare(other, schema.read(other.splits, Splits)["domains"], _found(context, data))


def _found(context: Context, data: SourceData) -> dict[str, SplitFacts]:
    return {name: split_facts(context.recipe, domain, source=True) for name, domain in data.domains.items()}


def split_facts(recipe: Recipe, domain: Domain, *, source: bool) -> SplitFacts:
    """Return what is recorded of a domain's split.

    Args:
        recipe: The run's recipe.
        domain: The domain.
        source: Whether it is a source domain, whose validation part is the recipe's, and in which `data.shots` are
            drawn; of a target, what no step may see is recorded as that part.
    """
    environment = benchmark_of(recipe).domains.index(domain.name)
    parts = split_domain(recipe, domain) if source else target_positions(recipe, domain.name, len(domain))
    validation = parts[1]
    facts: SplitFacts = {
        "environment": environment,
        "seed": seed_hash(recipe.seed, environment),
        "images": len(domain.labels),
        "validation": len(validation),
        "validation_sha256": _digest(validation),
        "fingerprint": domain.fingerprint,
    }
    if source and draws_training_part(recipe):
        training = training_part(recipe, domain)
        facts |= {"training": len(training), "training_sha256": _digest(training)}
    if isinstance(domain.contents, Listing):
        facts["contents"] = contents_digest(domain.contents)
    return facts


def same_images(before: Mapping[str, object], now: SplitFacts) -> bool:
    """Return whether two records are of the same split of the same images, as far as the earlier one can tell."""
    return before == {name: value for name, value in now.items() if name in before}


def _digest(positions: Indices) -> str:
    return hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()


def _announce(recipe: Recipe, data: SourceData) -> None:
    """Print which images these are, what was changed of them, and whether they are those of a published copy."""
    _announce_conflicts(recipe, data)
    if recipe.benchmark in RENDERED:
        return
    place, bench = place_of(recipe), benchmark_of(recipe)
    counts = {
        name: np.bincount(image_classes(domain.labels), minlength=len(bench.classes))
        for name, domain in data.domains.items()
    }
    numbers = ", ".join(f"{name} {own.sum():,}" for name, own in counts.items())
    console.note(f"images of {bench.title or bench.name} in `{place.where}`: {numbers}")
    if place.lists is not None and (repeated := read_lists(place.lists, bench).repeated):
        console.note(f"lines of `data.lists` that repeat others: {repeated:,}; each image counts once")
    if recipe.data.truncated == "read":
        console.note("truncated files are read as far as they go (`data.truncated`)")
    if bench.left_out:
        console.note(f"left out, since `data.domains` names others: {listed(bench.left_out, 12)}")
    if recipe.data.shots is not None:
        few = ", ".join(f"{name} {len(part):,}" for name, part in data.train_part.items())
        console.note(f"trained on, of {recipe.data.shots} images per class or all that there are: {few}")
    if recipe.data.subset is None and bench.versions:
        console.note(f"version: {_version_of(bench, counts)}")


def _announce_conflicts(recipe: Recipe, data: SourceData) -> None:
    wrong = {name: int((one.labels != one.clean_labels).sum()) for name, one in data.domains.items()}
    if said := [f"{name} {count:,} of {len(data.domains[name]):,}" for name, count in wrong.items() if count]:
        console.note(f"labels that were made wrong on purpose: {', '.join(said)}")
    if recipe.data.conflicts.imbalance > 1:
        left = ", ".join(f"{name} {len(part):,}" for name, part in data.train_part.items())
        console.note(f"trained on, of what `data.conflicts.imbalance` leaves: {left}")


def _version_of(bench: Benchmark, counts: Mapping[str, Indices]) -> str:
    """Return which published copies have these images in the source domains; the held-out one is not looked at."""
    same = [one.name for one in bench.versions if all(agrees(one, name, own) for name, own in counts.items())]
    if not same:
        return f"no known version; `hamdg data verify {bench.name}` says what differs"
    return " or ".join(same) + (", which have the same sources" if len(same) > 1 else "")


def _write(context: Context, found: Mapping[str, SplitFacts], data: SourceData) -> None:
    positions = {name: part.tolist() for name, part in data.validation_part.items()}
    recipe = context.recipe
    whole: dict[str, object] = {
        "rule": "DomainBed",
        "trial_seed": recipe.seed,
        "fraction": recipe.data.validation_fraction,
        "domains": found,
        "validation_positions": positions,
    }
    if recipe.data.subset is not None:
        whole["subset"] = recipe.data.subset
    if recipe.data.shots is not None:
        whole["shots"] = recipe.data.shots
    if draws_training_part(recipe):
        whole["training_positions"] = {name: part.tolist() for name, part in data.train_part.items()}
    write_json(context.run.splits, whole)


def _compare(run: RunDirectory, before: Mapping[str, SplitFacts], now: Mapping[str, SplitFacts]) -> None:
    remedy = "bring those back, or start again with `--force` (a control: by deleting its folder)."
    if before.keys() != now.keys():
        raise DataError(
            f"`{run.path}` began with the source domains {listed(list(before))}, but now they are "
            f"{listed(list(now))}; {remedy}"
        )
    changed = [name for name in now if not same_images(before[name], now[name])]
    if changed:
        was, is_now = before[changed[0]]["images"], now[changed[0]]["images"]
        numbers = f"{was:,} then, {is_now:,} now" if was != is_now else f"{was:,} then as now, but not the same"
        raise DataError(
            f"`{run.path}` began with other images of `{changed[0]}` ({numbers}; "
            f"`{run.splits.name}` has their digests); {remedy}"
        )
