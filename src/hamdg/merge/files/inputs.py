"""The files that go into a merge: opened under common names, each with its role, none of them twice."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from pathlib import Path

from hamdg.digests import TITLES, Digests
from hamdg.errors import ConfigError
from hamdg.merge.files.evidence import FileEvidence
from hamdg.merge.files.partial import check_base, completed
from hamdg.merge.files.reading import TensorFile, open_raw
from hamdg.merge.files.tied import with_tied_names
from hamdg.merge.validate import check_paths

# What the base is called where files are named by their role.
BASE = "base"
# No source can be called so.
_START = ""


class Inputs:
    """All files of a merge.

    Args:
        paths: File of every source.
        base: File of the common start.
        prefixes: What stands before the model's names, by source (or `base`), where it was named.
        evidence: File of every source's evidence.
        keys: Where in a file the model lies, by source (or `base`); or one key for all files that have keys.

    Raises:
        ConfigError: A prefix, a key or a file of evidence is for something that is not a source.
        WeightsError: A file is missing, damaged or unsafe, or its names fit no model.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        base: Path | None,
        prefixes: Mapping[str, str],
        evidence: Mapping[str, Path] | None,
        keys: Mapping[str, str] | str | None = None,
    ) -> None:
        check_paths(paths)
        for argument, values in (("prefixes", prefixes), ("keys", {} if isinstance(keys, str) else keys or {})):
            for name in values:
                if name not in paths and (name != BASE or base is None):
                    raise ConfigError(f"Expected `{argument}` to name sources or `{BASE}`, but `{name}` is neither.")
        models = {source: _opened(paths[source], source, keys) for source in sorted(paths)}
        start = None if base is None else _opened(base, BASE, keys)
        like = _reference([*([] if start is None else [(BASE, start)]), *models.items()], prefixes)
        self.base = None if start is None else start.without_prefix(prefixes.get(BASE), like)
        named = {source: file.without_prefix(prefixes.get(source), like) for source, file in models.items()}
        whole = with_tied_names(named | ({} if self.base is None else {_START: self.base}))
        self.base = whole.pop(_START, None)
        self.models = {source: completed(file, self.base) for source, file in whole.items()}
        self.keys = {role: file.key for role, file in self._roles() if keys is not None and file.key}
        self.evidence = None if evidence is None else FileEvidence(evidence)
        if self.evidence is not None:
            self.evidence.check_sources(tuple(models))

    @property
    def evidence_files(self) -> dict[str, tuple[Path, ...]]:
        """Files of every source's evidence."""
        return {} if self.evidence is None else {source: self.evidence.files(source) for source in self.evidence.paths}

    @property
    def model_files(self) -> tuple[Path, ...]:
        """Files of all models and the base."""
        return tuple(file for model in (*self.models.values(), *self._start()) for file in model.files)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return (*self.model_files, *(file for files in self.evidence_files.values() for file in files))

    def check_paths(self, out: Path, needs_base: bool) -> None:
        """Check that no model was given twice and that the output is none of the inputs.

        Args:
            out: The file to be written.
            needs_base: Whether the method compares sources with the base, which then cannot be one of them.

        Raises:
            ConfigError: A file was given twice, or cannot be the output.
        """
        for (one, file), (other, second) in self._pairs(needs_base):
            if file.path.samefile(second.path):
                raise ConfigError(_twice(one, other, f"the same file, `{file.path}`"))
        if out.suffix != ".safetensors":
            raise ConfigError(f"Expected the output to end in `.safetensors`, but got `{out}`.")
        try:
            exists = out.exists()
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise ConfigError(f"The output `{out}` cannot be written: {reason}; choose another name.") from error
        if exists and not out.is_file():
            raise ConfigError(
                f"The output `{out}` is not an ordinary file and cannot be replaced; choose another name."
            )
        if exists and any(out.samefile(file) for file in self.files):
            raise ConfigError(f"The output `{out}` is one of the inputs; choose another name.")

    def check_contents(self, digests: Digests, needs_base: bool) -> None:
        """Check that no model was given twice under two paths, and that the base completes those that it has to.

        Raises:
            ConfigError: Two models are the same, byte for byte.
            WeightsError: A model was completed with another file than its own.
        """
        self.check_base(digests)
        for (one, file), (other, second) in self._pairs(needs_base):
            digest = digests.of(file.files)
            if digest == digests.of(second.files):
                raise ConfigError(
                    _twice(one, other, f"files of the same content ({TITLES[digests.hash_name]} {digest})")
                )

    def check_base(self, digests: Digests) -> None:
        """Check that the base completes the models that it has to.

        Raises:
            WeightsError: A model was completed with another file than its own.
        """
        check_base(self.models.values(), self.base, digests)

    def digests(self, digests: Digests | None) -> tuple[dict[str, str], str | None, dict[str, str]]:
        """Return the digests of sources, base and evidence; without `digests`, zeros of the same length."""

        def of(files: tuple[Path, ...]) -> str:
            return "0" * 64 if digests is None else digests.of(files)

        sources = {source: of(model.files) for source, model in self.models.items()}
        base = None if self.base is None else of(self.base.files)
        return sources, base, {source: of(files) for source, files in self.evidence_files.items()}

    def _start(self) -> tuple[TensorFile, ...]:
        return () if self.base is None else (self.base,)

    def _roles(self) -> list[tuple[str, TensorFile]]:
        return [*self.models.items(), *((BASE, file) for file in self._start())]

    def _pairs(self, needs_base: bool) -> Iterator[tuple[tuple[str, TensorFile], tuple[str, TensorFile]]]:
        models = [(f"`{source}`", file) for source, file in self.models.items()]
        roles = [*([("the base", file) for file in self._start()] if needs_base else []), *models]
        # Under other keys of a file lie other models: an average beside the model itself.
        return (pair for pair in combinations(roles, 2) if pair[0][1].key == pair[1][1].key)


def _opened(path: Path, role: str, keys: Mapping[str, str] | str | None) -> TensorFile:
    if isinstance(keys, str):
        return open_raw(Path(path), keys, optional=True)
    return open_raw(Path(path), (keys or {}).get(role))


def _reference(files: list[tuple[str, TensorFile]], prefixes: Mapping[str, str]) -> Collection[str] | None:
    """Return the names that the other files are compared with: the base's, or those of a file that needs no guess."""
    sure = [(role, file) for role, file in files if role in prefixes or not file.checkpoint]
    for role, file in (sure or files)[:1]:
        return file.without_prefix(prefixes.get(role))
    return None


def _twice(one: str, other: str, what: str) -> str:
    start = f"{one[0].upper()}{one[1:]} and {other} are {what}"
    if one.startswith("`"):
        return f"{start}; leave one of them out, or give it more weight."
    return f"{start}: there is no change from the base to itself; leave {other} out."
