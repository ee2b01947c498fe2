"""What a recipe names: each algorithm says which models train, and which rows its table has."""

from __future__ import annotations

from hamdg.algorithms import erm
from hamdg.algorithms.base import AlgorithmPlan
from hamdg.algorithms.ham import algorithm

_PLANS: dict[str, AlgorithmPlan] = {"ham": algorithm.PLAN, "erm": erm.PLAN}


def plan(algorithm: str) -> AlgorithmPlan:
    """Return an algorithm's plan."""
    return _PLANS[algorithm]
