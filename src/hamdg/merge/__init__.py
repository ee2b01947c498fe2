"""Merging of models that share a start: a library of its own, knowing tensors and nothing else."""

from __future__ import annotations

import importlib
import pkgutil

from hamdg.merge import rules
from hamdg.merge.boundary import merge, merge_with
from hamdg.merge.family import Family, Rule, Site
from hamdg.merge.files import merge_files
from hamdg.merge.files.reading import open_tensors
from hamdg.merge.job import CommonStartWarning, Settings
from hamdg.merge.options import Option, Range
from hamdg.merge.registry import MethodInfo, Plan, methods, register, register_whole
from hamdg.merge.shares import BufferShares

__all__ = [
    "BufferShares",
    "CommonStartWarning",
    "Family",
    "MethodInfo",
    "Option",
    "Plan",
    "Range",
    "Rule",
    "Settings",
    "Site",
    "merge",
    "merge_files",
    "merge_with",
    "methods",
    "open_tensors",
    "register",
    "register_whole",
]

# Importing a method's module registers the method.
for _module in pkgutil.iter_modules(rules.__path__):
    importlib.import_module(f"{rules.__name__}.{_module.name}")
