from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamdg.config.checks import problems
from hamdg.config.data import ConflictsConfig, DataConfig
from hamdg.config.reading import read_recipe
from hamdg.config.recipe import Recipe
from hamdg.data.benchmarks.pacs import PACS
from hamdg.data.conflicts import conflicting_labels, frequency_order, imbalanced_part
from hamdg.data.counts import source_count
from hamdg.data.domain import open_domain
from hamdg.data.module import SourceData, split_domain, training_part
from hamdg.data.preprocess import Preprocess
from hamdg.errors import ConfigError
from hamdg.runs.identity import identity, training_identity

DOG, ELEPHANT, GIRAFFE, HORSE = 0, 1, 2, 4
LABELS = np.repeat(np.arange(7), 60)
SWAP = "{photo: {dog: horse, horse: dog}}"


def read(*overrides: str, held_out: str = "sketch") -> Recipe:
    return read_recipe(None, ["--benchmark=pacs", f"--held_out={held_out}", *overrides])


def refused(*overrides: str, held_out: str = "sketch") -> str:
    with pytest.raises(ConfigError) as caught:
        read(*overrides, held_out=held_out)
    return str(caught.value)


def test_so_many_labels_of_one_source_are_wrong_and_always_another_class() -> None:
    recipe = read("--data.conflicts.noise={photo: 0.4}")
    found = conflicting_labels(recipe, "photo", LABELS)
    assert int((found != LABELS).sum()) == 168  # 40 % of 420
    assert set(found.tolist()) == set(range(7))
    for domain in ("art_painting", "cartoon", "sketch"):
        assert conflicting_labels(recipe, domain, LABELS) is LABELS


def test_a_lower_share_is_wrong_in_the_same_places_and_another_seed_in_others() -> None:
    few, many = (conflicting_labels(read(f"--data.conflicts.noise={share}"), "photo", LABELS) for share in (0.1, 0.5))
    wrong = few != LABELS
    assert int(wrong.sum()) == 42
    assert np.array_equal(few[wrong], many[wrong])
    other = conflicting_labels(read("--data.conflicts.noise=0.1", "--seed=1"), "photo", LABELS)
    assert int((other != LABELS).sum()) == 42
    assert not np.array_equal(other, few)


def test_one_number_is_for_all_sources_and_the_held_out_domain_keeps_its_labels() -> None:
    recipe = read("--data.conflicts.noise=0.1", "--excluded=[cartoon]")
    changed = [name for name in PACS.domains if conflicting_labels(recipe, name, LABELS) is not LABELS]
    assert changed == ["art_painting", "photo"]


def test_exchanged_labels_go_round_in_one_source() -> None:
    recipe = read("--data.conflicts.swap={photo: {dog: horse, horse: elephant, elephant: dog}}")
    found = conflicting_labels(recipe, "photo", LABELS)
    expected = LABELS.copy()
    expected[LABELS == DOG], expected[LABELS == HORSE], expected[LABELS == ELEPHANT] = HORSE, ELEPHANT, DOG
    assert np.array_equal(found, expected)
    assert conflicting_labels(recipe, "cartoon", LABELS) is LABELS


def test_names_are_those_of_the_benchmark_and_nothing_is_the_run_without_conflicts() -> None:
    recipe = read("--data.conflicts.noise={P: 0.2}", "--data.conflicts.swap={art: {Dog: horse, horse: DOG}}")
    assert recipe.data.conflicts == ConflictsConfig({"photo": 0.2}, {"art_painting": {"dog": "horse", "horse": "dog"}})
    for nothing in ("--data.conflicts.noise={photo: 0}", "--data.conflicts.swap={photo: {dog: dog}}"):
        assert read(nothing) == read()


