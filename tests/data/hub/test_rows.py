from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from datasets import ClassLabel

from hamdg.config.data import DataConfig
from hamdg.config.recipe import Recipe
from hamdg.data.benchmark import Benchmark, Hub, normalized
from hamdg.data.custom import custom_benchmark
from hamdg.data.find_images import find_images
from hamdg.data.hub.rows import HubSource, list_hub_domain
from hamdg.data.hub.table import HubTable, open_table
from hamdg.data.listing import Listing
from hamdg.data.registry import benchmark
from hamdg.errors import DataError

if TYPE_CHECKING:
    from tests.data.hub.conftest import Hubs

PETS = Benchmark("pets", domains=("photo", "sketch"), classes=("cat", "dog"))


def test_pacs_has_its_domains_as_text(hubs: Hubs) -> None:
    pacs = benchmark("pacs")
    rows = hubs.product(("photo", "art_painting", "sketch", "cartoon"), range(7))
    hub = hubs.write(rows, {"label": ClassLabel(names=list(pacs.classes))})
    listing = list_hub_domain(pacs, hub, "art_painting")
    assert listing.labels.tolist() == list(range(7))
    assert listing.labels.dtype == np.int64
    assert list(listing.names) == [f"train row {4 * label + 1}" for label in range(7)]
    assert [listing.content(position) for position in range(7)] == [hubs.image(4 * n + 1) for n in range(7)]
    assert listing.describe(2) == f"train row 9 of {hub.id}"
    part = listing.take(np.array([5, 2]))
    assert (part.content(1), part.describe(1)) == (hubs.image(9), listing.describe(2))


def test_officehome_has_a_domain_of_two_words(hubs: Hubs) -> None:
    office = benchmark("officehome")
    rows = hubs.product(("Art", "Clipart", "Product", "Real World"), range(65))
    hub = hubs.write(rows, {"label": ClassLabel(names=list(office.classes))})
    listing = list_hub_domain(office, hub, "Real_World")
    assert listing.labels.tolist() == list(range(65))
    assert listing.content(64) == hubs.image(4 * 64 + 3)


def test_domainnet_numbers_its_classes_in_another_order_and_has_two_splits(hubs: Hubs) -> None:
    net = benchmark("domainnet")
    official = sorted(net.classes, key=normalized)
    assert (official.index("The_Eiffel_Tower"), official.index("t-shirt")) == (308, 327)
    domains = ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]
    features = {"label": ClassLabel(names=official), "domain": ClassLabel(names=domains)}
    hubs.write(hubs.product([2], [308, 0]), features, "test")
    hub = hubs.write(hubs.product([0, 2], range(345)), features)
    listing = list_hub_domain(net, hub, "painting")
    assert len(listing) == 347
    assert [net.classes[label] for label in listing.labels] == [*official, "The_Eiffel_Tower", "aircraft_carrier"]
    assert listing.labels[308] == 0
    assert listing.names[344:] == ["train row 689", "test row 0", "test row 1"]
    assert listing.content(346) == hubs.image(1)


def test_another_process_opens_the_data_set_by_itself(hubs: Hubs) -> None:
    listing = list_hub_domain(PETS, hubs.write(hubs.pets(800)), "sketch").take([3])
    packed = pickle.dumps(listing)
    assert len(packed) < 10_000 < 400 * listing.sizes.mean()
    open_table.cache_clear()
    assert pickle.loads(packed).content(0) == hubs.image(403)


def test_copies_in_different_places_have_different_places(hubs: Hubs) -> None:
    one, other = (list_hub_domain(PETS, hubs.write(hubs.pets(), name=name), "sketch") for name in ("one", "other"))
    assert (one.place, other.place) == (str((hubs.folder / "one").resolve()), str((hubs.folder / "other").resolve()))
    assert HubSource(Hub("owner/name", "1234"), np.zeros(1, np.int64)).place == "owner/name 1234"


def test_the_fingerprint_tells_copies_apart(hubs: Hubs) -> None:
    one, again = (list_hub_domain(PETS, hubs.write(hubs.pets(), name=name), "sketch") for name in ("one", "again"))
    other = list_hub_domain(PETS, hubs.write(hubs.pets(10), name="other"), "sketch")
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_the_fingerprint_tells_images_of_one_size_apart(hubs: Hubs) -> None:
    def listing(name: str, shift: int) -> Listing:
        bitmaps = [{"bytes": hubs.image(7 * (row + shift), "BMP"), "path": None} for row in range(8)]
        return list_hub_domain(PETS, hubs.write(hubs.pets(image=list(bitmaps)), name=name), "sketch")

    one, other = listing("one", 0), listing("other", 8)
    assert one.sizes.tolist() == other.sizes.tolist()
    assert one.fingerprint != other.fingerprint
    assert one.take([1, 2]).fingerprint != other.take([1, 2]).fingerprint


