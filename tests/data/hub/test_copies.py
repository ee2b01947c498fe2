from __future__ import annotations

import errno
import importlib
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import datasets
import pytest
from datasets import DatasetDict
from huggingface_hub import HfApi, errors

from hamdg.data.benchmark import Hub
from hamdg.data.hub.copies import is_cached, open_splits, why_unavailable
from hamdg.data.hub.table import open_table
from hamdg.errors import DataError, StorageError

if TYPE_CHECKING:
    from tests.data.hub.conftest import Hubs

NOWHERE = Hub("nobody/nothing")
SHA = "0123456789abcdef0123456789abcdef01234567"


def unopened(hub: Hub) -> str:
    with pytest.raises(DataError) as caught:
        open_splits(hub)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("hamdg.data.hub.copies.answers", lambda *_: True)
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: None)


def test_what_was_saved_to_the_disk_can_be_opened(hubs: Hubs, tmp_path: Path) -> None:
    whole = hubs.dataset(hubs.pets())
    whole.save_to_disk(tmp_path / "one")
    parts = {"extra": whole.select([1]), "validation": whole.select([6]), "train": whole.select([5, 4])}
    DatasetDict(parts).save_to_disk(tmp_path / "several")
    assert len(open_splits(Hub(str(tmp_path / "one")))["train"]) == 8
    several = Hub(str(tmp_path / "several"))
    assert list(open_splits(several)) == ["train", "validation", "extra"]
    assert [open_table(several).content(row) for row in range(4)] == [hubs.image(row) for row in (5, 4, 6, 1)]


def test_splits_without_rows_are_left_out(hubs: Hubs, tmp_path: Path) -> None:
    whole = hubs.dataset(hubs.pets())
    untyped = datasets.Dataset.from_dict({"image": [], "label": [], "domain": []})
    DatasetDict({"train": whole, "test": untyped}).save_to_disk(tmp_path / "untyped")
    DatasetDict({"train": whole, "test": whole.select([])}).save_to_disk(tmp_path / "typed")
    files = hubs.write(hubs.pets())
    whole.select([]).to_parquet(f"{files.id}/data/test-00000-of-00001.parquet")
    for hub in (Hub(str(tmp_path / "untyped")), Hub(str(tmp_path / "typed")), files):
        assert list(open_splits(hub)) == ["train"]
        assert len(open_table(hub)) == 8


def test_a_damaged_file_is_named(hubs: Hubs, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "set" / "data" / "train-00000-of-00001.parquet"
    folder = hubs.write(hubs.pets())
    path.write_bytes(path.read_bytes()[:-9])
    for hub in (folder, Hub(str(path))):
        assert unopened(hub).startswith(f"The data set `{hub.id}` cannot be opened: its files `{path}` are damaged (")
        assert unopened(hub).endswith("; copy them again.")
    # Nothing that the libraries below write besides.
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_damaged_within_is_told(hubs: Hubs, tmp_path: Path) -> None:
    hub = hubs.write(hubs.pets(400))
    path = tmp_path / "set" / "data" / "train-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[4:800] = bytes(796)
    path.write_bytes(content)
    assert unopened(hub).startswith(f"The data set `{hub.id}` cannot be opened: one of its files cannot be read (")


def test_a_damaged_copy_in_the_cache_is_named(hubs: Hubs) -> None:
    copy = hubs.cache("nobody/nothing", "newer", hubs.pets(400))
    path = next(copy.glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:2000])
    sentence = unopened(NOWHERE)
    assert sentence.startswith("The data set `nobody/nothing` cannot be opened: its copy in the cache is damaged (")
    assert sentence.endswith(f"); delete `{copy}` and repeat the command.")


def test_an_empty_folder_says_what_belongs_there(tmp_path: Path) -> None:
    assert unopened(Hub(str(tmp_path))) == (
        f"The data set `{tmp_path}` cannot be opened: it holds no data files, "
        "such as `data/train-00000-of-00001.parquet`."
    )


@pytest.mark.parametrize("name", ["data/mine/pets", "csv", "a b/c", "../there-is-no-such-folder"])
def test_what_is_neither_a_folder_nor_a_name_is_never_looked_for(name: str) -> None:
    assert why_unavailable(Hub(name)) == "it is neither a folder nor a name such as `owner/name`"


def test_without_the_network_it_says_that_it_may_not_ask() -> None:
    assert unopened(NOWHERE) == (
        "The data set `nobody/nothing` cannot be opened: it is not in the cache, "
        "and `HF_HUB_OFFLINE` forbids to ask the hub."
    )


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
    """Return the error of a refused connection of whichever library the hub's speaks HTTP with."""
    library = importlib.import_module(errors.HfHubHTTPError.__mro__[1].__module__.partition(".")[0])
    kind = library.ConnectionError if library.__name__ == "requests" else library.ConnectError
    return cast("Exception", kind("[Errno 111] Connection refused"))


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


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(("size", "words"), [(18_500_000_000, "18.5 GB"), (None, "its size is not known")])
def test_a_download_is_announced_with_its_size(
    hubs: Hubs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int | None, words: str
) -> None:
    builder = datasets.load_dataset_builder(hubs.write(hubs.pets()).id)
    builder.info.download_size = size
    asked = []

    def find(name: str, revision: str | None) -> datasets.DatasetBuilder:
        asked.append((name, revision))
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", find)
    assert len(open_splits(Hub("nobody/nothing", SHA))["train"]) == 8
    assert asked == [("nobody/nothing", SHA)]
    announced = f"downloading `nobody/nothing` from the hub ({words}); it is kept in `{hubs.folder / 'cache'}`"
    assert announced in capsys.readouterr().out


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
        open_splits(NOWHERE)


@pytest.mark.usefixtures("online")
def test_a_download_that_fails_is_not_replaced_by_another_revision(hubs: Hubs) -> None:
    hubs.cache("nobody/nothing", "other")
    assert unopened(Hub("nobody/nothing", SHA)).endswith("the hub stopped answering.")


@pytest.mark.parametrize("name", ["flwrlabs/pacs", "wltjr1007/DomainNet"])
def test_a_copy_in_the_cache_needs_no_network(hubs: Hubs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[object] = []
    monkeypatch.setattr("hamdg.data.hub.copies.answers", asked.append)
    assert not is_cached(Hub(name, SHA))
    copy = hubs.cache(name, SHA)
    assert copy.parts[-4] in ("flwrlabs___pacs", "wltjr1007___domain_net")
    assert is_cached(Hub(name, SHA))
    assert why_unavailable(Hub(name, SHA)) is None
    assert open_table(Hub(name, SHA)).content(3) == hubs.image(3)
    assert asked == []


def test_the_cache_must_have_the_revision_that_is_pinned(hubs: Hubs) -> None:
    hubs.cache("nobody/nothing", "older", hubs.pets(6))
    hubs.cache("nobody/nothing", "newer", hubs.pets(10))
    assert not is_cached(Hub("nobody/nothing", SHA))
    assert len(open_table(Hub("nobody/nothing", "older"))) == 6
    assert len(open_table(NOWHERE)) == 10


def test_a_download_that_was_interrupted_is_no_copy(hubs: Hubs) -> None:
    copy = hubs.cache("nobody/nothing", "newer")
    copy.rename(copy.with_name("newer.incomplete"))
    assert not is_cached(NOWHERE)
