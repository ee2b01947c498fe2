"""What a weights file says of its model beside the tensors: a merge of files that say the same says it, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hamdg.merge.files.partial import COMPLETED_BY
from hamdg.merge.files.reading import TensorFile

MODEL, CLASSES = "hamdg.model", "hamdg.classes"
PREPROCESS, QUICK_GELU = "hamdg.preprocess", "hamdg.quick_gelu"
FACTS = (MODEL, CLASSES, PREPROCESS, QUICK_GELU)


def shared_facts(models: Iterable[TensorFile], base: TensorFile | None) -> dict[str, str]:
    """Return what the headers of all models say alike; a file that a base completes says what the base says.

    Args:
        models: The models that are merged.
        base: The file of their common start, if there is one.
    """
    said = [_texts(model, base) for model in models]
    return {name: text for name, text in said[0].items() if all(one.get(name) == text for one in said)}


def _texts(model: TensorFile, base: TensorFile | None) -> dict[str, str]:
    start: Mapping[str, str] = base.metadata if base is not None and COMPLETED_BY in model.metadata else {}
    return {name: text for name, text in {**start, **model.metadata}.items() if name in FACTS}
