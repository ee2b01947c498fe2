from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hamdg.data.benchmark import Benchmark, Hub
from hamdg.data.locations import locate
from hamdg.data.registry import benchmark
from hamdg.errors import ConfigError, DataError

TOYS = Benchmark(
    "toys",
    ("metal", "soft_wood"),
    ("bear", "car"),
    title="Toys",
    folders=("Toy_Set", "Toy_Set/images", "toys/kfold"),
    hub=Hub("shop/toys"),
    impostors={"Shop/Tools": "hammers"},
)
HUBLESS = Benchmark("toys", TOYS.domains, TOYS.classes, title="Toys", folders=("Toy_Set",))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("HAMDG_DATA", raising=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the hub answer that it has everything, and note what it was asked."""
    names: list[str] = []

    def why_unavailable(hub: Hub) -> str | None:
        names.append(hub.id)
        return None

    monkeypatch.setattr("hamdg.data.hub.copies.why_unavailable", why_unavailable)
    return names


@pytest.fixture
def _silent_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamdg.data.hub.copies.why_unavailable", lambda hub: "the hub cannot be reached")


def grow(root: Path, *domains: str) -> Path:
    for domain in domains or TOYS.domains:
        (root / domain / "bear").mkdir(parents=True)
    return root


def refusal(root: str | None = None, hub: Hub | None = None, of: Benchmark = TOYS) -> str:
    with pytest.raises(DataError) as caught:
        locate(of, root, hub)
    return str(caught.value)


@pytest.mark.parametrize("inside", ["", "images", "KFold", "toy set", "Toy-Set/Images"])
def test_a_given_root_may_hold_the_domains_or_the_benchmarks_folder(tmp_path: Path, inside: str) -> None:
    root = grow(tmp_path / "mine" / inside)
    assert locate(TOYS, str(tmp_path / "mine")).root == root


def test_a_given_root_is_taken_even_if_a_domain_is_missing(tmp_path: Path) -> None:
    assert locate(TOYS, str(grow(tmp_path / "mine", "Soft Wood"))).root == tmp_path / "mine"


def test_the_folder_with_more_domains_is_taken(tmp_path: Path) -> None:
    grow(tmp_path / "mine", "metal")
    grow(tmp_path / "mine" / "images")
    assert locate(TOYS, str(tmp_path / "mine")).root == tmp_path / "mine" / "images"


def test_a_root_below_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(TOYS, f"~/{grow(tmp_path / 'mine').name}").root == tmp_path / "mine"


@pytest.mark.parametrize("name", ["Toy_Set", "toyset", "TOY SET/images", "toys/kfold"])
def test_the_data_folder_of_the_environment_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HAMDG_DATA", str(tmp_path / "all sets 数据"))
    root = grow(tmp_path / "all sets 数据" / name)
    assert locate(TOYS).root == root


def test_the_data_folder_of_the_environment_comes_first_then_itself_then_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAMDG_DATA", str(tmp_path / "sets"))
    grow(Path("data") / "Toy_Set")
    assert locate(TOYS).root == Path("data") / "Toy_Set"
    grow(tmp_path / "sets")
    assert locate(TOYS).root == tmp_path / "sets"
    grow(tmp_path / "sets" / "toys" / "kfold", "metal")
    assert locate(TOYS).root == tmp_path / "sets" / "toys" / "kfold"


def test_the_data_folder_itself_counts_only_with_all_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.setenv("HAMDG_DATA", str(grow(tmp_path / "sets", "metal")))
    assert locate(TOYS).hub == TOYS.hub
    assert asked == ["shop/toys"]


def test_a_hub_that_is_named_is_asked_though_there_is_a_folder(asked: list[str]) -> None:
    grow(Path("data") / "Toy_Set")
    place = locate(TOYS, hub=Hub("me/mine"))
    assert (place.root, place.hub) == (None, Hub("me/mine"))
    assert asked == ["me/mine"]


@pytest.mark.usefixtures("_silent_hub")
def test_nowhere_says_where_it_looked_and_the_three_ways_to_provide_the_images(tmp_path: Path) -> None:
    assert refusal() == (
        "The images of `toys` (Toys) were found nowhere: looked for `Toy_Set`, `Toy_Set/images`, `toys/kfold` in "
        f"`HAMDG_DATA` (not set) and in `data` (`{tmp_path}/cwd/data`: no such folder); `shop/toys` of the hub is "
        "not available (the hub cannot be reached). Give their folder with `--data.root=FOLDER`, set `HAMDG_DATA` to "
        "the folder that holds it, or connect this machine so that `shop/toys` can be downloaded."
    )


def test_nowhere_without_a_data_set_on_the_hub_asks_for_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAMDG_DATA", str(tmp_path / "sets"))
    (tmp_path / "sets").mkdir()
    (Path("data") / "toy set").mkdir(parents=True)
    assert refusal(of=HUBLESS) == (
        f"The images of `toys` (Toys) were found nowhere: looked for `Toy_Set` in `HAMDG_DATA` (`{tmp_path}/sets`: "
        f"none of them there) and in `data` (`{tmp_path}/cwd/data/toy set` holds none of the domains); no data set of "
        "the hub is known to hold them. Give their folder with `--data.root=FOLDER`, set `HAMDG_DATA` to the folder "
        "that holds it, or name a data set of the hub that holds them with `--data.hub=OWNER/NAME`."
    )


def test_a_data_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAMDG_DATA", str(tmp_path))
    lock(monkeypatch, tmp_path)
    assert f"in `HAMDG_DATA` (`{tmp_path}`: Permission denied)" in refusal(of=HUBLESS)


def test_a_root_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert refusal("typo") == (
        f"The folder `{tmp_path}/cwd/typo`, where the images of `toys` should be, does not exist; "
        "give the folder that holds its domains with `--data.root=FOLDER`."
    )


def test_a_root_that_is_a_file_or_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toys.zip").touch()
    assert (
        "toys.zip`, where the images of `toys` should be, is a file (a list of images is named with `--data.lists`);"
        in refusal(str(tmp_path / "toys.zip"))
    )
    lock(monkeypatch, tmp_path)
    assert "cannot be read (Permission denied)" in refusal(str(tmp_path))


def test_a_root_without_domains_lists_what_is_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    assert refusal(str(tmp_path / "mine")) == (
        f"`{tmp_path}/mine` holds none of the domains of `toys`: expected the folders `metal`, `soft_wood`, found the "
        "folders `a`, `b`. Give the folder that holds them with `--data.root=FOLDER`."
    )
    (tmp_path / "none").mkdir()
    assert ", found no folder." in refusal(str(tmp_path / "none"))


def test_root_and_hub_together_are_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^`data\.root` \(`here`\) and `data\.hub` \(`a/b`\) are both given, but .* one of them out\.$",
    ):
        locate(TOYS, "here", Hub("a/b"))


@pytest.mark.usefixtures("_silent_hub")
def test_a_named_hub_that_cannot_be_had_says_why() -> None:
    assert refusal(hub=Hub("a/b")) == (
        "The images of `toys` are not available from `a/b` (`data.hub`): the hub cannot be reached. "
        "Correct that, or give a folder that holds them with `--data.root=FOLDER` instead of `data.hub`."
    )


def test_an_impostor_is_refused_before_the_hub_is_asked(asked: list[str]) -> None:
    assert refusal(hub=Hub("bglab/terraincognita"), of=benchmark("terra")) == (
        "`data.hub` is `bglab/terraincognita`, which holds insects and is not TerraIncognita, whatever it is called; "
        "give a folder that holds the right images with `--data.root=FOLDER`."
    )
    assert asked == []


def test_looking_for_folders_loads_neither_numpy_nor_torch_nor_datasets(tmp_path: Path) -> None:
    grow(tmp_path / "office_home" / "images", "Art")
    grow(tmp_path / "PACS", "sketch")
    code = (
        "import sys; from hamdg.data.locations import locate; from hamdg.data.registry import benchmark; "
        "print(locate(benchmark('pacs')).root); "
        "print([name for name in ('numpy', 'torch', 'datasets', 'PIL') if name in sys.modules])"
    )
    environment = {**os.environ, "HAMDG_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(tmp_path / "PACS"), "[]"]


def lock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder unreadable; taking its permissions away does nothing where tests run as root."""
    scanned = os.scandir

    def guarded(path: Path) -> object:
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scanned(path)

    monkeypatch.setattr("hamdg.data.folders.layout.os.scandir", guarded)
