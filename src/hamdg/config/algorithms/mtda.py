"""The settings of training-free merging for several targets: adaptation, merge, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Fraction, Share, Steps
from hamdg.values import Range


@dataclass(frozen=True)
class AdaptConfig:
    """How the source model is adapted to each target: self-training with a mean teacher, on images without labels.

    Args:
        steps: Optimizer steps on each target, one number for all or one by target, such as `{photo: 150, sketch: 50}`.
        lr: Peak learning rate of AdamW.
        weight_decay: AdamW's decoupled weight decay.
        warmup: Steps of linear warm-up before the cosine decay.
        clip_norm: Gradients of one model are scaled down to this norm; 0 switches clipping off.
        threshold: The teacher's predictions are labels where their probability is at least this.
        strength: How much the student's view changes: 1 for factors of 0.6 to 1.4 on brightness, contrast and
            saturation, a fifth of the images in gray, and a square of 30 % of the side cut out; 0 for nothing.
        decay: How much of the teacher's weights stays at each step; the rest is the student's.
        momentum: Share of a batch in BatchNorm's running statistics (torch's default is 0.1).
        source_batches: Train on a labeled batch of every source at each step, too; else the sources are not read.
    """

    steps: Steps | dict[str, Steps] = 150
    lr: Annotated[float, Range(0, above=True)] = 1e-3
    weight_decay: Annotated[float, Range(0)] = 0.01
    warmup: Annotated[int, Range(0, 1_000_000)] = 10
    clip_norm: Annotated[float, Range(0)] = 1.0
    threshold: Fraction = 0.8
    strength: Fraction = 1.0
    decay: Share = 0.99
    momentum: Annotated[float, Range(0, 1, above=True)] = 0.1
    source_batches: bool = False

    def steps_on(self, targets: Sequence[str]) -> int:
        """Return the steps of a model that adapts to one target, or to several at once: as many as on the longest."""
        return max(self.steps[name] for name in targets) if isinstance(self.steps, dict) else self.steps


@dataclass(frozen=True)
class MergeTargetsConfig:
    """How the adapted models become one.

    Args:
        buffers: What becomes of BatchNorm's statistics: pooled exactly (`moments`), averaged (`mean`), or those of the
            first target in alphabetical order (`first`).
        heads: One merged head for all targets (`shared`), or each target's own on a merged backbone (`separate`).
    """

    buffers: Literal["moments", "mean", "first"] = "moments"
    heads: Literal["shared", "separate"] = "shared"


@dataclass(frozen=True)
class CompareConfig:
    """What the merge is compared with beside the models that it is made of.

    Args:
        union: Also adapt one model to all targets at once, with batches that mix them and with a batch a target.
        starts: Also merge models that were adapted from different starts: but for one target, each from a source model
            of its own, which is trained from random weights.
    """

    union: bool = True
    starts: bool = True


@dataclass(frozen=True)
class ReestimateConfig:
    """How BatchNorm's statistics are measured anew, alike for all models: this needs data after the merge.

    Args:
        images: At most this many unlabeled images of each target; 0 leaves these rows out.
    """

    images: Annotated[int, Range(0, 1_000_000)] = 64


@dataclass(frozen=True)
class MtdaSettings(AlgorithmSettings):
    """Training-free merging for several targets: one source model, adapted to each target without labels, and merged.

    Args:
        adapt: How the source model is adapted to each target.
        merge: How the adapted models become one.
        compare: What the merge is compared with.
        reestimate: How BatchNorm's statistics are measured anew for comparison.
    """

    code: ClassVar[str] = "hamdg.algorithms.mtda.algorithm:Mtda"
    uses: ClassVar[tuple[str, ...]] = ("train",)
    added: ClassVar[Mapping[str, object]] = {"adapt.strength": 1.0}
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    merge: MergeTargetsConfig = field(default_factory=MergeTargetsConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    reestimate: ReestimateConfig = field(default_factory=ReestimateConfig)
