"""What HAM and its controls are called in tables, by the method that merged the histories."""

from __future__ import annotations

from hamdg.config.algorithms.ham import Confidence

LABEL = "HAM (reconstruction)"
# HAM's own merge method.
OWN = "rhm"


def result_label(method: str) -> str:
    """Return what a run's result is called."""
    return LABEL if method == OWN else f"{LABEL}, merged by {method}"


def scaled_label(method: str) -> str:
    """Return what the mean of the histories is called once it is as long as the result."""
    return "the same, shrunk to RHM's norm" if method == OWN else f"the same, scaled to the norm of the {method} merge"


def footnote(method: str, confidence: Confidence = "true_class") -> str:
    """Return what every table with a run of HAM says: what is published, and what is our reconstruction."""
    enrichment = "draws samples at random (a control)" if confidence == "random" else "follows the published rule"
    start = f"{LABEL}: enrichment (SAE) {enrichment}; harmonization (OPA)"
    if method == OWN:
        return f"{start} and the historical merge (RHM) are our reconstruction."
    return (
        f"{start} is our reconstruction; the histories were merged by {method} in place of HAM's historical merge "
        "(RHM)."
    )
