from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg.config.data import DataConfig, MiniConfig
from hamdg.config.recipe import Recipe, RuntimeConfig, TrainConfig
from hamdg.errors import RunDirectoryError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import identity, run_directory


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(runtime=RuntimeConfig(root=str(tmp_path / "logs")))


def refusal(recipe: Recipe) -> str:
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.open(recipe)
    return str(caught.value)


def test_the_files_of_the_contract(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    step = run.step("train")
    files = (
        run.config, run.base, run.start, run.splits, step.metrics, step.resume, step.summary, run.merged,
        run.validation, run.record, run.report, run.done,
    )  # fmt: skip
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "config.yaml", "base.safetensors", "start.json", "splits.json", "train/metrics.csv", "train/resume.ckpt",
        "train.json", "merged.safetensors", "validation.json", "record.json", "report.html", "done",
    ]  # fmt: skip


def test_open_writes_the_recipe_where_the_identity_says(recipe: Recipe, tmp_path: Path) -> None:
    with RunDirectory.open(recipe) as run:
        assert run.path == tmp_path / "logs" / "mini" / "sketch" / "ham" / f"seed0-{identity(recipe)}"
        assert run.recipe() == recipe
        assert not run.is_done


def test_a_reopened_run_keeps_its_files_and_takes_new_runtime_settings(recipe: Recipe) -> None:
    with RunDirectory.open(recipe) as run:
        run.step("train").summary.write_text("{}")
        run.done.touch()
    other = replace(recipe, label="x", runtime=replace(recipe.runtime, threads=3))
    with RunDirectory.open(other) as again:
        assert again.path == run.path
        assert again.step("train").summary.read_text() == "{}"
        assert again.is_done
        assert again.recipe() == other


def test_reset_leaves_the_recipe_and_the_lock_only(recipe: Recipe) -> None:
    with RunDirectory.open(recipe) as run:
        run.step("train").index.parent.mkdir(parents=True)
        run.step("train").index.write_text("{}")
        run.done.touch()
        run.reset()
        assert sorted(os.listdir(run.path)) == [".lock", ".lock-owner", "config.yaml"]
        assert "process" in refusal(recipe)


def test_a_second_user_is_told_who_has_the_run(recipe: Recipe) -> None:
    with RunDirectory.open(recipe) as run:
        expected = (
            f"`{run.path}` is in use by process {os.getpid()}; wait until it ends, or start a run with another seed "
            "or recipe."
        )
        assert refusal(recipe) == expected
        with pytest.raises(RunDirectoryError) as caught:
            RunDirectory.hold(run.path)
        assert str(caught.value) == expected
    with RunDirectory.open(recipe):
        pass


def test_another_process_is_kept_out_and_a_killed_one_leaves_no_lock(recipe: Recipe) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hamdg.runs.directory import RunDirectory\n"
        "run = RunDirectory.hold(Path(sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with RunDirectory.open(recipe) as run:
        path = run.path
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert f"is in use by process {other.pid};" in refusal(recipe)
        other.kill()
        other.wait()
    with RunDirectory.open(recipe) as run:
        assert run.path == path


def test_a_failure_while_opening_gives_the_lock_back(recipe: Recipe) -> None:
    path = run_directory(recipe)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("seed: [\n")
    for _ in range(2):
        said = refusal(recipe)
        assert said.startswith("The run directory's own `config.yaml` is damaged: Invalid YAML in ")
        assert said.endswith(f"To go on, move `{path}` away, or choose another folder with `--runtime.root`.")


def test_a_run_of_another_configuration_names_the_keys(recipe: Recipe) -> None:
    path = run_directory(recipe)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("seed: 3\ntrain: {steps: 50}\n")
    assert refusal(recipe) == (
        f"`{path}` holds a run of another configuration: `seed` is `3` there and `0` here; `train.steps` is `50` "
        f"there and `{recipe.train.steps}` here; move `{path}` away, or choose another folder with `--runtime.root`."
    )


def test_label_noise_by_domain_is_compared_as_a_whole(tmp_path: Path) -> None:
    noisy = Recipe(
        data=DataConfig(mini=MiniConfig(label_noise={"photo": 0.2})),
        train=TrainConfig(steps=30),
        runtime=RuntimeConfig(root=str(tmp_path)),
    )
    with RunDirectory.open(noisy):
        pass
    with RunDirectory.open(noisy) as run:
        assert run.recipe() == noisy
        run.config.write_text(run.config.read_text().replace("photo: 0.2", "photo: 0.3"))
    assert "`data.mini.label_noise` is `{'photo': 0.3}` there and `{'photo': 0.2}` here" in refusal(noisy)


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recipe = Recipe(runtime=RuntimeConfig(root=str(tmp_path / "file")))
    assert refusal(recipe) == (
        f"Cannot write to the run directory `{run_directory(recipe)}`: not a directory; choose another folder with "
        "`--runtime.root`."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    said = refusal(Recipe(runtime=RuntimeConfig(root=str(tmp_path / "logs"))))
    tmp_path.chmod(0o700)
    assert ": permission denied; choose another folder" in said


def test_a_run_that_cannot_be_written_wants_a_copy(recipe: Recipe) -> None:
    with RunDirectory.open(recipe) as run:
        path = run.path
    (path / ".lock").unlink(missing_ok=True)
    (path / ".lock").mkdir()
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.hold(path)
    assert str(caught.value).endswith("make it writable, or go on with a copy of it.")


def test_hold_wants_a_run_directory(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.hold(tmp_path)
    assert str(caught.value) == (
        f"`{tmp_path}` is not a run directory: it has no `config.yaml`; give the folder that holds a run's "
        "`record.json`."
    )


def test_release_twice_is_harmless(recipe: Recipe) -> None:
    run = RunDirectory.open(recipe)
    run.release()
    run.release()
    assert sorted(os.listdir(run.path)) in ([".lock", "config.yaml"], ["config.yaml"])


def test_a_run_directory_does_not_need_torch() -> None:
    code = "import sys, hamdg.runs.directory; print({'torch', 'lightning'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
