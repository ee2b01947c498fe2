from __future__ import annotations

import errno
import importlib
import io
import json
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub import HfApi, errors
from PIL import Image

from hamdg.data import hub as hub_module
from hamdg.data.benchmark import Benchmark, Hub, normalised
from hamdg.data.custom import custom_benchmark
from hamdg.data.hub import is_cached, list_hub_domain, why_unavailable
from hamdg.data.hub_table import open_table
from hamdg.data.registry import benchmark
from hamdg.errors import DataError, StorageError

PETS = Benchmark("pets", domains=("photo", "sketch"), classes=("cat", "dog"))
NOWHERE = Hub("nobody/nothing")
SHA = "0123456789abcdef0123456789abcdef01234567"
Rows = dict[str, list[object]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    yield
    open_table.cache_clear()
    hub_module._say_order_differs.cache_clear()


def picture(number: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4 + number % 7, 4), (number % 251, 7, 9)).save(buffer, kind)
    return buffer.getvalue()


def pets(count: int = 8, **columns: list[object]) -> Rows:
    """Return the columns of a small data set: every second picture is a dog, the second half are sketches."""
    own: Rows = {
        "image": [{"bytes": picture(row), "path": None} for row in range(count)],
        "label": [("cat", "dog")[row % 2] for row in range(count)],
        "domain": [("photo", "sketch")[row * 2 // count] for row in range(count)],
    }
    return own | columns


def write(folder: Path, rows: Rows, features: dict[str, object] | None = None, split: str = "train") -> Hub:
    """Write one split as the hub has it, and return its name."""
    kinds = {name: Value("string") for name in rows} | {"image": datasets.Image()} | (features or {})
    whole = Dataset.from_dict(rows, features=Features({name: kinds[name] for name in rows}))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    whole.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return Hub(str(folder))


def product(domains: Sequence[object], labels: Sequence[object]) -> Rows:
    pairs = [(domain, label) for label in labels for domain in domains]
    return {
        "image": [{"bytes": picture(row), "path": None} for row in range(len(pairs))],
        "domain": [domain for domain, _ in pairs],
        "label": [label for _, label in pairs],
    }


def test_pacs_has_its_domains_as_text(tmp_path: Path) -> None:
    pacs = benchmark("pacs")
    rows = product(("photo", "art_painting", "sketch", "cartoon"), range(7))
    hub = write(tmp_path / "pacs", rows, {"label": ClassLabel(names=list(pacs.classes))})
    listing = list_hub_domain(pacs, hub, "art_painting")
    assert listing.labels.tolist() == list(range(7))
    assert listing.labels.dtype == np.int64
    assert list(listing.names) == [f"train row {4 * label + 1}" for label in range(7)]
    assert [listing.content(position) for position in range(7)] == [picture(4 * label + 1) for label in range(7)]
    assert listing.describe(2) == f"train row 9 of `{hub.id}`"
    part = listing.take(np.array([5, 2]))
    assert (part.content(1), part.describe(1)) == (picture(9), listing.describe(2))


def test_officehome_has_a_domain_of_two_words(tmp_path: Path) -> None:
    office = benchmark("officehome")
    rows = product(("Art", "Clipart", "Product", "Real World"), range(65))
    hub = write(tmp_path / "office", rows, {"label": ClassLabel(names=list(office.classes))})
    listing = list_hub_domain(office, hub, "Real_World")
    assert listing.labels.tolist() == list(range(65))
    assert listing.content(64) == picture(4 * 64 + 3)


def test_domainnet_numbers_its_classes_in_another_order_and_has_two_splits(tmp_path: Path) -> None:
    net = benchmark("domainnet")
    official = sorted(net.classes, key=normalised)
    assert (official.index("The_Eiffel_Tower"), official.index("t-shirt")) == (308, 327)
    domains = ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]
    features = {"label": ClassLabel(names=official), "domain": ClassLabel(names=domains)}
    write(tmp_path / "net", product([2], [308, 0]), features, "test")
    hub = write(tmp_path / "net", product([0, 2], range(345)), features, "train")
    listing = list_hub_domain(net, hub, "painting")
    assert len(listing) == 347
    assert [net.classes[label] for label in listing.labels] == [*official, "The_Eiffel_Tower", "aircraft_carrier"]
    assert listing.labels[308] == 0
    assert listing.names[344:] == ["train row 689", "test row 0", "test row 1"]
    assert listing.content(346) == picture(1)


def test_a_domain_can_be_a_number_with_a_name(tmp_path: Path) -> None:
    rows = product([1, 0], ["dog", "cat"])
    hub = write(tmp_path / "pets", rows, {"domain": ClassLabel(names=["sketch", "photo"])})
    assert list_hub_domain(PETS, hub, "photo").content(0) == picture(0)


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    rows = product(["photo", "sketch"], ["dog", "cat"])
    rows = {"img": rows["image"], "animal": rows["label"], "style": rows["domain"]}
    hub = write(tmp_path / "pets", rows, {"img": datasets.Image()})
    listing = list_hub_domain(PETS, Hub(hub.id, image="img", label="animal", domain="style"), "sketch")
    assert listing.labels.tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "JPEG", "TIFF"])
