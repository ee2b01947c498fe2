"""A tiny cohort on random images, and a Trainer for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.nn.functional import normalize

from hamdg.algorithms.ham.harmonizer import Harmonizer
from hamdg.algorithms.ham.learner import HamLearner
from hamdg.cohort.cohort import Cohort
from hamdg.cohort.learner import Learner
from hamdg.config.algorithms.ham import EnrichmentConfig, HarmonizationConfig
from hamdg.config.recipe import ModelConfig, TrainConfig
from hamdg.data.augment import to_float
from hamdg.data.batches import Batch, StepLoader
from hamdg.data.domain import Domain, from_arrays
from hamdg.data.subset import Subset, holdout
from hamdg.mini import DomainArrays
from hamdg.models import LoadedClip, layer_of, load_clip
from hamdg.models.clip_classifier import ClipClassifier

CONF = Path(__file__).parents[1] / "conf"
CLASSES = 3
ENRICHMENT = EnrichmentConfig(True, "true_class", "mean")
HARMONIZATION = HarmonizationConfig("sign_consensus", "global", every=1, minority_scale=0.0)
TRAIN = TrainConfig(steps=6, lr=1e-3, warmup=2, clip_norm=1.0)
Weights = dict[str, dict[str, Tensor]]


class FloatLoader:
    """A step loader whose images are ready for the model."""

    def __init__(self, drawn: StepLoader) -> None:
        self.drawn = drawn

    def __len__(self) -> int:
        return len(self.drawn)

    def __iter__(self) -> Iterator[tuple[int, dict[str, Batch]]]:
        return ((step, self.batches(step)) for step, _ in self.drawn)

    def batches(self, step: int) -> dict[str, Batch]:
        """Return the batches of a step, floats instead of bytes."""
        return {
            name: Batch(to_float(torch.as_tensor(drawn.images)) * 4 - 2, *drawn[1:])
            for name, drawn in self.drawn.batches(step).items()
        }

    def state_dict(self) -> dict[str, int]:
        """Return which step comes next."""
        return self.drawn.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state` says."""
        self.drawn.load_state_dict(state)


@dataclass
class World:
    """Makes cohorts and what they train on; equal worlds make equal ones.

    Args:
        clip: The pretrained tiny CLIP.
        sources: Names of the source domains.
        train: Learning rate, schedule, clipping.
    """

    clip: LoadedClip
    sources: tuple[str, ...] = ("art", "cartoon", "photo")
    enrichment: EnrichmentConfig = ENRICHMENT
    harmonization: HarmonizationConfig = HARMONIZATION
    train: TrainConfig = TRAIN
    noise_known: bool = False
    log_every: int = 2

    def but(self, **changes: object) -> World:
        return replace(self, **changes)  # type: ignore[arg-type]

    def domains(self) -> dict[str, Domain]:
        result = {}
        for name in self.sources:
            rng = np.random.default_rng(sum(name.encode()))
            clean = np.arange(14) % CLASSES
            labels = np.where(np.arange(14) % 4 == 0, (clean + 1) % CLASSES, clean)
            tint = rng.integers(0, 100, (CLASSES, 1, 1, 3))
            images = (rng.integers(0, 156, (14, 32, 32, 3)) + tint[clean]).astype(np.uint8)
            result[name] = from_arrays(DomainArrays(name, images, labels, clean))
        return result

    def hold_outs(self) -> dict[str, Subset]:
        return {name: holdout(domain, np.arange(2, 13)) for name, domain in self.domains().items()}

    def loader(self) -> FloatLoader:
        pools = {name: np.arange(14) for name in self.sources}
        order = {name: sum(name.encode()) for name in self.sources}
        return FloatLoader(StepLoader(self.domains(), pools, order, 4, self.train.steps, seed=0))

    def text_head(self) -> Tensor:
        return normalize(torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(5)), dim=-1)

    def network(self) -> ClipClassifier:
        return ClipClassifier(self.clip, self.text_head(), 14.0)

    def learner(self, own: tuple[str, ...]) -> Learner:
        return Learner(self.network(), own, self.train)

    def ham_learner(self, name: str, own: tuple[str, ...] | None = None) -> HamLearner:
        return HamLearner(name, self.network(), own or (name,), self.train, self.enrichment, self.noise_known)

    def cohort(self, groups: Mapping[str, tuple[str, ...]] | None = None) -> Cohort:
        groups = groups or {name: (name,) for name in self.sources}
        harmonizer = Harmonizer(self.harmonization, self.network().weights(), len(groups), layer_of, seed=0)
        learners = {name: self.ham_learner(name, own) for name, own in groups.items()}
        return Cohort(learners, [harmonizer], seed=0, log_every=self.log_every)

    def trainer(
        self, callbacks: Sequence[Callback] = (), logger: Logger | None = None, clip_norm: float | None = None
    ) -> Trainer:
        return Trainer(
            max_steps=self.train.steps,
            max_epochs=-1,
            accelerator="cpu",
            devices=1,
            logger=logger or False,
            callbacks=list(callbacks),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            log_every_n_steps=1,
            gradient_clip_val=clip_norm,
        )

    def fit(self, cohort: Cohort, callbacks: Sequence[Callback] = (), logger: Logger | None = None) -> Weights:
        """Train a cohort to its end and return its weights."""
        self.trainer(callbacks, logger).fit(cohort, train_dataloaders=self.loader())
        return self.weights(cohort)

    def weights(self, cohort: Cohort) -> Weights:
        return {
            source: {name: value.clone() for name, value in learner.result.weights().items()}
            for source, learner in cohort.learners.items()
        }


def tiny(kind: Literal["rn", "vit"]) -> LoadedClip:
    return load_clip(ModelConfig(str(CONF / f"tiny-{kind}.json"), "random"))


@pytest.fixture(scope="session")
def rn() -> LoadedClip:
    return tiny("rn")


@pytest.fixture(scope="session")
def vit() -> LoadedClip:
    return tiny("vit")


@pytest.fixture
def world(vit: LoadedClip) -> World:
    return World(vit)


@pytest.fixture(params=["rn", "vit"])
def each_world(request: pytest.FixtureRequest) -> World:
    return World(request.getfixturevalue(request.param))
