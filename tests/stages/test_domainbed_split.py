"""The validation part of a run on the real PACS holds the very files that DomainBed's code would hold out."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from hamdg.data.listing import Listing
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages.context import open_context
from hamdg.stages.sources import open_sources

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny

FRACTION = 0.2

pytestmark = pytest.mark.real_data


def held_out_by_domainbed(root: Path, trial_seed: int) -> dict[str, list[str]]:
    """Return the files of every environment's "out" part, as DomainBed's `datasets.py` and `misc.py` make it."""
    environments = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    held_out = {}
    for index, environment in enumerate(environments):
        dataset = ImageFolder(str(root / environment))
        arguments = str((trial_seed, index)).encode("utf-8")
        seed = int(hashlib.md5(arguments, usedforsecurity=False).hexdigest(), 16) % (2**31)
        keys = list(range(len(dataset)))
        np.random.RandomState(seed).shuffle(keys)
        held_out[environment] = [dataset.samples[key][0] for key in keys[: int(len(dataset) * FRACTION)]]
    return held_out


@pytest.mark.parametrize("trial_seed", [0, 1, 2])
def test_the_files_that_validate_are_domainbeds(tiny: Tiny, pacs_root: Path, trial_seed: int) -> None:
    expected = held_out_by_domainbed(pacs_root, trial_seed)
    seen = set()
    for target in ("sketch", "art_painting"):  # between them all four domains are sources
        recipe = tiny(
            "--benchmark=pacs", f"--data.root={pacs_root}", f"--held_out={target}", f"--seed={trial_seed}", tower="vit"
        )
        with RunDirectory.open(recipe) as run:
            data = open_sources(open_context(recipe, run), begun=False)
        written = json.loads(RunDirectory(run_directory(recipe)).splits.read_text())["validation_positions"]
        assert target not in written
        for name, positions in written.items():
            listing = data.domains[name].contents
            assert isinstance(listing, Listing)
            assert [listing.describe(position) for position in positions] == expected[name]
            seen.add(name)
    assert seen == set(expected)
