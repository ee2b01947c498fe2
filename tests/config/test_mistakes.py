"""Every mistake in a recipe is one sentence, wherever it was made."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from hamdg.config.algorithms import names
from hamdg.config.algorithms.ham import HamSettings
from hamdg.config.parsing import split_overrides
from hamdg.config.reading import checked, read_recipe
from hamdg.config.recipe import Recipe, TrainConfig
from hamdg.errors import ConfigError
from hamdg.text import listed


def message(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_recipe(path, overrides)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train:\n  stpes: 4\n", "There is no key `train.stpes` in `{file}`, line 2; did you mean `train.steps`?"),
        ("steps: 4\n", "There is no key `steps` in `{file}`, line 1; did you mean `train.steps`?"),
        (
            "variants: {}\n",
            "`{file}` is a sweep file, not a recipe; make its runs with `hamdg sweep {file}`.",
        ),
        (
            "zzz: 4\n",
            "There is no key `zzz` in `{file}`, line 1; the keys are listed by `hamdg run --help`.",
        ),
        ("seed: two\n", "Expected `seed` to be an integer of at least 0, but got `two` (in `{file}`, line 1)."),
        ("\nseed: 1.5\n", "Expected `seed` to be an integer of at least 0, but got `1.5` (in `{file}`, line 2)."),
        ("seed: true\n", "Expected `seed` to be an integer of at least 0, but got `true` (in `{file}`, line 1)."),
        (
            "model: {class_rows: {dog: [-1]}}\n",
            "Expected `model.class_rows.dog.0` to be an integer between 0 and 1,000,000, but got `-1` (in `{file}`, "
            "line 1).",
        ),
        ("label: 12\n", "Expected `label` to be a string, but got `12`; put it in quotes (in `{file}`, line 1)."),
        (
            "held_out: 1e3\n",
            "Expected `held_out` to be a string, but got `1000.0`; put it in quotes (in `{file}`, line 1).",
        ),
        ("seed:\n", "Expected `seed` to be an integer of at least 0, but got `null` (in `{file}`, line 1)."),
        ("seed: 'null'\n", "Expected `seed` to be an integer of at least 0, but got `null` (in `{file}`, line 1)."),
        ("label:\n", "Expected `label` to be a string, but got `null` (in `{file}`, line 1)."),
        (
            "algorithm: han\n",
            "`algorithm`: there is no algorithm `han`; did you mean `ham`? (in `{file}`, line 1).",
        ),
        (
            "algorithm: sgd\n",
            f"`algorithm`: there is no algorithm `sgd`; there are {listed(names())} (in `{{file}}`, line 1).",
        ),
        (
            "algorithm: erm\nham:\n  enrichment: {enabled: false}\n",
            "`ham.enrichment.enabled` belongs to the algorithm `ham`, but `algorithm` is `erm`; leave it out "
            "(in `{file}`, line 3).",
        ),
        (
            "ham: {enrichment: {enabeld: false}}\n",
            "There is no key `ham.enrichment.enabeld` in `{file}`, line 1; did you mean `ham.enrichment.enabled`?",
        ),
        (
            "enrichment:\n  enabled: false\n",
            "There is no key `enrichment` in `{file}`, line 1 any more; write `ham.enrichment`.",
        ),
        (
            "harmonisation: {method: none}\n",
            "There is no key `harmonisation` in `{file}`, line 1 any more; write `ham.harmonization`.",
        ),
        (
            "model:\n  normalisation: clip\n",
            "There is no key `model.normalisation` in `{file}`, line 2 any more; write `model.normalization`.",
        ),
        (
            "settings: {enrichment: {enabled: false}}\n",
            "There is no key `settings` in `{file}`, line 1; the keys are listed by `hamdg run --help`.",
        ),
        (
            "ham:\n  harmonization: {every: 0}\n",
            "Expected `ham.harmonization.every` to be an integer between 1 and 1,000,000, but got `0` "
            "(in `{file}`, line 2).",
        ),
        (
            "excluded: [skech]\n",
            "`excluded`: benchmark `mini` has no domain `skech`; it has `art_painting`, `cartoon`, `photo`, `sketch` "
            "(in `{file}`, line 1).",
        ),
        (
            "held_out: art\nexcluded: [photo, Art Painting]\n",
            "`excluded` names `art_painting`, which is `held_out`; leave it out of `excluded` (in `{file}`, line 2).",
        ),
        (
            "held_out: art\nexcluded: [photo, cartoon, sketch]\n",
            "`excluded` leaves no domain to train on; name fewer (in `{file}`, line 2).",
        ),
        (
            "data: {domains: 3}\n",
            "Expected `data.domains` to be a list of names, such as `[photo, sketch]` or `null`, but got `3` "
            "(in `{file}`, line 1).",
        ),
        (
            "data: {subset: few}\n",
            "Expected `data.subset` to be an integer of at least 1 or `null`, but got `few` (in `{file}`, line 1).",
        ),
        (
            "data: {mini: {label_noise: much}}\n",
            "Expected `data.mini.label_noise` to be a number of at least 0 and below 1 or a mapping of names to "
            "numbers of at least 0 and below 1, but got `much` (in `{file}`, line 1).",
        ),
        (
            "model:\n  prompts: a photo\n",
            'Expected `model.prompts` to be a list of strings, such as `["a photo of a {{}}."]` or `null`, but got '
            "`a photo` (in `{file}`, line 2).",
        ),
        (
            "history: 3\n",
            "Expected `history` to be a section with keys out of `kind`, `start`, `every`, `decay`, `beta`, `keep`, "
            "`n_s`, `n_e`, `r`, but got `3` (in `{file}`, line 1).",
        ),
        (
            "merge: {method: rhm, keep: 0.3}\n",
            "There is no key `merge.keep` in `{file}`, line 1 any more; write `merge.options.keep`.",
        ),
        (
            "merge:\n  options:\n    keep: {a: 1}\n",
            "Expected `merge.options.keep` to be a number, a string, `true`, `false` or `null`, but got `{{'a': 1}}` "
            "(in `{file}`, line 3).",
        ),
        (
            'data: {cache: "\\ud800"}\n',
            "Invalid YAML in `{file}`, line 1: `\\ud800` has an escape that is half a character.",
        ),
        ("train: [\n", "Invalid YAML in `{file}`, line 2: expected the node content, but found '<stream end>'."),
        ("seed: 1\nseed: 2\n", "`seed` is given twice in `{file}`, in lines 1 and 2; keep one of them."),
        ("- seed\n", "Recipe `{file}` must be a mapping of keys to values, but it is a list."),
        ("just text\n", "Recipe `{file}` must be a mapping of keys to values, but it is a text."),
        ("7\n", "Recipe `{file}` must be a mapping of keys to values, but it is `7`."),
        (
            "seed: !!python/object:os.system x\n",
            "Invalid YAML in `{file}`, line 1: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'.",
        ),
        (
            "held_out: skech\n",
            "`held_out`: benchmark `mini` has no domain `skech`; it has `art_painting`, `cartoon`, `photo`, `sketch` "
            "(in `{file}`, line 1).",
        ),
        (
            "train: {steps: 1:30}\n",
            "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `1:30` (in `{file}`, line 1).",
        ),
        (
            "data: {mini: {label_noise: {sketch: 1:30}}}\n",
            "Expected `data.mini.label_noise.sketch` to be a number of at least 0 and below 1, but got `1:30` "
            "(in `{file}`, line 1).",
        ),
        (
            "model: {prompts: [yes, 1]}\n",
            "Expected `model.prompts.1` to be a string, but got `1` (in `{file}`, line 1).",
        ),
        (
            f"seed: {'x' * 5000}\n",
            f"Expected `seed` to be an integer of at least 0, but got `{'x' * 80}... (5,000 characters)` "
            "(in `{file}`, line 1).",
        ),
        (
            "train: {steps: 3}\ntrain.steps: 4\n",
            "`train.steps` is given twice in `{file}`, in lines 1 and 2; keep one of them.",
        ),
        (
            "train: {steps: 0}\n",
            "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `0` (in `{file}`, line 1).",
        ),
    ],
)
def test_mistakes_in_a_file_are_one_sentence(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    assert message(file) == said.format(file=file)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["--train.stpes=4"], "There is no option or key `--train.stpes`; did you mean `--train.steps`?"),
        (["--lr=1"], "There is no option or key `--lr`; did you mean `--train.lr`?"),
        (["--seed=x"], "Expected `seed` to be an integer of at least 0, but got `x` (on the command line)."),
        (["--seed="], "Expected `seed` to be an integer of at least 0, but got `` (on the command line)."),
        (["--train.lr=nan"], "Expected `train.lr` to be a number above 0, but got `nan` (on the command line)."),
        (["--train.steps"], "`--train.steps` needs a value; write `--train.steps=VALUE`."),
        (["--train.steps", "--seed=1"], "`--train.steps` needs a value; write `--train.steps=VALUE`."),
        (["--merge.keep=1"], "There is no option or key `--merge.keep` any more; write `--merge.options.keep`."),
        (
            ["--merge.optoins.keep=1"],
            "There is no option or key `--merge.optoins.keep`; did you mean `--merge.options`?",
        ),
        (
            ["--merge.options.keep=[1]"],
            "Expected `merge.options.keep` to be a number, a string, `true`, `false` or `null`, but got `[1]` "
            "(on the command line).",
        ),
        (["--merge.options.keep"], "`--merge.options.keep` needs a value; write `--merge.options.keep=VALUE`."),
        (
            ["--merge.options=1"],
            "Expected `merge.options` to be a section with keys, but got `1` (on the command line).",
        ),
        (
            ["--harmonization.method=none"],
            "There is no option or key `--harmonization.method` any more; write `--ham.harmonization.method`.",
        ),
        (
            ["--ham.harmonisation.method=none"],
            "There is no option or key `--ham.harmonisation.method`; did you mean `--ham.harmonization.method`?",
        ),
        (
            ["--algorithm=erm", "--ham.enrichment.enabled=false"],
            "`ham.enrichment.enabled` belongs to the algorithm `ham`, but `algorithm` is `erm`; leave it out "
            "(on the command line).",
        ),
        (["seed=1"], "An override is written as `--key.sub=value`, but got `seed=1`."),
        (
            ['--data={cache: "\\ud800"}'],
            "Invalid YAML in the command line, line 1: `\\ud800` has an escape that is half a character.",
        ),
        (["--train={steps: [}"], "Invalid YAML in the command line, line 1: expected the node content, but found '}'."),
        (
            ["--benchmark=mino"],
            "`benchmark`: there is no benchmark `mino`; did you mean `mini`? (on the command line).",
        ),
    ],
)
def test_mistakes_in_overrides_are_one_sentence(overrides: list[str], said: str) -> None:
    assert message(None, *overrides) == said


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "ham.yaml").touch()
    assert message(tmp_path / "han.yaml") == (
        f"There is no recipe `{tmp_path}/han.yaml`; did you mean `{tmp_path}/ham.yaml`?"
    )
    assert message(Path("nowhere/x.yaml")) == (
        "There is no recipe `nowhere/x.yaml`; recipes lie in `experiments/<benchmark>/<algorithm>.yaml`."
    )


def test_what_is_not_a_text_file_is_a_sentence(tmp_path: Path) -> None:
    assert message(tmp_path) == f"Recipe `{tmp_path}` cannot be read: it is a folder."
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    assert message(tmp_path / "a.yaml") == (
        f"Recipe `{tmp_path}/a.yaml` is not a text file in UTF-8; give the path of a YAML file."
    )


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe(held_out="arts"), "`held_out`: benchmark `mini` has no domain `arts`; it has"),
        (
            Recipe(train=TrainConfig(steps=0)),
            "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `0`.",
        ),
        (Recipe(seed=cast("int", "1")), "Expected `seed` to be an integer of at least 0, but got `1`."),
        (Recipe(algorithm="han"), "`algorithm`: there is no algorithm `han`; did you mean `ham`?"),
        (
            Recipe(algorithm="erm", settings=HamSettings()),
            "`settings` are `HamSettings`, but the algorithm `erm` has `ErmSettings`; give these, or leave `settings` "
            "out.",
        ),
    ],
)
def test_mistakes_in_python_are_the_same_sentences(recipe: Recipe, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(recipe)
    assert str(caught.value).startswith(said)


def test_split_overrides_suggests_options_too() -> None:
    with pytest.raises(ConfigError) as caught:
        split_overrides(["--froce"], ["--force"])
    assert str(caught.value) == "There is no option or key `--froce`; did you mean `--force`?"


def test_negative_values_need_no_equals_sign() -> None:
    assert message(None, "--train.lr", "-1") == (
        "Expected `train.lr` to be a number above 0, but got `-1` (on the command line)."
    )
