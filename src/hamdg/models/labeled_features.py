"""Features that a network gave images, with the labels of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from hamdg.errors import DataError
from hamdg.text import listed

LabeledFeatures = Mapping[str, tuple[Tensor, Tensor]]
"""By domain: features [n, D] and labels [n]."""
_LISTED = 12


def check_classes(
    found: LabeledFeatures, classes: Sequence[str], learner: str, remedy: str = "or leave the class out everywhere"
) -> None:
    """Check that every class has a feature in some domain.

    Args:
        found: The features of the training images of all domains.
        classes: Names of the classes, in the order of the labels.
        learner: What learns the classes, for the message.
        remedy: What can be done about a class that has none but to add images, for the message.

    Raises:
        DataError: A class has none.
    """
    seen = {label for _, labels in found.values() for label in labels.tolist()}
    if missing := [name for number, name in enumerate(classes) if number not in seen]:
        raise DataError(
            f"No source domain has a training image of the class {listed(missing, _LISTED)}, so that {learner} cannot "
            f"learn it. Add images, {remedy}."
        )