def test_pictures_come_as_the_bytes_that_were_stored(tmp_path: Path, kind: str) -> None:
    stored = [picture(row, kind) for row in range(8)]
    rows = pets(image=[{"bytes": one, "path": f"{row}.x"} for row, one in enumerate(stored)])
    listing = list_hub_domain(PETS, write(tmp_path / "pets", rows), "sketch")
    assert [listing.content(position) for position in range(4)] == stored[4:]
    assert listing.sizes.tolist() == [len(one) for one in stored[4:]]
    assert Image.open(io.BytesIO(listing.content(0))).format == kind


def test_a_plain_column_of_bytes_is_as_good_as_pictures(tmp_path: Path) -> None:
    rows = pets(image=[picture(row) for row in range(8)])
    listing = list_hub_domain(PETS, write(tmp_path / "pets", rows, {"image": Value("binary")}), "sketch")
    assert listing.content(1) == picture(5)
    assert listing.sizes.tolist() == [len(picture(row)) for row in range(4, 8)]


def test_a_folder_of_pictures_with_a_table_is_read_from_its_files(tmp_path: Path) -> None:
    lines = []
    for row, (label, domain) in enumerate(zip(pets()["label"], pets()["domain"], strict=True)):
        (tmp_path / f"{row}.png").write_bytes(picture(row))
        lines.append(json.dumps({"file_name": f"{row}.png", "label": label, "domain": domain}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    listing = list_hub_domain(PETS, Hub(str(tmp_path)), "sketch")
    assert [listing.content(position) for position in range(4)] == [picture(row) for row in range(4, 8)]
    assert listing.sizes.tolist() == [len(picture(row)) for row in range(4, 8)]
    (tmp_path / "5.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"5\.png"):
        listing.content(1)


def test_what_was_saved_to_the_disk_can_be_opened(tmp_path: Path) -> None:
    kinds = Features({"image": datasets.Image(), "label": Value("string"), "domain": Value("string")})
    whole = Dataset.from_dict(pets(), features=kinds)
    whole.save_to_disk(tmp_path / "one")
    DatasetDict({"validation": whole.select([6]), "train": whole.select([4, 5])}).save_to_disk(tmp_path / "several")
    assert len(list_hub_domain(PETS, Hub(str(tmp_path / "one")), "sketch")) == 4
    united = list_hub_domain(PETS, Hub(str(tmp_path / "several")), "sketch")
    assert list(united.names) == ["train row 0", "train row 1", "validation row 0"]
    assert united.content(2) == picture(6)


def test_another_process_opens_the_data_set_by_itself(tmp_path: Path) -> None:
    listing = list_hub_domain(PETS, write(tmp_path / "pets", pets(80)), "sketch")
    packed = pickle.dumps(listing._source)
    assert len(packed) < 1200
    open_table.cache_clear()
    assert pickle.loads(packed).content(3) == picture(43)


def test_the_fingerprint_tells_copies_apart(tmp_path: Path) -> None:
    one = list_hub_domain(PETS, write(tmp_path / "one", pets()), "sketch")
    again = list_hub_domain(PETS, write(tmp_path / "again", pets()), "sketch")
    other = list_hub_domain(PETS, write(tmp_path / "other", pets(10)), "sketch")
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_that_the_order_differs_from_folders_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pacs = benchmark("pacs")
    hub = write(tmp_path / "pacs", product(pacs.domains, pacs.classes))
    list_hub_domain(pacs, hub, "photo")
    list_hub_domain(pacs, hub, "sketch")
    assert capsys.readouterr().out.count("the same seed holds out other pictures than in a folder copy.") == 1


def without(name: str) -> Rows:
    return {column: values for column, values in pets().items() if column != name}


@pytest.mark.parametrize(
    ("rows", "features", "sentence"),
    [
        (
            without("domain"),
            {},
            "The data set `{id}` has no column `domain`; it has `image`, `label`. "
            "Name the right ones with `data.columns.domain`.",
        ),
        (
            {"img": pets()["image"], "class": pets()["label"], "domain": pets()["domain"]},
            {"img": datasets.Image()},
            "The data set `{id}` has no column `image`, `label`; it has `img`, `class`, `domain`. "
            "Name the right ones with `data.columns.image` and `data.columns.label`.",
        ),
        (
            pets(image=["a.png"] * 8),
            {"image": Value("string")},
            "The column `image` of `{id}` holds no pictures (Value('string')); "
            "name the column that does with `data.columns.image`.",
        ),
        (
            pets(label=[0, 1] * 4),
            {"label": Value("int64")},
            "The column `label` of `{id}` holds numbers or the like (Value('int64')), not names, so nobody can tell "
            "what they mean; name a column of names with `data.columns.label`, or make it a `ClassLabel` with names.",
        ),
        (
            pets(label=["cat", "dog", "cat", "fish"] * 2),
            {},
            "`{id}` has labels that `pets` does not know: `fish`; known are `cat`, `dog`. "
            "Name another data set, or the right column with `data.columns.label`.",
        ),
        (
            pets(domain=["photo", "oil", "sketch", "photo"] * 2),
            {},
            "`{id}` has domains that `pets` does not know: `oil`; known are `photo`, `sketch`. "
            "Name another data set, or the right column with `data.columns.domain`.",
        ),
        (
            pets(label=["cat", "dog", "Dog", "cat"] * 2),
            {},
            "`{id}` has more than one name for the same label: `dog`, `Dog`.",
        ),
        (
            pets(label=["dog"] * 8),
            {},
            "`{id}` has no picture of 1 classes of `pets` (`cat`), so it is another data set or a part of this one; "
            "name a complete copy.",
        ),
        (
            pets(domain=["photo"] * 8),
            {},
            "`{id}` has no picture of the domain `sketch` of `pets`; it has `photo`.",
        ),
        (
            pets(label=["cat", None, "dog", None] * 2),
            {},
            "4 rows of `{id}` have nothing in the column `label`, the first is train row 1; "
            "every picture needs a class and a domain.",
        ),
        (
            pets(label=[0, 1, 0, -1] * 2),
            {"label": ClassLabel(names=["cat", "dog"])},
            "2 rows of `{id}` have nothing in the column `label`, the first is train row 3; "
            "every picture needs a class and a domain.",
        ),
    ],
    ids=[
        "a missing column", "two missing columns", "no pictures", "numbers", "class", "domain", "doubled",
        "missing class", "missing domain", "nothing", "minus one",
    ],
)  # fmt: skip
def test_a_data_set_that_does_not_fit_is_refused(
    tmp_path: Path, rows: Rows, features: dict[str, object], sentence: str
) -> None:
    hub = write(tmp_path / "pets", rows, features)
    with pytest.raises(DataError) as caught:
        list_hub_domain(PETS, hub, "sketch")
    assert str(caught.value) == sentence.format(id=hub.id)


def test_names_that_no_row_has_do_no_harm(tmp_path: Path) -> None:
    rows = pets(label=[3, 1] * 4)
    hub = write(tmp_path / "pets", rows, {"label": ClassLabel(names=["unused", "dog", "other", "cat"])})
    assert list_hub_domain(PETS, hub, "photo").labels.tolist() == [0, 1, 0, 1]


def test_a_row_without_a_picture_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    rows = pets(image=[{"bytes": picture(1), "path": None}] * 7 + [None])
    listing = list_hub_domain(PETS, write(tmp_path / "pets", rows), "sketch")
    assert listing.sizes[3] == 0
    with pytest.raises(OSError, match="the row has no picture"):
        listing.content(3)


def unopened(hub: Hub) -> str:
    with pytest.raises(DataError) as caught:
        open_table(hub)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    hub = write(tmp_path / "pets", pets())
    path = tmp_path / "pets" / "data" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert unopened(hub).startswith(f"The data set `{hub.id}` cannot be opened: its files `{path}` are damaged (")
    assert unopened(hub).endswith("; copy them again.")


def test_a_file_that_is_damaged_within_is_told(tmp_path: Path) -> None:
    hub = write(tmp_path / "pets", pets(400))
    path = tmp_path / "pets" / "data" / "train-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[4:800] = bytes(796)
    path.write_bytes(content)
    assert unopened(hub).startswith(f"The data set `{hub.id}` cannot be opened: one of its files cannot be read (")


def test_an_empty_folder_says_what_belongs_there(tmp_path: Path) -> None:
    assert unopened(Hub(str(tmp_path))) == (
        f"The data set `{tmp_path}` cannot be opened: it holds no data files, "
        "such as `data/train-00000-of-00001.parquet`."
    )


@pytest.mark.parametrize("name", ["data/mine/pets", "csv", "a b/c", "../x"])
def test_what_is_neither_a_folder_nor_a_name_is_never_looked_for(name: str) -> None:
    assert why_unavailable(Hub(name)) == "it is neither a folder nor a name such as `owner/name`"


def test_without_the_network_it_says_that_it_may_not_ask() -> None:
    assert unopened(NOWHERE) == (
        "The data set `nobody/nothing` cannot be opened: it is not in the cache, "
        "and `HF_HUB_OFFLINE` forbids to ask the hub."
    )


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("hamdg.data.hub_copy.answers", lambda *_: True)
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: None)


@pytest.mark.slow
def test_a_hub_that_never_answers_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    closing = threading.Event()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def never(*_: object, **__: object) -> None:
        closing.wait(30)
        raise OSError("too late")

    monkeypatch.setattr("urllib.request.urlopen", never)
    start = time.monotonic()
    assert unopened(NOWHERE) == (
        "The data set `nobody/nothing` cannot be opened: it is not in the cache, "
        "and `https://huggingface.co` did not answer within 2.5 s."
    )
    assert time.monotonic() - start < 3.5
    closing.set()


def http_error() -> Exception:
    library = importlib.import_module(errors.HfHubHTTPError.__mro__[1].__module__.partition(".")[0])
    return cast("Exception", library.ConnectError("[Errno 111] Connection refused"))


def hub_error(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)  # they ask for the hub's answer, which nobody has here


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            hub_error(errors.RepositoryNotFoundError),
            "the hub has no such data set, or it is private; check the name, or log in with `hf auth login`",
        ),
        (
            hub_error(errors.GatedRepoError),
            "its owner asks for an agreement; accept it at https://huggingface.co/datasets/nobody/nothing, "
            "then log in with `hf auth login`",
        ),
        (
            hub_error(errors.RevisionNotFoundError),
            f"the hub has no revision `{SHA}` of it; name another one, or none",
        ),
        (http_error(), "the hub cannot be reached"),
        (TimeoutError("timed out"), "the hub cannot be reached"),
        (ValueError("something else.\nSee the log"), "something else"),
    ],
    ids=["none or private", "gated", "revision", "refused", "slow", "else"],
)
@pytest.mark.usefixtures("online")
def test_what_the_hub_says_is_told_in_words(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "dataset_info", refuse)
    assert unopened(Hub("nobody/nothing", SHA)) == f"The data set `nobody/nothing` cannot be opened: {reason}."


