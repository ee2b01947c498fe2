"""Merging of models that share a start: a library of its own, for tensors and files of tensors.

Public are the names below. `merge` merges state dicts by a method's name, `merge_files` merges files, `list_methods`
returns the methods; `tensorwise_method` and `global_method` register one.
"""

from __future__ import annotations

import importlib
import pkgutil

from hamdg.merge import methods
from hamdg.merge.api import merge, merge_with
from hamdg.merge.buffers import BufferShares
from hamdg.merge.files import merge_files
from hamdg.merge.files.reading import open_tensors
from hamdg.merge.method_info import MergePlan, MethodInfo
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.options import Option
from hamdg.merge.registry import global_method, list_methods, tensorwise_method
from hamdg.merge.settings import MergeSettings
from hamdg.merge.tensor_checks import CommonStartWarning
from hamdg.values import Range

__all__ = [
    "BufferShares",
    "CommonStartWarning",
    "MergePlan",
    "MergeSettings",
    "MethodInfo",
    "ModelSet",
    "Option",
    "Range",
    "Rule",
    "TensorSet",
    "global_method",
    "list_methods",
    "merge",
    "merge_files",
    "merge_with",
    "open_tensors",
    "tensorwise_method",
]

# Importing a method's module registers the method.
for _module in pkgutil.iter_modules(methods.__path__):
    importlib.import_module(f"{methods.__name__}.{_module.name}")
