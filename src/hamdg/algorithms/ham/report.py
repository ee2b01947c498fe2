"""What HAM's training leaves for its record and page: counts of the enrichment, and some of the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hamdg import console
from hamdg.algorithms.ham.sample_log import Sample
from hamdg.config.algorithms.ham import EnrichmentConfig
from hamdg.data.domain import Domain
from hamdg.data.thumbnails import thumbnails
from hamdg.files import atomic_path
from hamdg.runs.selection import SelectionCounts
from hamdg.stages.context import Context
from hamdg.tracking.rows import read_rows

SAMPLES = "samples.npz"
_OFFER = "a model is offered the other sources' batches and"
_RULE = "accepts what it is more confident about than it is, on average, about its own batch."
_DRAWN = (
    "accepts as many samples of each as it is more confident about than it is, on average, about its own batch, but "
    "draws them at random: a control without selection."
)


def describe_rule(config: EnrichmentConfig) -> str:
    """Return a sentence on which samples a model accepts, and from when on."""
    when = f"From {config.start:.0%} of the steps on" if config.start else "At each step"
    return f"{when} {_OFFER} {_DRAWN if config.confidence == 'random' else _RULE}"


def enrichment_counts(metrics: Path) -> dict[str, SelectionCounts]:
    """Return what each model was offered and accepted, summed over all steps, those of killed processes included."""
    sums: dict[str, dict[str, int]] = {}
    for row in read_rows(metrics):
        title, _, kind = row.name.partition("/")
        if title == "enrichment" and kind != "threshold":
            counts = sums.setdefault(row.source, {})
            counts[kind] = counts.get(kind, 0) + int(row.value)
    return {
        source: SelectionCounts(
            candidates=counts["candidates"],
            added=counts["added"],
            noisy_candidates=counts.get("noisy_candidates"),
            noisy_added=counts.get("noisy_added"),
        )
        for source, counts in sums.items()
    }


def say_counts(counts: Mapping[str, SelectionCounts]) -> None:
    """Print what each model accepted."""
    for source, own in counts.items():
        noisy, added = own["noisy_added"], max(1, own["added"])
        share = f"; mislabeled among the accepted: {noisy / added:.1%}" if noisy is not None else ""
        pool = f"{own['added']} of {own['candidates']} candidates ({own['added'] / max(1, own['candidates']):.0%})"
        console.note(f"{source}: accepted {pool}{share}")


def write_samples(context: Context, domains: Mapping[str, Domain], samples: Sequence[Sample]) -> str:
    """Write samples with their images to `samples.npz`; return its path in the run, or nothing if there are none."""
    if not samples:
        return ""
    sources, path = list(context.sources), context.files.folder / SAMPLES
    images = [thumbnails(domains[one.domain].evaluation, np.array([one.position]))[0] for one in samples]
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=np.stack(images),
            accepted=np.array([one.accepted for one in samples]),
            model=np.array([sources.index(one.model) for one in samples]),
            domain=np.array([sources.index(one.domain) for one in samples]),
            label=np.array([domains[one.domain].labels[one.position] for one in samples]),
            clean_label=np.array([domains[one.domain].clean_labels[one.position] for one in samples]),
            confidence=np.array([one.confidence for one in samples]),
            threshold=np.array([one.threshold for one in samples]),
            step=np.array([one.step for one in samples]),
            sources=np.array(sources),
            classes=np.array(context.bench.classes),
        )
    return path.relative_to(context.run.path).as_posix()
