"""What a run's steps work with: the recipe as far as they declare it, the domains, the network, their own files."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar, overload

import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from hamdg.algorithms.base import Algorithm, Step
from hamdg.config.recipe import Recipe
from hamdg.data.activations import tested_images
from hamdg.data.benchmark import Benchmark
from hamdg.data.domain import Domain, open_domain
from hamdg.data.images import Images
from hamdg.data.preprocess import Preprocess
from hamdg.data.resolve import benchmark_of, prompts_of, words_of
from hamdg.errors import ConfigError, WeightsError
from hamdg.merge.tensors import sha256_tensors
from hamdg.models.classifier import LoadedClassifier
from hamdg.models.clip import LoadedClip
from hamdg.models.clip_classifier import ClipClassifier, ClipTowers
from hamdg.models.clip_with_head import ClipWithHead
from hamdg.models.image_classifier import ImageClassifier, fresh_head
from hamdg.models.learned_head import digest, read_head
from hamdg.models.logistic import Linear
from hamdg.models.network import Network, has_batchnorm
from hamdg.models.pretrained import Pretrained, load_pretrained
from hamdg.models.segmenter import LoadedSegmenter, Segmenter
from hamdg.models.text_head import encode_prompts, logit_scale, prompt_tokens
from hamdg.models.trunk import Trunk, split_trunk
from hamdg.progress import Progress
from hamdg.runs.directory import RunDirectory
from hamdg.runs.steps import read_start
from hamdg.stages.discovery import algorithm_of
from hamdg.stages.machine import pick_device
from hamdg.stages.narrowing import narrowed
from hamdg.stages.processes import check_processes
from hamdg.stages.step_files import StepFiles
from hamdg.tasks.base import Task
from hamdg.tasks.classification import Classification
from hamdg.tasks.registry import TASKS
from hamdg.tracking.tracker import StepTracker

S = TypeVar("S")
N = TypeVar("N", bound=Network)


@dataclass(frozen=True)
class Context:
    """What a run, or one of its steps, works with; a step's has only what the step declares.

    Args:
        recipe: The recipe; in a step, sections that it does not declare raise when they are used.
        run: The run's directory, opened.
        pretrained: What training starts from.
        start_sha256: Digest of all its tensors.
        task: What is learned and measured.
        heads: Class features by their kind, kept for the contexts of one command: a run and its controls.
        readable: The domains that may be opened; `None` where no step limits them.
        current: The step's name, in a step.
        identity: The hash of all that the step depends on.
        unlearned: Whether nothing is learned yet, so that learned class features are zeros: for checks of steps.
        spent: Seconds of earlier processes on the step, which those that go on with it add.
        tracker: The loggers that follow the step beside `metrics.csv`.
        progress: How far the whole command is.
    """

    recipe: Recipe
    run: RunDirectory
    pretrained: Pretrained
    start_sha256: str
    task: Task = field(default_factory=Classification)
    heads: dict[str, Linear] = field(default_factory=dict)
    readable: frozenset[str] | None = None
    current: str = ""
    identity: str = ""
    unlearned: bool = False
    spent: list[float] = field(default_factory=list)
    tracker: StepTracker | None = None
    progress: Progress = field(default_factory=Progress)

    @property
    def bench(self) -> Benchmark:
        """Return the benchmark."""
        return benchmark_of(self.recipe)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the source domains."""
        return self.bench.sources(self.recipe.held_out, self.recipe.excluded)

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the held-out domains."""
        return self.bench.targets(self.recipe.held_out)

    @property
    def device(self) -> torch.device:
        """Return the device that `runtime.device` names."""
        return pick_device(self.recipe.runtime.device)

    @property
    def half(self) -> bool:
        """Return whether networks compute in bf16, in training and wherever else they are run for a result."""
        precision = self.recipe.runtime.precision
        return precision == "bf16" or (precision == "auto" and self.device.type == "cuda")

    @property
    def preprocess(self) -> Preprocess:
        """Return what the model expects of its images."""
        return self.pretrained.preprocess

    @property
    def clip(self) -> LoadedClip:
        """Return the pretrained CLIP.

        Raises:
            ConfigError: If the recipe's model is none.
        """
        if not isinstance(self.pretrained, LoadedClip):
            raise ConfigError(
                f"The algorithm `{self.recipe.algorithm}` needs a CLIP with its text tower, but `model.name` "
                f"`{self.recipe.model.name}` is an image classifier; choose a CLIP."
            )
        return self.pretrained

    @cached_property
    def algorithm(self) -> Algorithm:
        """Return the recipe's algorithm."""
        return algorithm_of(self.recipe)

    def data(self, names: Sequence[str]) -> dict[str, Domain]:
        """Open domains; targets come without labels.

        Raises:
            WallError: If the step does not declare that it reads them.
        """
        hidden, side = self.targets if self.readable is not None else (), self.preprocess.side
        return {name: open_domain(self.recipe, name, side, labeled=name not in hidden) for name in names}

    def tested_images(self, domain: Domain) -> Images:
        """Return a domain's images as models are tested on them; with `data.views`, their activations."""
        return tested_images(self.recipe, domain, self.preprocess, self.trunk, self.device)

    def settings(self, kind: type[S]) -> S:
        """Return the algorithm's own section of the recipe, typed.

        Raises:
            TypeError: If the algorithm has another section.
        """
        settings = self.recipe.settings
        if not isinstance(settings, kind):
            raise TypeError(f"Expected the settings of `{self.recipe.algorithm}` to be a `{kind.__name__}`.")
        return settings

    @overload
    def network(self) -> Network: ...

    @overload
    def network(self, kind: type[N]) -> N: ...

    def network(self, kind: type[Network] = Network) -> Network:
        """Return a new network that starts from the pretrained weights.

        Raises:
            ConfigError: If the recipe's model is of another kind than the algorithm needs.
        """
        network = self._new_network()
        network.live_statistics = self.recipe.model.statistics == "live"
        if isinstance(network, ImageClassifier) and not self.recipe.model.train_head:
            network.head.requires_grad_(False)
        if not isinstance(network, kind):
            raise ConfigError(
                f"The algorithm `{self.recipe.algorithm}` needs a `{kind.__name__}`, but `model.name` "
                f"`{self.recipe.model.name}` is a `{type(network).__name__}`; choose another model."
            )
        return network

    def _new_network(self) -> Network:
        if isinstance(self.pretrained, LoadedClassifier):
            blocks = self.recipe.model.frozen_blocks
            layer = self.class_layer
            return ImageClassifier(self.pretrained, layer.weight, self.bench.classes, blocks, layer.bias)
        if isinstance(self.pretrained, LoadedSegmenter):
            return Segmenter(self.pretrained)
        if self.recipe.model.trains_text:
            tokens = prompt_tokens(self.clip, words_of(self.recipe), prompts_of(self.recipe))
            return ClipTowers(self.clip, tokens, len(self.bench.classes))
        if self.recipe.model.head == "linear":
            bias = torch.zeros(len(self.bench.classes))
            return ClipWithHead(self.clip, self.text_head, bias, normalized=False, classes=self.bench.classes)
        if self.recipe.model.head == "trained":
            return ClipWithHead(self.clip, logit_scale(self.clip) * self.text_head, classes=self.bench.classes)
        return ClipClassifier(self.clip, self.text_head)

    @cached_property
    def trunk(self) -> Trunk | None:
        """The frozen layers of an image classifier, on the run's device; `None` where all of its layers are trained."""
        if not isinstance(self.pretrained, LoadedClassifier) or not self.recipe.model.frozen_blocks:
            return None
        encoder = copy.deepcopy(self.pretrained.encoder)
        return split_trunk(encoder, self.recipe.model.frozen_blocks).to(self.device)

    def step(self, name: str) -> StepFiles:
        """Return the files of a step of this run, to read or to write."""
        return StepFiles(self.run.path, name)

    @property
    def files(self) -> StepFiles:
        """Return the files of the current step."""
        return self.step(self.current)

    def loggers(self, last_step: int = 0) -> list[Logger]:
        """Return the loggers that follow the step, opened when they are first asked for.

        Args:
            last_step: What was measured after this training step is about to be measured again.
        """
        return self.tracker.loggers(last_step) if self.tracker is not None else []

    def base(self) -> dict[str, Tensor]:
        """Return copies of the pretrained weights, as histories and merges see them."""
        # A CLIP's class features, which may still have to be learned, are among them where a layer starts from them.
        network = (self if self.recipe.model.trains_head else replace(self, unlearned=True)).network()
        return {name: tensor.detach().clone() for name, tensor in network.weights().items()}

    def start_state(self) -> Mapping[str, Tensor]:
        """Return all tensors of the whole model before training, as files of it hold them."""
        if not self.recipe.model.has_text:
            return self.network().state()
        # A linear layer that is trained along has the names of no CLIP.
        layer = self.base() if self.recipe.model.trains_head else {}
        return {**self.pretrained.state(), **layer}

    def narrowed(self, step: Step, identity: str) -> Context:
        """Return the context of a step: the sections and the domains that it declares."""
        readable = {"sources": self.sources, "targets": self.targets}
        names = frozenset(name for kind in step.reads for name in readable[kind])
        recipe = narrowed(self.recipe, step.sections, step.name)
        return replace(self, recipe=recipe, readable=names, current=step.name, identity=identity, spent=[])

    @property
    def text_head(self) -> Tensor:
        """Return the weight of `class_layer` [classes, d], which is all of it but for some image classifiers."""
        return self.class_layer.weight

    @property
    def class_layer(self) -> Linear:
        """Return what stands for the classes [classes, d]: features of the prompts, or learned from the sources.

        An image classifier's linear layer starts from them; in place of prompts it has what the seed draws.

        Raises:
            ConfigError: If the text tower cannot tell the classes apart.
            WeightsError: If the learned ones are missing, damaged or replaced.
        """
        kind = self.recipe.model.text_head
        if kind != "prompts" and self.unlearned:
            return Linear(torch.zeros(len(self.bench.classes), self.pretrained.width))
        if kind != "prompts":
            return self._learned_head()
        if isinstance(self.pretrained, LoadedSegmenter):
            return Linear(self.pretrained.head)
        if not self.recipe.model.uses_text:
            return Linear(fresh_head(len(self.bench.classes), self.pretrained.width, self.recipe.seed))
        if kind not in self.heads:
            words = words_of(self.recipe)
            prompts, trained = prompts_of(self.recipe), self.recipe.model.trains_text
            encoded = encode_prompts(self.clip, self.bench.classes, prompts, words, trains_text=trained)
            self.heads[kind] = Linear(encoded)
        return self.heads[kind]

    def head_facts(self, head: Linear) -> dict[str, str]:
        """Return what a run says of what stands for its classes."""
        model = self.recipe.model
        own = "last_layers" if model.segments else "random"
        facts = {"kind": model.text_head if model.knows_classes else own, "sha256": digest(head)}
        if not model.trains_head:
            return facts | ({"use": "start of a text tower that is trained"} if model.trains_text else {})
        return facts | {"use": "start of the last layers" if model.segments else "start of a linear layer"}

    def _learned_head(self) -> Linear:
        head = read_head(self.run.class_features)
        if self.run.start.exists() and read_start(self.run)["class_features"] != self.head_facts(head):
            raise WeightsError(
                f"The class features `{self.run.class_features}` are not those that the run was trained with; repeat "
                "the run with `--force`."
            )
        return head


