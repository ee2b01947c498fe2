from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hamdg.errors import ConfigError
from hamdg.sweeps.sweep_file import Variant, read_sweep

if TYPE_CHECKING:
    from tests.sweeps.conftest import SweepFile


def test_a_sweep_file_is_read(sweep_file: SweepFile) -> None:
    found = read_sweep(sweep_file())

    assert (found.held_out, found.seeds, found.until, found.out) == (["sketch", "art"], [0, 3], "evaluate", None)
    assert found.variants["ERM"] == Variant("erm.yaml")
    assert found.conditions["noisy"] == {"data.mini.label_noise": 0.2}
    assert read_sweep(sweep_file(conditions=None)).conditions == {"clean": {}}


HAM = {"recipe": "ham.yaml"}
DIALS = {"label noise": {"clean": 0, "noisy": "20 %"}}


def test_a_figure_has_conditions_by_what_its_dials_say_there(sweep_file: SweepFile) -> None:
    plain = read_sweep(sweep_file())
    dials = {**DIALS, "all": {"clean": "both", "noisy": "both"}}
    found = read_sweep(sweep_file(figure={"out": "a.svg", "dials": dials, "lowest": -8}))
    assert found.figure is not None
    assert found.figure.strengths() == {
        "label noise": {"0": ["clean"], "20 %": ["noisy"]},
        "all": {"both": ["clean", "noisy"]},
    }
    assert repr(found) == repr(plain)  # its runs, and so its ledger, are the same


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"out": "a.svg"}, "`figure` lacks `dials`; write `{out: figure.svg, dials: {...}}`."),
        ({"out": "a.png", "dials": DIALS}, "`figure.out` is `a.png`, but the image ends in `.svg`."),
        ({"out": "a.svg", "dials": {"noise": {"nois": 1}}}, "there is no condition `nois`; did you mean `noisy`?"),
        (
            {"out": "a.svg", "dials": DIALS, "method": []},
            "there is no key `method` in `figure`; did you mean `methods`?",
        ),
        (
            {"out": "a.svg", "dials": DIALS, "lowest": 5},
            "expected `figure.lowest` to be a number of at least -100 and below 0 or `null`, but got `5`",
        ),
        ({"out": "a.svg", "dials": {"noise": {}}}, "`figure.dials"),
        ("a.svg", "expected `figure` to be `{out: ..., dials: {...}}`, but got"),
    ],
)
def test_mistakes_in_a_figure_are_named(sweep_file: SweepFile, figure: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sweep(sweep_file(figure=figure))
    assert message in str(caught.value)


def test_a_figure_of_runs_that_never_open_the_held_out_domain_is_refused(sweep_file: SweepFile) -> None:
    with pytest.raises(ConfigError, match="`figure` is of held-out results, which `until: validate` has none of"):
        read_sweep(sweep_file(until="validate", figure={"out": "a.svg", "dials": DIALS}))


def test_a_figure_names_rows_that_there_are(sweep_file: SweepFile) -> None:
    variants = {"HAM": HAM | {"rows": {"ham": "HAM"}}}
    figure = {"out": "a.svg", "dials": DIALS, "methods": ["HEM"]}
    with pytest.raises(ConfigError, match="no variant's `rows` call a row `HEM`; did you mean `HAM`"):
        read_sweep(sweep_file(variants=variants, figure=figure))
    # A label goes on after a comma, with values of a grid.
    with pytest.raises(ConfigError, match=r"no variant's `rows` call a row `HAM \+SMA`; there are `HAM`"):
        read_sweep(sweep_file(variants=variants, figure=figure | {"methods": ["HAM +SMA"]}))
    assert read_sweep(sweep_file(variants=variants, figure=figure | {"methods": ["HAM", "HAM, keep 0.2"]})).figure


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_outs": ["sketch"]}, "there is no key `held_outs` in a sweep; did you mean `held_out`?"),
        (
            {"zzz": 1},
            "there is no key `zzz` in a sweep; it can hold `held_out`, `seeds`, `variants`, `conditions`, `grid`, "
            "`random`, `include`, `exclude`, `leave_out`, `until`, `controls`, `reports`, `only_shown`, `baseline`, "
            "`validation`, `costs`, `out`, `figure`, `title`, `intro`, `root`, `launcher`, `tracking`.",
        ),
        (
            {"variants": {"HAM": HAM | {"sets": {}}}},
            "there is no key `sets` in `variants.HAM`; did you mean `set`?",
        ),
        ({"variants": {"HAM": {"set": {}}}}, "`variants.HAM` lacks `recipe`, the recipe file that it starts from."),
        ({"held_out": 3}, "expected `held_out` to be a list of domains, or `all`, but got `3`."),
        (
            {"held_out": ["sketch", "art", "sketch"]},
            "`held_out` holds `sketch` twice; every run is made once, so keep one.",
        ),
        ({"seeds": [0, 1, 0]}, "`seeds` holds `0` twice; every run is made once, so keep one."),
        ({"seeds": 0}, "expected `seeds` to be a list of integers, or how many, but got `0`."),
        ({"seeds": "three"}, 'expected `seeds` to be a list of integers, or how many, but got `"three"`.'),
        ({"seeds": ["a"]}, 'expected `seeds.0` to be an integer, but got `"a"`.'),
        ({"seeds": [True]}, "expected `seeds.0` to be an integer, but got `true`."),
        (
            {"variants": {"HAM": "ham.yaml"}},
            'expected `variants.HAM` to be a mapping of names to values, but got `"ham.yaml"`.',
        ),
        (
            {"variants": {"HAM": HAM | {"set": ["seed"]}}},
            "expected `variants.HAM.set` to be a mapping of names to values, but got `['seed']`.",
        ),
        (
            {"variants": {"HAM": HAM | {"rows": {}}}},
            "expected `variants.HAM.rows` to be a mapping of row keys to labels, one at least, but got `{}`.",
        ),
        (
            {"variants": {"HAM": HAM | {"rows": {"ham": 1}}}},
            "expected `variants.HAM.rows.ham` to be a string that is not empty, but got `1`.",
        ),
        (
            {"variants": {"HAM": HAM | {"rows": {"ham": "A", "shrunk": "A"}}}},
            "`variants.HAM.rows` gives the label `A` to two rows.",
        ),
        (
            {"variants": {"HAM": HAM | {"set": {"seed": 3}}}},
            "`seed` is given by `seeds` of the sweep; leave it out of `variants.HAM.set`.",
        ),
        (
            {"conditions": {"a": {"runtime.root": "b"}}},
            "`runtime.root` is given by `root` of the sweep; leave it out of `conditions.a`.",
        ),
        ({"until": "train"}, 'expected `until` to be one of `validate`, `evaluate`, but got `"train"`.'),
        (
            {"conditions": ["clean"]},
            "expected `conditions` to be a mapping of names to settings, one at least, but got `['clean']`.",
        ),
        (
            {"conditions": {"a": {"held_out": 3}}},
            "expected `conditions.a.held_out` to be a list of domains, or `all`, but got `3`.",
        ),
        ({"conditions": {"a": {"held_out": []}, "b": {}}}, "`conditions.a.held_out` must not be empty."),
        (
            {"conditions": {}},
            "expected `conditions` to be a mapping of names to settings, one at least, but got `{}`.",
        ),
        (
            {"baseline": "EMR", "variants": {"ERM": HAM | {"rows": {"erm": "ERM", "erm_sma": "ERM + SMA"}}}},
            "no variant's `rows` call a row `EMR`; did you mean `ERM`?",
        ),
        ({"root": 3}, "expected `root` to be a path, but got `3`."),
        (
            {"out": "page.md", "until": "validate"},
            "`out` is a page of held-out results, which `until: validate` has none of; drop either.",
        ),
    ],
)
def test_a_wrong_sweep_is_answered_in_one_sentence_that_names_the_line(
    sweep_file: SweepFile, changes: dict[str, object], message: str
) -> None:
    path = sweep_file(**changes)
    with pytest.raises(ConfigError, match=rf"^{re.escape(f'`{path}`')}, line \d+: {re.escape(message)}$"):
        read_sweep(path)


