"""DMM: clients that share no data are merged, and divergent ones are distilled on synthesized images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from hamdg.algorithms.base import SOURCE, Algorithm, Entry, Step
from hamdg.algorithms.dmm import steps
from hamdg.algorithms.dmm.clients import START, client_names
from hamdg.algorithms.dmm.rows import averages
from hamdg.config.algorithms.dmm import DmmSettings
from hamdg.data.benchmark import TaskName
from hamdg.runs.record import Reads
from hamdg.stages.context import Context
from hamdg.stages.entries import ENSEMBLE, ensemble_entry, start_entries
from hamdg.stages.merging import sources_of

LABEL = "DMM (reconstruction)"
_AVERAGES = ("average_first", "average_naive", "average", "ties")
_BOUNDS = {"dmm_noise": ("noise", "DMM on noise"), "dmm_real": ("real", "DMM on training images")}


class Dmm(Algorithm):
    """Models of clients with images of their own: similar ones are merged, divergent ones distilled into the merge.

    No step after the training of the clients reads an image, but for `bounds`, which a recipe has to ask for.
    """

    name: ClassVar[str] = "dmm"
    title: ClassVar[str] = LABEL
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification",)

    @property
    def settings(self) -> DmmSettings:
        """The recipe's section `dmm`."""
        return cast("DmmSettings", self.recipe.settings)

    @property
    def footnote(self) -> str:
        """What is published, and what is our reconstruction."""
        return (
            f"{LABEL}: its three steps are published; similarity, grouping and the losses of synthesis and "
            "distillation are our reconstruction."
        )

    @property
    def clients(self) -> tuple[str, ...]:
        """The names of the clients."""
        return client_names(self.settings.clients, sources_of(self.recipe))

    def steps(self) -> Sequence[Step]:
        """Return the training of the start and of the clients, and the three steps without any images."""
        nothing, own = frozenset[Reads](), self.settings
        found = [
            Step(
                "train",
                steps.train_clients,
                sections=frozenset({"train", "dmm.clients"}),
                check=steps.check,
                learners=self.clients,
            ),
            Step("merge", steps.merge_clients, nothing, frozenset({"merge", "dmm.merge"})),
            Step("synthesize", steps.synthesize_images, nothing, frozenset({"dmm.synthesize"})),
            Step("distill", steps.distill_models, nothing, frozenset({"dmm.distill"})),
        ]
        if own.start.per_class:
            start = Step(START, steps.train_start, sections=frozenset({"dmm.start"}), learners=[START])
            found.insert(0, start)
        if own.bounds.enabled:
            sections = frozenset({"dmm.clients", "dmm.distill", "dmm.bounds"})
            found.append(Step("bounds", steps.distill_bounds, sections=sections))
        return found

    def entries(self, context: Context) -> Sequence[Entry]:
        """Return start, clients, their ensemble, merges without images, bounds, and DMM's result."""
        network, clients = context.network(), context.step("train").history().last
        start, merged = steps.start_weights(context), context.step("merge").load("merged")
        known = [*start_entries(context, network)]
        if self.settings.start.per_class:
            known.append(Entry("start", "common start", "control", network, start))
        best = steps.best_client(context)
        found = [
            *known,
            *(Entry(f"{SOURCE}{name}", f"client: {name}", "source", network, clients[name]) for name in self.clients),
            Entry("best_client", "best client on the hold-out sets", "control", network, clients[best]),
            ensemble_entry(context, clients.values(), "ensemble of the clients"),
        ]
        for key, (label, weights) in averages(clients, start).items():
            found.append(Entry(key, label, "control", network, weights))
        statistics = context.step("synthesize").load(steps.REESTIMATED)
        found += [
            Entry("average_synthesized", "average, statistics of synthesized images", "control", network, statistics),
            Entry("merged", self._merged_label(context), "control", network, merged),
        ]
        if self.settings.bounds.enabled:
            for key, (file, label) in _BOUNDS.items():
                note = "reads training images, which DMM does without" if file == "real" else ""
                found.append(Entry(key, label, "control", network, context.step("bounds").load(file), note))
        result = context.step("distill").load("merged")
        return [*found, Entry(self.name, self.label, "merged", network, result)]

    def keys(self, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of these rows."""
        own = self.settings
        start = ["start"] if own.start.per_class else []
        clients = [f"{SOURCE}{name}" for name in self.clients]
        bounds = list(_BOUNDS) if own.bounds.enabled else []
        kinds = ("best_client", ENSEMBLE, *_AVERAGES, "average_synthesized", "merged")
        return (*self.start_keys, *start, *clients, *kinds, *bounds, self.name)

    def _merged_label(self, context: Context) -> str:
        which = "all clients" if len(steps.arrangement_of(context).student) == len(self.clients) else "main group"
        return f"{which}, merged by {self.recipe.merge.method}"