@pytest.fixture
def answering(online: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Let the hub know every data set, but fail with an error when it is to be downloaded."""

    def fail_with(error: Exception) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(datasets, "load_dataset_builder", refuse)

    return fail_with


def test_a_gated_data_set_names_the_page_to_agree_on(answering: Callable[[Exception], None]) -> None:
    answering(datasets.exceptions.DatasetNotFoundError("Dataset 'nobody/nothing' is a gated dataset on the Hub."))
    assert unopened(NOWHERE) == (
        "The data set `nobody/nothing` cannot be opened: its owner asks for an agreement; accept it at "
        "https://huggingface.co/datasets/nobody/nothing, then log in with `hf auth login`."
    )


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("Not enough disk space. Needed: 18.50 GB (download)")],
    ids=["full", "too small"],
)
def test_a_full_disk_is_told_as_such(answering: Callable[[Exception], None], error: OSError, tmp_path: Path) -> None:
    wrapped = datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset")
    wrapped.__cause__ = error
    answering(wrapped)
    with pytest.raises(StorageError, match=re.escape(f"Cannot write `{tmp_path / 'cache'}`: the disk is full")):
        open_table(NOWHERE)


@pytest.mark.usefixtures("online")
def test_a_download_that_fails_is_not_replaced_by_another_revision(tmp_path: Path) -> None:
    cached(tmp_path, "nobody/nothing", "other")
    assert unopened(Hub("nobody/nothing", SHA)).endswith("the hub stopped answering.")


def cached(folder: Path, name: str, revision: str, rows: Rows | None = None) -> Path:
    """Put a data set into the cache as a download leaves it there."""
    owner, own = name.split("/")
    source = Path(write(folder / "source" / revision, rows or pets()).id)
    files = {"train": [str(path) for path in source.rglob("*.parquet")]}
    builder = Parquet(dataset_name=own, hash=revision, data_files=files)
    builder.download_and_prepare()
    built = Path(builder.cache_dir)
    copy = folder / "cache" / f"{owner}___{builder.dataset_name}" / "default" / "0.0.0" / revision
    copy.parent.mkdir(parents=True, exist_ok=True)
    return built.rename(copy)


@pytest.mark.parametrize("name", ["flwrlabs/pacs", "wltjr1007/DomainNet"])
def test_a_copy_in_the_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[object] = []
    monkeypatch.setattr("hamdg.data.hub_copy.answers", asked.append)
    assert not is_cached(Hub(name, SHA))
    copy = cached(tmp_path, name, SHA)
    assert copy.parts[-4] in ("flwrlabs___pacs", "wltjr1007___domain_net")
    assert is_cached(Hub(name, SHA))
    assert why_unavailable(Hub(name, SHA)) is None
    assert len(list_hub_domain(PETS, Hub(name, SHA), "sketch")) == 4
    assert asked == []


def test_the_cache_must_have_the_revision_that_is_pinned(tmp_path: Path) -> None:
    cached(tmp_path, "nobody/nothing", "older", pets(6))
    cached(tmp_path, "nobody/nothing", "newer", pets(10))
    assert not is_cached(Hub("nobody/nothing", SHA))
    assert len(open_table(Hub("nobody/nothing", "older"))) == 6
    assert len(open_table(NOWHERE)) == 10


def test_a_download_that_was_interrupted_is_no_copy(tmp_path: Path) -> None:
    copy = cached(tmp_path, "nobody/nothing", "newer")
    copy.rename(copy.with_name("newer.incomplete"))
    assert not is_cached(NOWHERE)


def test_a_custom_benchmark_takes_its_names_from_the_columns(tmp_path: Path) -> None:
    rows = pets(label=[2, 0] * 4)
    hub = write(tmp_path / "pets", rows, {"label": ClassLabel(names=["Zebra", "unused", "ant"])})
    own = custom_benchmark(None, hub)
    assert (own.name, own.domains, own.classes) == ("custom", ("photo", "sketch"), ("Zebra", "ant"))
    assert own.hub == hub
    assert list_hub_domain(own, hub, "sketch").labels.tolist() == [1, 0, 1, 0]


def test_a_custom_benchmark_needs_two_domains_on_the_hub_too(tmp_path: Path) -> None:
    hub = write(tmp_path / "pets", pets(domain=["photo"] * 8))
    sentence = f"The data set `{hub.id}` has only the domain `photo`; two or more are needed."
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        custom_benchmark(None, hub)