def open_context(recipe: Recipe, run: RunDirectory) -> Context:
    """Load what the steps of a run share.

    Raises:
        ConfigError: If the model or a device does not exist.
        WeightsError: If the model's weights cannot be loaded.
    """
    check_processes(recipe.runtime, pick_device(recipe.runtime.device))
    bench = benchmark_of(recipe)
    pretrained = load_pretrained(recipe.model, bench.classes, recipe.seed, recipe.data.scenes.image_size)
    # Of everything that a run starts from, the text tower included.
    return Context(recipe, run, pretrained, sha256_tensors(pretrained.state()), TASKS[bench.task])


def check_batchnorm(context: Context) -> None:
    """Check that there are BatchNorm statistics, and that training moves them; for algorithms that work with them.

    Raises:
        ConfigError: If the recipe's model has none, or they are frozen.
    """
    recipe = context.recipe
    if not has_batchnorm(context.pretrained.encoder):
        raise ConfigError(
            f"The algorithm `{recipe.algorithm}` works with the statistics of BatchNorm, but `model.name` "
            f"`{recipe.model.name}` has no BatchNorm; choose another model, such as `mini-resnet8`."
        )
    if recipe.model.statistics != "live":
        raise ConfigError(
            f"The algorithm `{recipe.algorithm}` works with the statistics of BatchNorm that each model's own images "
            f"leave, but `model.statistics` is `{recipe.model.statistics}`, so that all models would have the start's; "
            "set it to `live`."
        )