def test_rows_are_listed_without_a_image_being_read(hubs: Hubs, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hubs.write(hubs.pets())
    recipe = Recipe(benchmark="custom", held_out="sketch", data=DataConfig(hub=hub.id))
    read: list[int] = []
    content = HubTable.content

    def watched(table: HubTable, row: int) -> bytes:
        read.append(row)
        return content(table, row)

    monkeypatch.setattr(HubTable, "content", watched)
    find_images(recipe)
    assert read == []
    assert len(list_hub_domain(PETS, hub, "sketch").fingerprint) == 64
    assert sorted(read) == [4, 5, 6, 7]


def test_a_held_out_domain_that_no_row_has_is_reported_before_training(hubs: Hubs) -> None:
    pacs = benchmark("pacs")
    rows = hubs.product(("photo", "art_painting", "cartoon"), range(7))
    hub = hubs.write(rows, {"label": ClassLabel(names=list(pacs.classes))})
    recipe = Recipe(benchmark="pacs", held_out="sketch", data=DataConfig(hub=hub.id))
    with pytest.raises(DataError, match="has no image of the domain `sketch` of `pacs`; it has `photo`, `art_pain"):
        find_images(recipe)
    find_images(recipe, held_out=False)


def test_that_the_order_differs_from_folders_is_said_once(hubs: Hubs, capsys: pytest.CaptureFixture[str]) -> None:
    pacs = benchmark("pacs")
    hub = hubs.write(hubs.product(pacs.domains, pacs.classes))
    list_hub_domain(pacs, hub, "photo")
    list_hub_domain(pacs, hub, "sketch")
    assert capsys.readouterr().out.count("the same seed holds out other images than in a folder copy.") == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"label": ["cat", "dog", "cat", "fish"] * 2},
            "`{id}` has labels that `pets` does not know: `fish`; known are `cat`, `dog`. "
            "Name another data set, or the right column with `data.columns.label`.",
        ),
        (
            {"domain": ["photo", "oil", "sketch", "photo"] * 2},
            "`{id}` has domains that `pets` does not know: `oil`; known are `photo`, `sketch`. "
            "Name another data set, or the right column with `data.columns.domain`.",
        ),
        (
            {"label": ["cat", "dog", "Dog", "cat"] * 2},
            "`{id}` has more than one name for the same label: `dog`, `Dog`.",
        ),
        (
            {"label": ["dog"] * 8},
            "`{id}` has no image of the classes `cat` of `pets`, so it is another data set or a part of this one; "
            "name a complete copy.",
        ),
        (
            {"label": ["cat", "dog"] * 2 + ["dog"] * 4},
            "`{id}` has no image of `cat` in the domain `sketch` of `pets`; every domain needs every class.",
        ),
        (
            {"domain": ["photo"] * 8},
            "`{id}` has no image of the domain `sketch` of `pets`; it has `photo`.",
        ),
    ],
    ids=["class", "domain", "doubled", "missing class", "a domain without a class", "missing domain"],
)
def test_a_data_set_that_is_not_the_benchmark_is_refused(
    hubs: Hubs, changes: dict[str, list[object] | None], sentence: str
) -> None:
    hub = hubs.write(hubs.pets(**changes))
    with pytest.raises(DataError) as caught:
        list_hub_domain(PETS, hub, "sketch")
    assert str(caught.value) == sentence.format(id=hub.id)


def test_a_custom_benchmark_takes_its_names_from_the_columns(hubs: Hubs) -> None:
    rows = hubs.pets(label=[2, 0] * 4)
    hub = hubs.write(rows, {"label": ClassLabel(names=["Zebra", "unused", "ant"])})
    own = custom_benchmark(None, hub)
    assert (own.name, own.domains, own.classes) == ("custom", ("photo", "sketch"), ("Zebra", "ant"))
    assert (own.title, own.hub) == ("set", hub)
    assert list_hub_domain(own, hub, "sketch").labels.tolist() == [1, 0, 1, 0]


def test_domains_of_the_hub_can_be_chosen(hubs: Hubs) -> None:
    rows = hubs.product(("photo", "notes", "sketch"), ("cat", "dog"))
    rows["label"][1] = "scribble"  # a class that only the domain has which is left out
    hub = hubs.write(rows)
    own = custom_benchmark(None, hub, None, ("sketch", "Photo"))
    assert (own.domains, own.classes, own.left_out) == (("photo", "sketch"), ("cat", "dog"), ("notes",))
    assert list(list_hub_domain(own, hub, "sketch").names) == ["train row 2", "train row 5"]
    assert list_hub_domain(own, hub, "sketch").labels.tolist() == [0, 1]


def test_a_custom_benchmark_needs_two_domains_on_the_hub_too(hubs: Hubs) -> None:
    hub = hubs.write(hubs.pets(domain=["photo"] * 8))
    sentence = f"The data set `{hub.id}` has only the domain `photo`; two or more are needed."
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        custom_benchmark(None, hub)
