"""The verb `hamdg data conflicts`: what it prints and writes, what it never opens, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hamdg import cli
from hamdg.conflicts import measure
from hamdg.conflicts.experience import experience, shipped
from hamdg.data.domain import WallError, open_domain, opened_domains
from hamdg.stages.context import Context
from tests.commands.data.conftest import said
from tests.tiny import as_arguments, tiny_settings

SOURCES = ("cartoon", "photo", "sketch")
TINY = as_arguments(tiny_settings(data__mini__images_per_class=8))
FEW = ("--gradient-images=8", *TINY)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_prints_tables_and_writes_the_page_and_opens_no_other_domain(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with opened_domains() as opened:
        text = said(capsys, "conflicts", "mini/ham", "--quiet", "--out", "page.html", "--show=1", *FEW)
    assert opened == set(SOURCES)
    lines = text.splitlines()
    name = tiny_settings()["model.name"]
    assert lines[0] == f"Conflicts between cartoon, photo and sketch of mini, measured from {name} at its start"
    assert "Cosines of gradients, each a mean over half of 8 images of a source" in lines
    assert [line.split()[0] for line in lines if " / " in line] == ["cartoon", "cartoon", "photo"]
    assert "Images that enrichment would accept at the start, % (true_class)" in lines
    assert lines[-1] == "The page is in page.html."
    page = Path("page.html").read_text()
    assert "Images of art_painting were not opened." in page
    assert "cartoon / photo" in page
    assert "hamdg data conflicts mini/ham --gradient-images=8 --" in page
    assert "src=http" not in page
    # No run, no log: the page is all that is left.
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_json_holds_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data.mini.label_noise=0.5", "--images=20", *FEW]
    found = json.loads(said(capsys, "conflicts", "mini/ham", "--json", "--quiet", *arguments))
    assert list(found["sources"]) == list(SOURCES)
    source = found["sources"]["photo"]
    # Of 7 classes of 8 images, a fifth validates.
    assert (source["images"], source["judged"], sum(source["by_class"].values())) == (45, 20, 45)
    assert 0 < source["known"]["wrong"] < 20
    assert found["gradients"]["images"] == dict.fromkeys(SOURCES, 8)
    assert list(found["gradients"]["pairs"][0]["layers"]) == [*found["gradients"]["layers"], "whole"]
    assert set(found["enrichment"]["accepted"]["photo"]) == {"cartoon", "sketch"}
    by_class = [own["by_class"].values() for own in found["sources"].values()]
    imbalance = max(max(own) / min(own) for own in by_class)
    assert imbalance > 1
    facts = found["facts"]
    assert (facts["sources"], facts["imbalance"], facts["size_ratio"]) == (3, imbalance, 1)
    assert found["experience"] == experience(facts, shipped())


def test_code_that_opens_the_held_out_domain_meets_a_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    def peek(context: Context) -> None:
        open_domain(context.recipe, context.recipe.held_out, context.preprocess.side)

    monkeypatch.setattr(measure, "check_words", peek)
    with pytest.raises(WallError, match=r"^The domain `art_painting` must not be opened here"):
        cli.main(["data", "conflicts", "mini/ham", *FEW])


def test_an_image_classifier_learns_its_head_from_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--algorithm=erm", "--model.name=mini-resnet8", "--model.weights=random", "--model.text_head=linear_probe"]
    given = [one for one in FEW if not one.startswith("--model.")]
    with opened_domains() as opened:
        found = json.loads(said(capsys, "conflicts", "mini/ham", "--json", "--quiet", *given, *model))
    assert opened == set(SOURCES)
    head = found["gradients"]["left_out_of_whole"]
    assert head in found["gradients"]["layers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("mini-scenes/mtda",),
            "`hamdg data conflicts` compares images that have a class each, but `mini-scenes` has label maps; give a "
            "recipe for classification.",
        ),
        (
            ("mini/ham", "--model.name=mini-resnet8"),
            "`hamdg data conflicts` measures from a start model that knows the classes, but the linear layer of "
            "`model.name` `mini-resnet8` starts from random numbers; set `model.text_head` to `linear_probe`.",
        ),
        (
            ("mini/erm", "--excluded=[cartoon,sketch]"),
            "`hamdg data conflicts` compares source domains, but the recipe leaves `photo` alone; hold out or exclude "
            "fewer domains.",
        ),
        (
            ("mini/ham", "--gradient-images=1"),
            "Expected `--gradient-images` to be at least 2, one for each half, but got `1`.",
        ),
        (
            ("mini/ham", "--images=1"),
            "Expected `--images` to be at least 2, as each label is judged by other images, but got `1`.",
        ),
        (("mini/ham", "--images=0"), "Expected `--images` to be an integer between 1 and 100,000,000, but got `0`."),
        (
            ("mini/ham", "--out=there/page.html"),
            "Cannot write `there/page.html`: it is a folder, or its folder is missing; name another with `--out`.",
        ),
        (("mini/ham", "--qqq=1"), "There is no option or key `--qqq`; see `hamdg data conflicts --help`."),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "conflicts", *arguments, code=2) == f"hamdg: error: {message}\n"