def test_a_baseline_may_be_a_row_that_only_runs_will_name(sweep_file: SweepFile) -> None:
    named, unnamed = HAM | {"rows": {"ham": "HAM"}}, HAM
    variants = {"HAM": named, "others": unnamed}
    assert read_sweep(sweep_file(baseline="ERM", variants=variants)).baseline == "ERM"
    grid = {"train.lr": [0.1, 0.2]}
    found = read_sweep(sweep_file(baseline="HAM, lr=0.1", variants={"HAM": named}, grid=grid))
    assert found.baseline == "HAM, lr=0.1"


@pytest.mark.parametrize("key", ["held_out", "seeds", "variants"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_sweep_needs_domains_seeds_and_variants(sweep_file: SweepFile, key: str, empty: bool) -> None:
    path = sweep_file(**{key: [] if empty else None})
    message = f"Sweep file `{path}` lacks `{key}`, which must not be empty."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        read_sweep(path)


HEAD = "held_out: [sketch]\nseeds: [0]\nvariants:\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "Invalid YAML in `PATH`, line 1: "),
        (b"- sketch", "Sweep file `PATH` must be a mapping with `held_out`, `seeds` and `variants`."),
        (b"algorithm: erm", "`PATH` is a recipe, not a sweep file; make its run with `hamdg run PATH`, or runs of "),
        (b"", "Sweep file `PATH` must be a mapping with `held_out`, `seeds` and `variants`."),
        ("title: Größe\n".encode("latin-1"), "Sweep file `PATH` is not a text file in UTF-8; "),
        (bytes(range(256)), "Sweep file `PATH` is not a text file in UTF-8; "),
        (
            f"{HEAD}  HAM: {{recipe: a.yaml}}\n  HAM: {{recipe: b.yaml}}\n".encode(),
            "`variants.HAM` is given twice in `PATH`, in lines 4 and 5; keep one of them.",
        ),
        (f"{HEAD}  &a HAM: &b {{recipe: a.yaml, set: *b}}\n".encode(), "Invalid YAML in `PATH`, line 4: "),
        (f"{HEAD}  HAM: {{recipe: a.yaml, set: {{a: !!binary aGk=}}}}\n".encode(), "Invalid YAML in `PATH`, line 4: "),
        (f"{HEAD}  '': {{recipe: a.yaml}}\n".encode(), "`PATH`, line 3: a name in `variants` is empty; give it one."),
    ],
)
def test_files_that_are_no_sweeps(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(message.replace('PATH', str(path)))}"):
        read_sweep(path)


def test_a_missing_file_and_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    missing = f"There is no sweep file `{path}`; sweep files lie in `experiments/sweeps/`."
    with pytest.raises(ConfigError, match=f"^{re.escape(missing)}$"):
        read_sweep(path)
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="cannot be read: it is a pipe"):
        read_sweep(path)


def test_dates_and_yes_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(
        f"{HEAD}  2024-01-01: {{recipe: a.yaml, set: {{model.weights: 2024-01-01}}}}\n  yes: {{recipe: b}}\n"
    )
    found = read_sweep(path)
    assert list(found.variants) == ["2024-01-01", "yes"]
    assert found.variants["2024-01-01"].set == {"model.weights": "2024-01-01"}
