"""The settings of SIMPLE: the pool of frozen models, and the network that chooses among them for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Steps
from hamdg.values import Range, Words

Models = Annotated[list[str], Words("a list of models, such as `[mini-rn, mini-vit]`")]


@dataclass(frozen=True)
class SimpleSettings(AlgorithmSettings):
    """SIMPLE: frozen models, adapters of their outputs to the classes, and a network that weights them for each image.

    Args:
        pool: The models, each as `NAME` or `NAME@WEIGHTS`, which mean what `model.name` and `model.weights` do:
            `[ViT-B-16@openai, torchvision/resnet50@IMAGENET1K_V2]`.
        match: The model of the pool whose outputs the matching network looks at; `null` for the first.
        adapters: One linear adapter for all models whose outputs have one `size`, as published for models that predict
            the same classes; or one for each `model`, whose features have nothing in common.
        top: At most this many models are used for an image, those with the largest weights; training uses all.
        steps: Optimizer steps.
        batch_size: Images per source domain and step.
        lr: Learning rate of Adam after the warm-up, which is one pass through the smallest source domain.
        weight_decay: Adam's L2 penalty.
        decay: Factor of the learning rate after every 100 steps that follow the warm-up.
        average_from: The result is the mean of the states from the one before this step on.
        member_weight: Weight of the loss of the models alone, each weighted for each image.
        confidence_weight: Weight of the loss that fits the weights to the models' probabilities of the true class.
    """

    code: ClassVar[str] = "hamdg.algorithms.simple.algorithm:Simple"
    uses: ClassVar[tuple[str, ...]] = ()
    pool: Models = field(default_factory=lambda: ["mini-rn", "mini-vit"])
    match: str | None = None
    adapters: Literal["size", "model"] = "size"
    top: Annotated[int, Range(1)] = 6
    steps: Steps = 5001
    batch_size: Annotated[int, Range(1, 100_000)] = 128
    lr: Annotated[float, Range(0, above=True)] = 5e-4
    weight_decay: Annotated[float, Range(0)] = 1e-8
    decay: Annotated[float, Range(0, 1, above=True)] = 0.95
    average_from: Steps = 100
    member_weight: Annotated[float, Range(0)] = 1.0
    confidence_weight: Annotated[float, Range(0)] = 1.0

    @property
    def matched(self) -> str:
        """The model whose outputs the matching network looks at."""
        return self.match or self.pool[0]

    @property
    def problem(self) -> str:
        """What makes no sense in these settings, as a sentence; empty if nothing does."""
        if len(self.pool) < 2:
            return f"`simple.pool` has {len(self.pool)} model, but a model is chosen among several; name two or more."
        if twice := _repeated(self.pool):
            return f"`simple.pool` names `{twice}` twice; name each model once."
        if self.matched not in self.pool:
            names = ", ".join(f"`{name}`" for name in self.pool)
            return f"`simple.match` is `{self.match}`, which is not in `simple.pool`; choose one of {names}."
        return ""


def _repeated(names: Sequence[str]) -> str:
    return next((name for number, name in enumerate(names) if name in names[:number]), "")
