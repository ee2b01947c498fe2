"""Merging of models that share a start: a library of its own, knowing tensors and nothing else."""

from __future__ import annotations

# Importing a method's module registers the method.
from hamdg.merge import rhm, shrunk, uniform  # noqa: F401
from hamdg.merge.boundary import merge
from hamdg.merge.registry import MethodInfo, Option, methods, register

__all__ = ["MethodInfo", "Option", "merge", "methods", "register"]
