"""Files in, file out: merges tensor by tensor from mapped files, straight to the places in the new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from hamdg.digests import Digests
from hamdg.errors import Argument, ConfigError
from hamdg.merge.files.facts import shared_facts
from hamdg.merge.files.inputs import Inputs
from hamdg.merge.files.provenance import Provenance, merge_versions, resolved_options, resolved_settings
from hamdg.merge.files.reading import TIED
from hamdg.merge.files.writing import new_tensor_file
from hamdg.merge.lora.adapter import Adapter
from hamdg.merge.lora.files import check_out, open_adapters, write_adapter
from hamdg.merge.lora.merging import merge_adapters
from hamdg.merge.merging import Merge
from hamdg.merge.method_info import MethodInfo
from hamdg.merge.registry import get_method
from hamdg.merge.settings import MergeSettings


def merge_files(
    method: str,
    paths: Mapping[str, Path],
    out: Path,
    base: Path | None = None,
    *,
    options: Mapping[str, object] | None = None,
    settings: MergeSettings | None = None,
    prefixes: Mapping[str, str] | None = None,
    evidence: Mapping[str, Path] | None = None,
    keys: Mapping[str, str] | str | None = None,
    lora_rank: int | None = None,
    digests: Digests | None = None,
) -> Path:
    """Merge files of models into one safetensors file.

    Files are mapped into memory and every tensor is written as soon as it is merged, so no model is ever held whole.
    Tensors that a model holds under two names are merged once and stored under both, with a note that `open_tensors`
    reads. The header says how the file was made (see `Provenance`); equal merges give equal bytes. Adapters of low rank
    are merged as the changes that they make, see `hamdg.merge.lora.merging.merge_adapters`.

    Args:
        method: Name of a registered method.
        paths: File of every source by the source's name, of any kind that `open_tensors` reads.
        out: The `.safetensors` file to write or replace; missing folders are made.
        base: File of the common start.
        options: The method's own options.
        settings: What holds for every method.
        prefixes: What stands before the model's names in the file of a source (or of the base, under `base`), for files
            where it cannot be found by comparing names.
        evidence: For methods that need Fisher information, Gram matrices or losses, the file of every source that has
            them, see `FileEvidence`.
        keys: Where in the file of a source (or of the base, under `base`) the model lies, for files that hold several;
            one text is the key in all files that have any.
        lora_rank: Rank of the merged adapter, where adapters are merged; the sum of the sources' ranks without it.
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
    settings, out = settings or MergeSettings(), Path(out)
    inputs = Inputs(paths, base, prefixes or {}, evidence, keys)
    if inputs.evidence is not None:
        settings = replace(settings, evidence=inputs.evidence)
    adapters = open_adapters(inputs.models, with_base=base is not None)
    if adapters is None and lora_rank is not None:
        raise ConfigError(
            Argument("lora_rank"), " is for adapters of low rank, but none of the files holds one; leave it out."
        )
    with nullcontext(digests) if digests is not None else Digests(settings.threads, "blake3") as running:
        if adapters is not None:
            inputs.check_paths(out, needs_base=False)
            _merge_adapters(method, adapters, inputs, out, options or {}, settings, lora_rank, running)
        else:
            job = Merge(method, inputs.models, inputs.base, options or {}, settings)
            inputs.check_paths(out, job.info.needs_base)
            _run(job, inputs, out, running)
    return out


def _merge_adapters(
    method: str,
    adapters: Mapping[str, Adapter],
    inputs: Inputs,
    out: Path,
    options: Mapping[str, object],
    settings: MergeSettings,
    rank: int | None,
    digests: Digests,
) -> None:
    check_out(out, adapters, inputs.files)
    digests.start(inputs.files)
    merged = merge_adapters(method, adapters, options, settings, rank)
    inputs.check_contents(digests, needs_base=False)
    facts = {"lora_rank": merged.rank, "lora_error": float(f"{merged.error:.3g}")}
    info, given = get_method(method).resolved(options)
    metadata = _metadata(info, given, resolved_settings(settings) | facts, settings.weights, inputs, digests)
    write_adapter(out, merged, inputs.models, metadata)


def _run(job: Merge, inputs: Inputs, out: Path, digests: Digests) -> None:
    digests.start(inputs.files)
    names_of: dict[str, list[str]] = {}
    for name in job.layout:
        names_of.setdefault(job.aliases.get(name, name), []).append(name)
    with new_tensor_file(out, job.layout, _job_metadata(job, inputs, digests, known=False)) as writer:
        checked = False

        def write(name: str, tensor: Tensor) -> None:
            nonlocal checked
            # As early as possible without waiting: a merge may take long.
            if not checked and digests.done(inputs.model_files):
                inputs.check_contents(digests, job.info.needs_base)
                checked = True
            for own in names_of[name]:
                writer.write(own, tensor)

        job.run(write)
        # Digests may not be done yet: the disk can work meanwhile.
        writer.flush()
        inputs.check_contents(digests, job.info.needs_base)
        writer.finish(_job_metadata(job, inputs, digests))


def _job_metadata(job: Merge, inputs: Inputs, digests: Digests, known: bool = True) -> dict[str, str]:
    settings = job.settings
    metadata = _metadata(job.info, job.options, resolved_settings(settings), settings.weights, inputs, digests, known)
    return metadata | ({TIED: json.dumps(job.aliases, sort_keys=True)} if job.aliases else {})


def _metadata(
    info: MethodInfo,
    options: Mapping[str, object],
    settings: Mapping[str, object],
    weights: Mapping[str, float] | None,
    inputs: Inputs,
    digests: Digests,
    known: bool = True,
) -> dict[str, str]:
    """Return the header's texts; while digests are not known yet, texts of the same lengths."""
    sources, base, evidence = inputs.digests(digests if known else None)
    own = Provenance(
        info.name,
        resolved_options(info, options),
        sources,
        base,
        None if weights is None else {source: float(weights[source]) for source in weights},
        settings,
        evidence,
        merge_versions(),
        digests.hash_name,
        inputs.keys,
    )
    return shared_facts(inputs.models.values(), inputs.base) | own.metadata()
