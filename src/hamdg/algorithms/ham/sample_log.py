"""A few accepted and rejected candidates of the enrichment, kept for looking at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

# Steps at which samples are kept, and how many accepted and how many rejected ones of each model at such a step.
MOMENTS, PER_KIND = 4, 3


@dataclass(frozen=True)
class Sample:
    """One candidate that a model accepted or rejected.

    Args:
        step: Step, from 1.
        model: The model's domain.
        domain: The candidate's domain.
        position: The candidate's position in its domain.
        accepted: Whether it joined the loss.
        confidence: The model's confidence.
        threshold: The threshold of the step.
    """

    step: int
    model: str
    domain: str
    position: int
    accepted: bool
    confidence: float
    threshold: float


class SampleLog:
    """Keeps samples of a few steps, spread over the training.

    Args:
        steps: Number of training steps.
        first: The first step, from 0, that has candidates.
        moments: How many steps are looked at.
        per_kind: How many accepted and how many rejected samples of each model are kept at such a step.
    """

    def __init__(self, steps: int, first: int = 0, moments: int = MOMENTS, per_kind: int = PER_KIND) -> None:
        self.moments = {first + round((steps - 1 - first) * k / max(1, moments - 1)) for k in range(moments)}
        self.per_kind = per_kind
        self.samples: list[Sample] = []

    def record(
        self,
        step: int,
        model: str,
        domains: list[str],
        positions: Tensor,
        confidences: Tensor,
        mask: Tensor,
        threshold: Tensor,
    ) -> None:
        """Note down some of a model's candidates, if the step (from 0) is one of the moments.

        The accepted are spread over the candidates, and so over the domains; the rejected have the lowest confidence.
        """
        if step not in self.moments:
            return
        accepted = torch.nonzero(mask)[:, 0]
        accepted = accepted[:: max(1, len(accepted) // self.per_kind)]
        rejected = torch.argsort(confidences, stable=True)[: int((~mask).sum())]
        for chosen in (accepted, rejected):
            for k in chosen[: self.per_kind].tolist():
                found = (step + 1, model, domains[k], int(positions[k]), bool(mask[k]), float(confidences[k]))
                self.samples.append(Sample(*found, threshold=float(threshold)))

    def state_dict(self) -> list[dict[str, Any]]:
        """Return all samples as plain values."""
        return [asdict(sample) for sample in self.samples]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Take over saved samples."""
        self.samples = [Sample(**values) for values in state]
