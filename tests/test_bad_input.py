"""Whatever a user gets wrong is one or two lines on stderr, an exit code, and no stack trace."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hamdg import cli
from hamdg.data import registry
from hamdg.data.benchmark import Benchmark
from tests.tiny import as_arguments, tiny_settings

TINY = as_arguments(
    tiny_settings(
        data__mini__images_per_class=6,
        data__batch_size=4,
        controls__erm="false",
        runtime__report="false",
        runtime__quiet="true",
    )
)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty recipe in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("recipe.yaml")
    path.write_text("")
    return path


def complaint(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """Run a command that must fail; returns what it said, without `hamdg: error: `."""
    assert cli.main(argv) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("hamdg: error: ")
    assert len(said.err.splitlines()) <= 2
    return said.err.removeprefix("hamdg: error: ").strip()


CASES = {
    "unknown key": ("--train.stepz=3", "There is no option or key `--train.stepz`; did you mean `--train.steps`?"),
    "wrong type": (
        "--train.steps=many",
        "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `many` (on the command line).",
    ),
    "seed": ("--seed=one", "Expected `seed` to be an integer of at least 0, but got `one` (on the command line)."),
    "wrong choice": (
        "--history.kind=means",
        "Expected `history.kind` to be one of `mean`, `linear`, `validated`, `ema`, `beta`, `last`, `snapshots`, "
        "`swad`, `best`, but got `means` (on the command line). Did you mean `mean`?",
    ),
    "held-out domain": (
        "--held_out=scetch",
        "`held_out`: benchmark `mini` has no domain `scetch`; it has `art_painting`, `cartoon`, `photo`, `sketch` "
        "(on the command line).",
    ),
    "benchmark": ("--benchmark=minni", "`benchmark`: there is no benchmark `minni`; did you mean `mini`? (on the"),
    "zero steps": (
        "--train.steps=0",
        "Expected `train.steps` to be an integer between 1 and 1,000,000, but got `0` (on the command line).",
    ),
    "no value": ("--train.steps", "`--train.steps` needs a value; write `--train.steps=VALUE`."),
    "merge method": ("--merge.method=ham", "`merge.method`: there is no merge method `ham`; did you mean `rhm`?"),
    "merge option": (
        "--merge.options.kep=0.2",
        "The merge method `rhm` has no option `merge.options.kep`; did you mean `merge.options.keep`?",
    ),
    "merge option's value": (
        "--merge.options.keep=1.2",
        "Expected `merge.options.keep` to be a number between 0 and 1, but got `1.2`.",
    ),
    "moved merge key": (
        "--merge.keep=0.2",
        "There is no option or key `--merge.keep` any more; write `--merge.options.keep`.",
    ),
    "merge method that cannot merge these sources": (
        "--merge.method=shrunk",
        "Expected exactly one of `scale` and `norm`, but got `scale=None` and `norm=None`.",
    ),
    "model": ("--model.name=mini-rm", "Expected argument `model.name` to be a shipped model (mini-rn,"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_override_is_explained_and_nothing_is_written(
    recipe: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    override, expected = CASES[case]
    said = complaint(capsys, "run", str(recipe), *TINY, override)
    assert said.startswith(expected) if expected[-1] not in ".?" else said == expected
    assert list(Path().rglob("*.*")) == [recipe]


def test_a_wrong_key_in_a_file_is_named_with_its_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text("seed: 1\ntrain:\n  stepz: 3\n")
    assert complaint(capsys, "run", str(recipe)) == (
        "There is no key `train.stepz` in `recipe.yaml`, line 3; did you mean `train.steps`?"
    )


def test_a_recipe_that_is_not_there_is_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "run", "recipy.yaml") == ("There is no recipe `recipy.yaml`; did you mean `recipe.yaml`?")


def test_one_domain_leaves_nothing_to_train_on(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.builtin(), "lonely", Benchmark("lonely", ("photo",), ("dog",)))
    said = complaint(capsys, "run", str(recipe), "--benchmark=lonely", "--held_out=photo")
    assert said == (
        "`held_out`: benchmark `lonely` has only the domain `photo`, which leaves none to train on; "
        "use a benchmark with two domains or more (on the command line)."
    )


def test_a_batch_larger_than_a_domain_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "run", str(recipe), *TINY, "--data.batch_size=500")
    assert said == ("`data.batch_size` is 500, but domain `art_painting` has only 34 training images; use at most 34.")


def test_a_class_that_subsetting_empties_is_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--data.subset=1", "--data.validation_fraction=0.5", "--data.batch_size=1")
    said = complaint(capsys, "run", str(recipe), *TINY, *options)
    assert re.fullmatch(
        r"domain `art_painting` has no training image of class (`\w+`(, )?)+ left after subsetting and the split; "
        r"raise `data\.subset`, `data\.shots` or `data\.mini\.images_per_class`, or lower "
        r"`data\.validation_fraction`\.",
        said,
    ), said


def test_an_empty_hold_out_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "run", str(recipe), *TINY, "--data.validation_fraction=0.01")
    assert said == (
        "domain `art_painting` has no validation image: `data.validation_fraction` of 0.01 leaves 0 of 42; raise it, "
        "or raise `data.subset` or `data.mini.images_per_class`."
    )


class Payload:
    """Would run a command when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def missing(path: Path) -> None:
    """Write nothing."""


