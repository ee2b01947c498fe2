"""Files in, file out: merges tensor by tensor from mapped files, straight to the places in the new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from hamdg.digests import Digests
from hamdg.merge.files.inputs import Inputs
from hamdg.merge.files.provenance import Provenance, merge_versions, resolved_options, resolved_settings
from hamdg.merge.files.reading import TIED
from hamdg.merge.files.writing import new_tensor_file
from hamdg.merge.job import Job, Settings


def merge_files(
    method: str,
    paths: Mapping[str, Path],
    out: Path,
    base: Path | None = None,
    *,
    options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    prefixes: Mapping[str, str] | None = None,
    statistics: Mapping[str, Path] | None = None,
    keys: Mapping[str, str] | str | None = None,
    digests: Digests | None = None,
) -> Path:
    """Merge files of models into one safetensors file.

    Files are mapped into memory and every tensor is written as soon as it is merged, so no model is ever held whole.
    Tensors that a model holds under two names are merged once and stored under both, with a note that `open_tensors`
    reads. The header says how the file was made (see `Provenance`); equal merges give equal bytes.

    Args:
        method: Name of a registered method.
        paths: File of every source by the source's name, of any kind that `open_tensors` reads.
        out: The `.safetensors` file to write or replace; missing folders are made.
        base: File of the common start.
        options: The method's own options.
        settings: What holds for every method.
        prefixes: What stands before the model's names in the file of a source (or of the base, under `base`), for files
            where it cannot be found by comparing names.
        statistics: For methods that need Fisher information, Gram matrices or losses, the file of every source that has
            them, see `FileEvidence`.
        keys: Where in the file of a source (or of the base, under `base`) the model lies, for files that hold several;
            one text is the key in all files that have any.
        digests: Digests of the files that were begun before; this begins the others. Their hash is the one that the
            header names; BLAKE3 without them.

    Returns:
        `out`.

    Raises:
        ConfigError: The method, an option or a setting is unknown or wrong, a file was given twice, or `out` cannot be
            the output.
        WeightsError: A file is missing, damaged or unsafe, or the models do not fit together.
        StorageError: The disk is full, or nothing may be written there; `out` is as it was.
    """
    settings, out = settings or Settings(), Path(out)
    inputs = Inputs(paths, base, prefixes or {}, statistics, keys)
    if inputs.evidence is not None:
        settings = replace(settings, evidence=inputs.evidence)
    job = Job(method, inputs.models, inputs.base, options or {}, settings)
    inputs.check_paths(out, job.info.needs_base)
    with nullcontext(digests) if digests is not None else Digests(settings.threads, "blake3") as running:
        _run(job, inputs, out, running)
    return out


def _run(job: Job, inputs: Inputs, out: Path, digests: Digests) -> None:
    digests.start(inputs.files)
    twins: dict[str, list[str]] = {}
    for name in job.layout:
        twins.setdefault(job.aliases.get(name, name), []).append(name)
    with new_tensor_file(out, job.layout, _metadata(job, inputs, digests, known=False)) as writer:
        checked = False

        def write(name: str, tensor: Tensor) -> None:
            nonlocal checked
            # As early as possible without waiting: a merge may take long.
            if not checked and digests.done(inputs.model_files):
                inputs.check_contents(digests, job.info.needs_base)
                checked = True
            for twin in twins[name]:
                writer.write(twin, tensor)

        job.run(write)
        # Digests may not be done yet: the disk can work meanwhile.
        writer.flush()
        inputs.check_contents(digests, job.info.needs_base)
        writer.finish(_metadata(job, inputs, digests))


def _metadata(job: Job, inputs: Inputs, digests: Digests, known: bool = True) -> dict[str, str]:
    """Return the header's texts; while digests are not known yet, texts of the same lengths."""
    sources, base, statistics = inputs.digests(digests if known else None)
    weights = job.settings.weights
    told = Provenance(
        job.info.name,
        resolved_options(job.info, job.options),
        sources,
        base,
        None if weights is None else {source: float(weights[source]) for source in weights},
        resolved_settings(job.settings),
        statistics,
        merge_versions(),
        digests.hash_name,
        inputs.keys,
    ).metadata()
    return told | ({TIED: json.dumps(job.aliases, sort_keys=True)} if job.aliases else {})
