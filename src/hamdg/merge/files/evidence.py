"""Evidence from files: what was measured on data beforehand, for methods that need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hamdg.errors import Argument, ConfigError, WeightsError
from hamdg.merge.files.folders import INDEX
from hamdg.merge.files.reading import TensorFile, open_tensors


class FileEvidence:
    """Answers Fisher information, Gram matrices and losses from one file for each source.

    A file of tensors holds the diagonal Fisher information or the Gram matrices by tensor name; a `.json` file holds
    `{source: validation loss}` (all sources may share one).

    Args:
        paths: The file of every source.

    Raises:
        WeightsError: A file is missing, damaged or of an unknown kind.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = {source: Path(paths[source]) for source in sorted(paths)}
        self._tensors: dict[str, TensorFile] = {}
        self._losses: dict[str, object] = {}
        for source, path in self.paths.items():
            if path.suffix == ".json" and not path.name.endswith(INDEX):
                self._losses[source] = _read_losses(path).get(source)
            else:
                self._tensors[source] = open_tensors(path)

    def files(self, source: str) -> tuple[Path, ...]:
        """Return the files that a source's evidence is in."""
        return self._tensors[source].files if source in self._tensors else (self.paths[source],)

    def check_sources(self, sources: tuple[str, ...]) -> None:
        """Check that there is one file for each source.

        Raises:
            ConfigError: There is none for a source, or one for something else.
        """
        wrong = sorted(set(sources) ^ set(self.paths))
        if wrong:
            what = "has none" if wrong[0] in sources else "is not a source"
            raise ConfigError(
                "Expected ", Argument("evidence"), f" to hold one file for each source, but `{wrong[0]}` {what}."
            )

    def fisher(self, source: str) -> Mapping[str, Tensor]:
        """Return the diagonal Fisher information in a source's file."""
        return self._read(source)

    def gram(self, source: str) -> Mapping[str, Tensor]:
        """Return the Gram matrices in a source's file."""
        return self._read(source)

    def loss(self, source: str) -> float:
        """Return the validation loss in a source's file."""
        value = self._losses.get(source)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(
                f"The evidence of `{source}` (`{self.paths[source]}`) holds no loss; give a `.json` file with a "
                f"number under `{source}`."
            )
        return float(value)

    def _read(self, source: str) -> Mapping[str, Tensor]:
        if source not in self._tensors:
            raise ConfigError(
                f"The evidence of `{source}` (`{self.paths[source]}`) holds no tensors; give a `.safetensors` file."
            )
        return self._tensors[source]


def _read_losses(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise WeightsError(f"The evidence file `{path}` does not exist; give the path of a file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"The evidence file `{path}` is damaged ({error}). Write it again.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"The evidence file `{path}` holds no table of losses by source. Write it again.")
    return content