def truncated(path: Path) -> None:
    save_file({"visual.proj": torch.zeros(64, 64)}, path)
    path.write_bytes(path.read_bytes()[:500])


def other_architecture(path: Path) -> None:
    save_file({"visual.proj": torch.zeros(4, 4)}, path)


def code(path: Path) -> None:
    path.write_bytes(pickle.dumps({"visual.proj": Payload()}))


@pytest.mark.parametrize(
    ("write", "name", "words"),
    [
        (missing, "w.safetensors", "The weights file `w.safetensors` does not exist. Set `model.weights` to"),
        (truncated, "w.safetensors", "The weights file `w.safetensors` (500 bytes) is damaged or truncated"),
        (other_architecture, "w.safetensors", "The weights file `w.safetensors` does not fit the model `tiny-vit`: "),
        (code, "w.pt", "The weights file `w.pt` holds code or objects besides tensors and was refused without running"),
    ],
)
def test_unusable_weights_are_explained(
    recipe: Path, write: object, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(write)
    write(Path(name))
    said = complaint(capsys, "run", str(recipe), *TINY, f"--model.weights={name}")
    assert said.startswith(words), said
    assert not Path("executed").exists()
    assert not list(Path("lightning_logs").rglob("metrics.csv"))


def test_a_run_directory_that_cannot_be_made_is_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    said = complaint(capsys, "run", str(recipe), *TINY, "--runtime.root=file/below")
    assert re.fullmatch(
        r"Cannot write to the run directory `file/below/mini/sketch/ham/seed0-\w{8}`: not a directory; "
        r"choose another folder with `--runtime\.root`\.",
        said,
    ), said
    assert Path("file").read_text() == "in the way"


@pytest.mark.parametrize("verb", ["evaluate", "merge"])
def test_a_folder_that_is_no_run_is_named(recipe: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--merge.options.keep=0.3"] if verb == "merge" else []
    assert complaint(capsys, verb, ".", *options) == (
        "`.` is not a run directory: it has no `config.yaml`; give the folder that holds a run's `record.json`."
    )


@pytest.mark.parametrize("verb", ["evaluate", "merge"])
def test_what_is_made_of_a_run_stays_below_its_root(
    recipe: Path, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    assert complaint(capsys, verb, str(tmp_path / "run"), "--runtime.root=elsewhere") == (
        f"What is made of `{tmp_path / 'run'}` lies below the same root; leave `--runtime.root` out, or copy the whole "
        "root and name the run in there."
    )


def test_merge_takes_no_key_of_another_section(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "merge", ".", "--train.steps=3") == (
        "`hamdg merge` takes keys of the sections `merge`, `evaluate`, `runtime` and `tracking`, such as "
        "`--merge.options.keep=0.3`, but got `--train.steps`."
    )


def test_a_gpu_that_is_not_there_is_named_before_anything_is_done(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = complaint(capsys, "run", str(recipe), *TINY, "--runtime.device=cuda")
    assert said == "`runtime.device` is `cuda`, but torch sees no GPU; use `auto` or `cpu`."
    assert not list(Path("lightning_logs").rglob("metrics.csv"))
