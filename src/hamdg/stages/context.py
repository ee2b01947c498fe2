"""What all stages of a run share: the loaded CLIP, its text head, the device."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from hamdg.algorithms import plan
from hamdg.algorithms.base import AlgorithmPlan
from hamdg.config.checks import THREADS
from hamdg.config.recipe import MergeConfig, Recipe
from hamdg.data.benchmark import Benchmark
from hamdg.data.parallel import limit_threads
from hamdg.data.preprocess import Preprocess
from hamdg.data.resolve import benchmark_of, prompts_of, words_of
from hamdg.errors import ConfigError, WeightsError
from hamdg.models.clip import LoadedClip, load_clip
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.models.learned_head import head_digest, read_head
from hamdg.models.text_head import encode_prompts
from hamdg.models.tower import ImageTower
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity
from hamdg.stages.summaries import read_train


@dataclass(frozen=True)
class Context:
    """A run's recipe, its directory, and what is computed from the recipe once.

    Args:
        recipe: The run's recipe.
        run: The run's directory, opened.
        loaded: The CLIP that is fine-tuned.
        heads: Class features by their kind, kept for the contexts of one command: a run and its control.
    """

    recipe: Recipe
    run: RunDirectory
    loaded: LoadedClip
    heads: dict[str, Tensor] = field(default_factory=dict)

    @property
    def bench(self) -> Benchmark:
        """Return the benchmark."""
        return benchmark_of(self.recipe)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the source domains."""
        return self.bench.sources(self.recipe.held_out, self.recipe.excluded)

    @property
    def plan(self) -> AlgorithmPlan:
        """Return the algorithm's plan."""
        return plan(self.recipe.algorithm)

    @property
    def merge_config(self) -> MergeConfig:
        """Return how histories are fused: as the recipe says, or averaged by an algorithm that does not merge."""
        return self.recipe.merge if self.plan.merges else MergeConfig(method="uniform")

    @property
    def model_config(self) -> Path:
        """Return the file that open_clip builds the merged model from; open_clip knows models by the names of files."""
        name = re.sub(r"[^\w.-]", "-", self.loaded.name)
        return self.run.path / f"hamdg-{name}-{identity(self.recipe)}.json"

    @property
    def device(self) -> torch.device:
        """Return the device that `runtime.device` names."""
        return pick_device(self.recipe.runtime.device)

    @property
    def text_head(self) -> Tensor:
        """Return the class features [classes, d]: of the prompts, or what the train stage learned from the sources.

        Raises:
            ConfigError: If the text tower cannot tell the classes apart.
            WeightsError: If what the train stage wrote is missing, damaged or replaced.
        """
        kind = self.recipe.model.text_head
        if kind != "prompts":
            return self._learned_head()
        if kind not in self.heads:
            words = words_of(self.recipe)
            self.heads[kind] = encode_prompts(self.loaded, self.bench.classes, prompts_of(self.recipe), words)
        return self.heads[kind]

    def _learned_head(self) -> Tensor:
        head = read_head(self.run.class_features)
        facts = {"kind": self.recipe.model.text_head, "sha256": head_digest(head)}
        if self.run.train.exists() and read_train(self.run).get("class_features") != facts:
            raise WeightsError(
                f"The class features `{self.run.class_features}` are not those that the run was trained with; repeat "
                "the run with `--force`."
            )
        return head

    @cached_property
    def start_digest(self) -> str:
        """Return the SHA-256 of everything that a run starts from: the whole CLIP, text tower included."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.loaded.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def preprocess(self) -> Preprocess:
        """Return what the model expects of its images."""
        return Preprocess(self.loaded.image_size, self.loaded.mean, self.loaded.std)

    def network(self) -> ClipClassifier:
        """Return a fresh classifier with the pretrained image tower."""
        return ClipClassifier(self.loaded, self.text_head)

    def base(self) -> dict[str, Tensor]:
        """Return the pretrained values of all parameters that training changes."""
        return {name: parameter.detach().clone() for name, parameter in ImageTower(self.loaded).trainable().items()}


def open_context(recipe: Recipe, run: RunDirectory) -> Context:
    """Load what the stages of a run share.

    Raises:
        ConfigError: If the model or the device does not exist.
        WeightsError: If the model's weights cannot be loaded.
    """
    pick_device(recipe.runtime.device)
    return Context(recipe, run, load_clip(recipe.model))


def pick_device(wanted: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: If a GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`runtime.device` is `cuda`, but torch sees no GPU; use `auto` or `cpu`.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(wanted: int) -> int:
    """Give this process its CPU threads (0: as `OMP_NUM_THREADS` says, else one a core) and return how many.

    Raises:
        ConfigError: If the environment variable is no number of threads.
    """
    threads = wanted or _threads_of_environment() or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    limit_threads(threads)
    return threads


def _threads_of_environment() -> int:
    text = os.environ.get("OMP_NUM_THREADS", "").strip()
    # A list has a number for each level of nesting (`4,2`); there is one level here.
    first = text.partition(",")[0].strip()
    if not text:
        return 0
    if not (first.isascii() and first.isdigit() and 1 <= int(first) <= THREADS):
        raise ConfigError(
            f"Expected the environment variable `OMP_NUM_THREADS` to be a number from 1 to {THREADS:,}, but got "
            f"`{text}`; correct it, or give `--runtime.threads`."
        )
    return int(first)
