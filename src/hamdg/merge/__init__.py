"""Merging of models that share a start: a library of its own, knowing tensors and nothing else."""

from __future__ import annotations

import importlib
import pkgutil

from hamdg.merge import methods
from hamdg.merge.api import merge, merge_with
from hamdg.merge.files import merge_files
from hamdg.merge.files.reading import open_tensors
from hamdg.merge.job import CommonStartWarning, Settings
from hamdg.merge.model_set import ModelSet, Rule, TensorSet
from hamdg.merge.options import Option, Range
from hamdg.merge.registry import MethodInfo, Plan, global_method, list_methods, register
from hamdg.merge.shares import BufferShares

__all__ = [
    "BufferShares",
    "CommonStartWarning",
    "MethodInfo",
    "ModelSet",
    "Option",
    "Plan",
    "Range",
    "Rule",
    "Settings",
    "TensorSet",
    "global_method",
    "list_methods",
    "merge",
    "merge_files",
    "merge_with",
    "open_tensors",
    "register",
]

# Importing a method's module registers the method.
for _module in pkgutil.iter_modules(methods.__path__):
    importlib.import_module(f"{methods.__name__}.{_module.name}")
