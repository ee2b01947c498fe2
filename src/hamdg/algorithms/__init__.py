"""What a recipe names: each algorithm says which models train, and which rows its table has."""

from __future__ import annotations

from hamdg.algorithms import erm, ham
from hamdg.algorithms.base import AlgorithmPlan
from hamdg.config import Algorithm

_PLANS: dict[Algorithm, AlgorithmPlan] = {"ham": ham.PLAN, "erm": erm.PLAN}


def plan(algorithm: Algorithm) -> AlgorithmPlan:
    """Return an algorithm's plan."""
    return _PLANS[algorithm]
