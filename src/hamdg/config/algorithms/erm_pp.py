"""The settings of ERM++."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.config.value_types import Steps
from hamdg.values import Range


@dataclass(frozen=True)
class ErmPpSettings(AlgorithmSettings):
    """ERM++: a training finds when to lower the learning rate and when to end, a second one repeats that on all data.

    Args:
        classifier_steps: At first so many steps train the classifier alone; a CLIP has one with `model.head: linear` or
            `trained`.
        average_start: The step from which on the running average takes in the weights; it begins with those of the step
            before.
        patience: The learning rate falls when the average's loss on the sources' hold-out sets has not improved in more
            validations in a row than this; they come every `train.check_every` steps.
        factor: What the learning rate is multiplied by then.
        drops: The training ends where the learning rate would fall this many times, or after `train.steps`.
    """

    code: ClassVar[str] = "hamdg.algorithms.erm_pp.algorithm:ErmPp"
    uses: ClassVar[tuple[str, ...]] = ("train", "controls")
    takes_activations: ClassVar[bool] = True
    classifier_steps: Annotated[int, Range(0, 1_000_000)] = 500
    average_start: Steps = 600
    patience: Annotated[int, Range(0)] = 1
    factor: Annotated[float, Range(0, 1, above=True, below=True)] = 0.1
    drops: Annotated[int, Range(1)] = 3
