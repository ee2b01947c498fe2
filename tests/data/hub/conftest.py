"""Small data sets in the hub's own format, in folders and in the cache of `datasets`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, Features, Value
from datasets.packaged_modules.parquet.parquet import Parquet
from PIL import Image

from hamdg.data.benchmark import Hub
from hamdg.data.hub import rows as hub_module
from hamdg.data.hub.table import open_table

Rows = dict[str, list[object]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    yield
    open_table.cache_clear()
    hub_module._say_order_differs.cache_clear()


class Hubs:
    """Writes data sets below a folder.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image(self, number: int, kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (4 + number % 7, 4), (number % 251, 7, 9)).save(buffer, kind)
        return buffer.getvalue()

    def pets(self, count: int = 8, /, **changes: list[object] | None) -> Rows:
        """Return columns where every second image is a dog and the second half are sketches; `None` drops one."""
        own: dict[str, list[object] | None] = {
            "image": [{"bytes": self.image(row), "path": None} for row in range(count)],
            "label": [("cat", "dog")[row % 2] for row in range(count)],
            "domain": [("photo", "sketch")[row * 2 // count] for row in range(count)],
        }
        return {name: values for name, values in (own | changes).items() if values is not None}

    def product(self, domains: Sequence[object], labels: Sequence[object]) -> Rows:
        """Return columns with one image of every class in every domain; the domains take turns."""
        pairs = [(domain, label) for label in labels for domain in domains]
        return {
            "image": [{"bytes": self.image(row), "path": None} for row in range(len(pairs))],
            "domain": [domain for domain, _ in pairs],
            "label": [label for _, label in pairs],
        }

    def dataset(self, rows: Rows, features: Mapping[str, object] | None = None) -> Dataset:
        """Return rows as `datasets` has them: columns are text, and `image` is of images, unless said otherwise."""
        kinds = {name: Value("string") for name in rows} | {"image": datasets.Image()} | dict(features or {})
        return Dataset.from_dict(rows, features=Features({name: kinds[name] for name in rows}))

    def write(
        self, rows: Rows, features: Mapping[str, object] | None = None, split: str = "train", name: str = "set"
    ) -> Hub:
        """Write one split of a data set as the hub has it."""
        folder = self.folder / name
        (folder / "data").mkdir(parents=True, exist_ok=True)
        self.dataset(rows, features).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
        return Hub(str(folder))

    def cache(self, name: str, revision: str, rows: Rows | None = None) -> Path:
        """Put a data set into the cache as a download leaves it there, and return the copy."""
        owner, own = name.split("/")
        source = Path(self.write(rows or self.pets(), name=f"source-{revision}").id)
        files = {"train": [str(path) for path in source.rglob("*.parquet")]}
        builder = Parquet(dataset_name=own, hash=revision, data_files=files)
        builder.download_and_prepare()
        copy = self.folder / "cache" / f"{owner}___{builder.dataset_name}" / "default" / "0.0.0" / revision
        copy.parent.mkdir(parents=True, exist_ok=True)
        return Path(builder.cache_dir).rename(copy)


@pytest.fixture
def hubs(tmp_path: Path) -> Hubs:
    return Hubs(tmp_path)
