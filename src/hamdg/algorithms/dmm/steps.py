"""DMM's steps: what each of them reads and leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hamdg import console
from hamdg.algorithms.base import StepResult
from hamdg.algorithms.dmm.arrangement import Arrangement, arrange
from hamdg.algorithms.dmm.clients import START, Client, ClientData, make_clients, start_client
from hamdg.algorithms.dmm.distillation import Distilled, distill, lesson, log_shares, mixed_parts
from hamdg.algorithms.dmm.inversion import check_statistics
from hamdg.algorithms.dmm.loop import Loop
from hamdg.algorithms.dmm.report import (
    distillation_curves,
    say_similarities,
    similarity_figure,
    synthesis_curves,
    write_images,
)
from hamdg.algorithms.dmm.similarity import MEASURES, by_tower, departure, similar_groups, start_alike
from hamdg.algorithms.dmm.synthesis import noise, synthesize, target_classes
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.dmm import Compared, DistillConfig, DmmSettings, Similarity
from hamdg.config.merge_section import merge_options, method_of
from hamdg.config.recipe import HistoryConfig, TrainConfig
from hamdg.data.domain import only_domains
from hamdg.data.module import split_domain
from hamdg.data.subset import holdout
from hamdg.errors import ConfigError
from hamdg.merge import MergeSettings, merge, merge_with
from hamdg.models.batchnorm import reestimated
from hamdg.models.network import Network, frozen
from hamdg.runs.merge_figures import merge_figures
from hamdg.stages.context import Context, check_batchnorm
from hamdg.stages.fit import fit, trained
from hamdg.stages.merging import describe_merge
from hamdg.stages.scoring import Scored, Scorer
from hamdg.text import listed

# Merged are the last models: a client gives away one model, not its trajectory.
_LAST = HistoryConfig(kind="last")
_TITLES: Mapping[Similarity, str] = {
    "task_vectors": "Cosine of the clients' task vectors",
    "weights": "Cosine of the clients' weights",
    "statistics": "Nearness of the clients' statistics of BatchNorm",
}
# Above this the clients went farther from their start than it is long, and most likely into valleys of their own.
_FAR = 1.0
# Names of files in the steps' folders.
IMAGES, REESTIMATED = "images", "reestimated"


def check(context: Context) -> None:
    """Refuse what DMM cannot do, before anything trains.

    Raises:
        ConfigError: If there is no BatchNorm or its statistics are frozen, if the merge method asks for data, if a key
            is about towers that are not trained, or if a Dirichlet split leaves clients without images.
    """
    check_batchnorm(context)
    recipe = context.recipe
    info = method_of(recipe.merge)
    if info.needs:
        raise ConfigError(
            f"`merge.method`: `{info.name}` needs {info.needs[0]} of the images, which the algorithm `dmm` merges "
            "without; choose a method that needs none."
        )
    settings = context.settings(DmmSettings)
    _check_towers(context, settings)
    clients = settings.clients
    if clients.by == "dirichlet" or clients.per_domain > 1:
        with only_domains(context.sources):
            make_clients(recipe, clients, context.data(context.sources))


def _check_towers(context: Context, settings: DmmSettings) -> None:
    """Refuse keys about the towers of a CLIP where there is nothing to choose."""
    merge, chosen = settings.merge, {"merge.tower": settings.merge.tower, "distill.towers": settings.distill.towers}
    for key, value in chosen.items():
        if value != "both" and not context.recipe.model.trains_text:
            raise ConfigError(
                f"`dmm.{key}` is `{value}`, but there is one tower that is trained; leave it out, or set "
                "`model.text_tower` to `trained`, with a CLIP."
            )
    if (merge.tower, merge.similarity) == ("text", "statistics"):
        raise ConfigError(
            "`dmm.merge.tower` is `text`, but `dmm.merge.similarity` is `statistics`, and a text tower has none; "
            "change one of them."
        )


def train_start(context: Context) -> StepResult:
    """Train the common start on a few images of every class and source domain."""
    config = context.settings(DmmSettings).start
    recipe, clients = start_client(context.recipe, config.per_class, context.data(context.sources))
    warmup, every = min(20, config.steps // 10), min(100, config.steps)
    train = TrainConfig(steps=config.steps, lr=config.lr, warmup=warmup, check_every=every, check_images=256)
    data = ClientData(recipe, context.preprocess, clients, config.steps)
    learner = Learner(context.network(), (START,), train, context.task)
    found = trained(context, fit(context, {START: learner}, data=data, history=_LAST))
    # Fewer than of other trainings where the images are few.
    return found._replace(images_seen=config.steps * recipe.data.batch_size)


def train_clients(context: Context) -> StepResult:
    """Train every client on its own images, from the common start."""
    recipe, config = context.recipe, context.settings(DmmSettings).clients
    domains = context.data(context.sources)
    clients = make_clients(recipe, config, domains)
    data = ClientData(recipe, context.preprocess, clients, recipe.train.steps)
    start, learners = start_weights(context), {}
    for name in clients:
        network = context.network()
        network.load(start)
        learners[name] = Learner(network, (name,), recipe.train, context.task)
    counts = {name: one.counts(len(context.bench.classes)) for name, one in clients.items()}
    for name, own in counts.items():
        console.note(f"{name}: {sum(own):,} images; by class: {', '.join(map(str, own))}")
    found = trained(context, fit(context, learners, data=data, history=_LAST))
    # With the hold-out sets of all: each client says what the others' models reach on its own.
    holdouts = {name: holdout(domain, split_domain(recipe, domain)[1]) for name, domain in domains.items()}
    models = [Scored(learner.network, {}) for learner in learners.values()]
    accuracies = Scorer(context.device, context.preprocess, context.half).validation(models, holdouts, context.task)
    validation = dict(zip(clients, accuracies, strict=True))
    return found._replace(facts={**found.facts, "counts": counts, "validation": validation})


def merge_clients(context: Context) -> StepResult:
    """Find out which clients are similar, and merge these."""
    config, recipe = context.settings(DmmSettings).merge, context.recipe
    files, start = context.step("train").history(), start_weights(context)
    clients = files.last
    for name, weights in clients.items():
        check_statistics(name, weights)
    names, network = sorted(clients), context.network()
    towers = by_tower(MEASURES[config.similarity], clients, start, network.tower_of)
    titles = {tower: _title(config.similarity, tower, len(towers) > 1) for tower in towers}
    for tower, pairs in towers.items():
        say_similarities(names, pairs, titles[tower])
    groups = similar_groups(names, towers[config.tower], config.threshold)
    found = arrange(groups, config.student == "all")
    _say(found, groups)
    away = departure(clients, start)
    if not start_alike(files.start) or away > _FAR:
        console.warning(
            f"the clients went {away:.1f} times as far as their start is long: models without a common, trained start "
            "hardly ever merge. Raise `dmm.start.per_class`, or give pretrained weights with `model.weights`."
        )
    options, settings = merge_options(recipe.merge), MergeSettings(buffers=recipe.merge.buffers)

    def merged(members: Sequence[str]) -> dict[str, Tensor]:
        if len(members) == 1:
            return dict(clients[members[0]])
        return merge_with(recipe.merge.method, {one: clients[one] for one in members}, start, options, settings)

    student = merged(found.student)
    context.files.save("merged", student)
    for number, members in enumerate(found.models.values()):
        context.files.save(f"model-{number}", merged(members))
    facts = describe_merge(recipe.merge, start, clients, student)
    note = f"Groups, above {config.threshold:g}: {'; '.join(', '.join(group) for group in groups)}."
    maps = [
        similarity_figure(names, pairs, titles[tower], note if tower == config.tower else "")
        for tower, pairs in towers.items()
    ]
    figures = [*maps, *merge_figures(facts, list(network.layers()))]
    found_pairs = {tower: {"|".join(pair): value for pair, value in pairs.items()} for tower, pairs in towers.items()}
    similarity = {"measure": config.similarity, "pairs": found_pairs[config.tower], "towers": found_pairs}
    found_facts = {"similarity": similarity, "groups": groups, **found._asdict(), "departure": away, "merge": facts}
    return StepResult(found_facts, figures)


def synthesize_images(context: Context) -> StepResult:
    """Synthesize images from every model that the merge left; no training image is read."""
    config, found = context.settings(DmmSettings).synthesize, arrangement_of(context)
    classes = context.bench.classes
    targets = {
        name: target_classes(config.images, len(classes), counts, config.targets)
        for name, counts in _class_counts(context, found).items()
    }
    models = {name: partial(_model, context, number) for number, name in enumerate(found.models)}
    loop = Loop(context, config.steps * len(models), "dmm.synthesize.lr")
    made = synthesize(models, targets, context.preprocess, config, context.recipe.seed, loop, context.device)
    for name, share in made.recognized.items():
        distance = made.curves[name][-1][1]
        console.note(f"{name}: statistics {distance:.3f}; recognized as their targets: {share:.0%}")
    files = context.files
    tensors = {f"images/{name}": own for name, own in made.images.items()}
    files.save(IMAGES, tensors | {f"targets/{name}": own for name, own in targets.items()})
    pictures = write_images(files.folder, context.run.path, made.images, targets, classes, context.preprocess)
    # The average of all clients, whatever is merged: a row of the table.
    average = merge("uniform", context.step("train").history().last)
    parts = (part.to(context.device) for part in mixed_parts(torch.cat(list(made.images.values()))))
    files.save(REESTIMATED, {**average, **reestimated(context.network().to(context.device), average, parts)})
    facts = {
        "images": {name: len(own) for name, own in made.images.items()},
        "statistics": {name: own[-1][1] for name, own in made.curves.items()},
        "recognized": made.recognized,
    }
    return StepResult(facts, [pictures, synthesis_curves(made.curves)])


def distill_models(context: Context) -> StepResult:
    """Distill the divergent models into the merged one, on synthesized images alone."""
    found = arrangement_of(context)
    if not found.teachers:
        console.note("no model is divergent: the merge is the result")
        context.files.save("merged", context.step("merge").load("merged"))
        return StepResult({"teachers": []})
    images = {
        name.removeprefix("images/"): own
        for name, own in context.step("synthesize").load(IMAGES).items()
        if name.startswith("images/")
    }
    made = _distilled(context, images, Loop(context, context.settings(DmmSettings).distill.steps, "dmm.distill.lr"))
    context.files.save("merged", made.weights)
    return StepResult({"teachers": found.teachers}, [distillation_curves(made.curve)])


def distill_bounds(context: Context) -> StepResult:
    """Distill on noise, and on as many training images as were synthesized: what DMM is to lie between."""
    settings, found = context.settings(DmmSettings), arrangement_of(context)
    if not found.teachers:
        merged = context.step("merge").load("merged")
        for name in ("noise", "real"):
            context.files.save(name, merged)
        return StepResult()
    recipe, side = context.recipe, context.preprocess.side
    synthesized = context.step("synthesize").read()["facts"]["images"]
    counts = cast("Mapping[str, int]", synthesized)
    clients = make_clients(recipe, settings.clients, context.data(context.sources))
    images = {
        "noise": {name: noise(name, count, side, recipe.seed) for name, count in counts.items()},
        "real": {
            name: _training_images(context, [clients[one] for one in found.models[name]], count)
            for name, count in counts.items()
        },
    }
    for name, own in images.items():
        made = _distilled(context, own, Loop(context, settings.distill.steps, "dmm.distill.lr", resumable=False))
        context.files.save(name, made.weights)
    return StepResult({"images": dict(counts)}, images_seen=sum(counts.values()))


def start_weights(context: Context) -> dict[str, Tensor]:
    """Return what all clients start from."""
    # Asked of the files, since only the first step declares the section that says so.
    files = context.step(START)
    return files.history().last[START] if files.is_done else context.base()


def best_client(context: Context) -> str:
    """Return the client whose model is best on the hold-out sets of all clients; of equal ones the first."""
    accuracies = cast("Mapping[str, float]", context.step("train").read()["facts"]["validation"])
    return max(accuracies, key=accuracies.__getitem__)


def arrangement_of(context: Context) -> Arrangement:
    """Return what the step `merge` found of the clients."""
    facts: Mapping[str, Any] = context.step("merge").read()["facts"]
    return Arrangement(*(facts[name] for name in Arrangement._fields))


def _title(measure: Similarity, tower: Compared, is_of_several: bool) -> str:
    of = {"both": "both towers", "image": "the image tower", "text": "the text tower"}[tower]
    return _TITLES[measure] + (f", {of}" if is_of_several else "")


def _say(found: Arrangement, groups: Sequence[Sequence[str]]) -> None:
    console.note(f"groups of similar clients: {'; '.join(', '.join(group) for group in groups)}")
    if not found.teachers:
        console.note("no client is divergent: all are merged, and nothing is distilled")
    elif found.itself is None:
        console.note(f"all clients are merged; distilled into the merge: {listed(found.teachers)}")
    else:
        console.note(f"merged: {listed(found.student)}; distilled into the merge: {listed(found.teachers)}")


def _model(context: Context, number: int) -> Network:
    """Return a model that the merge left, frozen."""
    network = context.network()
    network.load(context.step("merge").load(f"model-{number}"))
    return frozen(network)


def _distilled(context: Context, images: Mapping[str, Tensor], loop: Loop) -> Distilled:
    """Distill the divergent models into the merged one on some images of each model."""
    config, found, device = context.settings(DmmSettings).distill, arrangement_of(context), context.device
    numbers = {name: number for number, name in enumerate(found.models)}
    priors = {name: log_shares(counts) for name, counts in _class_counts(context, found).items()}
    lessons = {
        name: lesson(
            _model(context, numbers[name]), images[name], device, priors[name] if config.remove_prior else None
        )
        for name in found.teachers
    }
    own = {}
    if found.itself is not None and _stays_by_outputs(config):
        own = {found.itself: lesson(_model(context, numbers[found.itself]), images[found.itself], device)}
    student, merged = context.network().to(device), context.step("merge").load("merged")
    student.load(merged)
    if config.statistics == "measured":
        parts = (part.to(device) for part in mixed_parts(torch.cat([images[name] for name in found.models])))
        reestimated(student, merged, parts)
    return distill(student, lessons, own, config, context.recipe.seed, loop, device)


def _class_counts(context: Context, found: Arrangement) -> dict[str, list[int]]:
    """Return how many images of each class every model was trained on: those of all clients that it is merged of."""
    counts = cast("Mapping[str, list[int]]", context.step("train").read()["facts"]["counts"])
    return {
        name: [sum(column) for column in zip(*(counts[member] for member in members), strict=True)]
        for name, members in found.models.items()
    }


def _stays_by_outputs(config: DistillConfig) -> bool:
    return config.stay == "outputs" and config.stay_weight > 0


def _training_images(context: Context, clients: Sequence[Client], count: int) -> Tensor:
    """Return training images of some clients, drawn by the seed, as models take them."""
    generator = np.random.default_rng(context.recipe.seed)
    shares = [count // len(clients) + (number < count % len(clients)) for number in range(len(clients))]
    found = []
    for client, share in zip(clients, shares, strict=True):
        chosen = generator.permutation(client.training)[: min(share, len(client.training))]
        images = client.domain.evaluation.read(chosen)
        # The sizes of images that are evaluated are all the same.
        assert isinstance(images, Tensor)
        found.append(context.preprocess(images))
    return torch.cat(found)
