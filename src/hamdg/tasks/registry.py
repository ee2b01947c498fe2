"""The tasks by name."""

from __future__ import annotations

from collections.abc import Mapping

from hamdg.tasks.base import Task
from hamdg.tasks.classification import CLASSIFICATION
from hamdg.tasks.segmentation import SEGMENTATION

TASKS: Mapping[str, Task] = {task.name: task for task in (CLASSIFICATION, SEGMENTATION)}