def test_defaults_define_no_run_and_each_conflict_does() -> None:
    plain = Recipe(benchmark="pacs")
    assert identity(plain) == "79bd3d3f"
    given = [{"noise": 0.2}, {"noise": {"photo": 0.2}}, {"imbalance": 4.0}]
    given.append({"swap": {"photo": {"dog": "horse", "horse": "dog"}}})
    others = [replace(plain, data=DataConfig(conflicts=ConflictsConfig(**one))) for one in given]  # type: ignore[arg-type]
    assert len({identity(one) for one in (plain, *others)}) == 5
    assert len({training_identity(one) for one in (plain, *others)}) == 5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "--data.conflicts.noise={sketch: 0.4}",
            "`data.conflicts.noise` names `sketch`, which is not trained on, and other domains are never changed; name "
            "one of `art_painting`, `cartoon`, `photo`",
        ),
        ("--data.conflicts.noise={foto: 0.4}", "benchmark `pacs` has no domain `foto`; it has `art_painting`"),
        (
            "--data.conflicts.noise={photo: 1}",
            "Expected `data.conflicts.noise.photo` to be a number of at least 0 and below 1, but got `1`",
        ),
        ("--data.conflicts.noise={photo: 0.1, P: 0.2}", "`data.conflicts.noise` names the domain `photo` twice"),
        (
            "--data.conflicts.swap={photo: {dog: hors, hors: dog}}",
            "`data.conflicts.swap` names the class `hors`, which `PACS` does not have; did you mean `horse`?",
        ),
        (
            "--data.conflicts.swap={photo: {dog: horse}}",
            "`data.conflicts.swap` leaves no image of `photo` with the label `dog`; labels are exchanged",
        ),
        (
            "--data.conflicts.swap={photo: {dog: horse, DOG: person, horse: dog}}",
            "gives the class `dog` of `photo` two labels; keep one",
        ),
        ("--data.conflicts.swap={sketch: {dog: horse, horse: dog}}", "`data.conflicts.swap` names `sketch`, which is"),
        (
            "--data.conflicts.imbalance=0.5",
            "Expected `data.conflicts.imbalance` to be a number of at least 1, but got `0.5`",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(given: str, expected: str) -> None:
    assert expected in refused(given)


def test_label_maps_have_no_class_to_change() -> None:
    recipe = Recipe(benchmark="mini-scenes", held_out="fog", data=DataConfig(conflicts=ConflictsConfig(0.1)))
    found = [one for one in problems(recipe) if one.key == "data.conflicts"]
    assert [one.sentence for one in found] == [
        "`data.conflicts` changes the class of images, but those of `mini-scenes` have label maps; leave it out"
    ]


def test_imbalance_leaves_a_geometric_share_of_each_class() -> None:
    recipe = read("--data.conflicts.imbalance=64")
    left = imbalanced_part(recipe, "photo", LABELS, np.arange(420))
    # Photo, the third of the domains, begins at class int(7 * .236) = 1; the shares are 1, 1/2, 1/4, ... 1/64.
    assert frequency_order(PACS, 2) == [1, 2, 3, 4, 5, 6, 0]
    assert np.bincount(LABELS[left]).tolist() == [1, 60, 30, 15, 8, 4, 2]
    less = imbalanced_part(read("--data.conflicts.imbalance=8"), "photo", LABELS, np.arange(420))
    assert set(left.tolist()) < set(less.tolist())
    assert imbalanced_part(read(), "photo", LABELS, np.arange(420)).tolist() == list(range(420))


def test_each_domain_has_other_frequent_classes() -> None:
    assert [frequency_order(PACS, index)[0] for index in range(6)] == [0, 4, 1, 5, 3, 0]


def test_training_and_hold_out_labels_are_wrong_the_truth_is_known_and_the_held_out_domain_is_untouched(
    small_pacs: Path, tmp_path: Path
) -> None:
    places = (f"--data.root={small_pacs}", f"--data.cache={tmp_path}", "--data.augment=clip")
    recipe, clean = read(f"--data.conflicts.swap={SWAP}", *places), read(*places)
    photo, plain = open_domain(recipe, "photo", 32), open_domain(clean, "photo", 32)
    assert photo.clean_labels.tolist() == plain.labels.tolist()
    assert photo.labels[plain.labels == DOG].tolist() == [HORSE] * 5
    # The same images: what caches keep of them serves both.
    assert photo.fingerprint == plain.fingerprint
    sketch = open_domain(recipe, "sketch", 32)
    assert sketch.labels is sketch.clean_labels
    data = SourceData(recipe, Preprocess(32, (0.5,) * 3, (0.5,) * 3))
    data.setup()
    held = data.holdouts()["photo"]
    assert held.labels.tolist() == photo.labels[split_domain(recipe, photo)[1]].tolist()
    given = data.train_dataloader().batches(0)["photo"].given
    assert given is not None
    wrong = given.noisy != given.clean
    assert wrong.tolist() == [label in (DOG, HORSE) for label in given.clean.tolist()]
    assert wrong.any()


def test_imbalance_takes_images_from_training_alone(small_pacs: Path, tmp_path: Path) -> None:
    places = (f"--data.root={small_pacs}", f"--data.cache={tmp_path}", "--data.augment=clip")
    recipe = read("--data.conflicts.imbalance=4", *places)
    photo = open_domain(recipe, "photo", 32)
    train, held = split_domain(recipe, photo)
    left = training_part(recipe, photo)
    assert len(photo) == 35
    assert set(left.tolist()) < set(train.tolist())
    assert np.bincount(photo.labels[left], minlength=7).min() >= 1
    assert source_count(recipe, "photo") == (len(left), len(held))
