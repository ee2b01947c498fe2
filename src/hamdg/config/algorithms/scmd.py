"""The settings of SCMD: the teacher, which samples a student learns from, and what it learns of the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.recipe import Normalization
from hamdg.config.value_types import Share, Steps, Templates
from hamdg.values import Range


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: a CLIP, which is not trained.

    Args:
        name: `mini-rn`, `mini-vit`, any open_clip model name or path of an open_clip JSON config.
        weights: As `model.weights` for a CLIP: a file, an open_clip tag, `random`, or `null` for the shipped weights.
        normalization: Mean and deviation of its images: the weights' `own`, `clip` or `imagenet`.
        prompts: Templates with one `{}` for the class name; `null` for the benchmark's own. The published one is
            `this is a photo of a {}`.
        images: `own` (what the student is given, brought to the teacher's side, mean and deviation) or `student` (the
            student's images as they are, as the published code does, which normalizes a CLIP's images by ImageNet's
            mean and deviation; the sides must be equal).
    """

    name: str = "mini-rn"
    weights: str | None = None
    normalization: Normalization = "own"
    prompts: Templates | None = None
    images: Literal["own", "student"] = "own"


@dataclass(frozen=True)
class ScmdSettings(AlgorithmSettings):
    """SCMD: a student learns from labels and from a frozen CLIP, for most of the training on the hardest samples alone.

    Args:
        teacher: The teacher.
        logit_weight: Weight of the distillation of the teacher's scores into the student's (the paper's lambda 1).
        cross_modal_weight: Weight of the distillation into the scores of the student's projected features against the
            teacher's class features (the paper's lambda 2).
        temperature: What scores are divided by before the softmax of both distillations.
        hard_share: Share of each batch that is learned from while samples are selected: those with the largest
            cross-entropy of the student (the paper's p); `1.0` selects nothing.
        whole_share: Share of the training, at its end, that learns from whole batches (the paper's k).
        selection_steps: Number of steps that `whole_share` is a share of; `null` for the run's own (the published code
            has the constant 5000, whatever the run's length).
        selection_precision: `fp32`, or `train` for the precision of the training, of the pass that finds the hardest
            samples. The published code does it in fp32 beside a training in half precision; on a CPU they are one.
        scale_lr: Peak learning rate of the logarithm of the cross-modal scale.
    """

    code: ClassVar[str] = "hamdg.algorithms.scmd.algorithm:Scmd"
    uses: ClassVar[tuple[str, ...]] = ("train", "history", "controls")
    uses_words: ClassVar[bool] = True
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    logit_weight: Annotated[float, Range(0)] = 0.5
    cross_modal_weight: Annotated[float, Range(0)] = 0.5
    temperature: Annotated[float, Range(0, above=True)] = 3.0
    hard_share: Annotated[float, Range(0, 1, above=True)] = 0.2
    whole_share: Share = 0.25
    selection_steps: Steps | None = None
    selection_precision: Literal["fp32", "train"] = "fp32"
    scale_lr: Annotated[float, Range(0, above=True)] = 1e-4
