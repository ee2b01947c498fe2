from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from hamdg import __version__, cli
from hamdg.config.recipe import Recipe
from hamdg.data.benchmarks.pacs import PACS
from hamdg.errors import StorageError, TrainingError
from hamdg.stages import processes
from tests.conftest import CpuTime


class Stages(ModuleType):
    """Stands for `hamdg.stages.pipeline` and `repeating`, so that the verbs are tested without training."""

    def __init__(self) -> None:
        super().__init__("hamdg.stages.pipeline")
        self.calls: list[tuple[object, ...]] = []
        self.failure: BaseException | None = None

    def _note(self, *call: object) -> Path:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure
        return Path("record.json")

    def run(self, recipe: Recipe, force: bool = False, command: str = "", until: str = "evaluate") -> Path:
        return self._note(recipe, force, command, until)

    def remerge(self, run: Path, overrides: Sequence[str]) -> Path:
        return self._note(run, list(overrides))

    def reevaluate(self, run: Path, overrides: Sequence[str] = ()) -> Path:
        return self._note(run, list(overrides))


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    fake = Stages()
    package = ModuleType("hamdg.stages")
    vars(package).update(pipeline=fake, repeating=fake, processes=processes)
    monkeypatch.setitem(sys.modules, "hamdg.stages", package)
    monkeypatch.setitem(sys.modules, "hamdg.stages.pipeline", fake)
    return fake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ham.yaml"
    path.write_text("held_out: photo\n")
    return path


def test_run_reads_the_recipe_with_its_overrides(stages: Stages, file: Path) -> None:
    assert cli.main(["run", "--seed", "3", str(file), "--force", "--train.steps=30", "--quiet"]) == 0
    ((recipe, force, command, until),) = stages.calls
    assert isinstance(recipe, Recipe)
    assert (recipe.held_out, recipe.seed, recipe.train.steps, recipe.runtime.quiet) == ("photo", 3, 30, True)
    assert (force, until) == (True, "evaluate")
    assert command == f"hamdg run {file} --seed=3 --train.steps=30"


@pytest.mark.parametrize("option", [["--until", "merge"], ["--until=merge"]])
def test_a_run_can_stop_after_a_step(stages: Stages, file: Path, option: list[str]) -> None:
    assert cli.main(["run", *option, str(file)]) == 0
    assert stages.calls[0][1:] == (False, f"hamdg run {file}", "merge")


def test_a_shipped_recipe_is_found_from_any_folder(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "mini/erm", "--seed=3"]) == 0
    recipe, _, command, _ = stages.calls.pop()
    assert isinstance(recipe, Recipe)
    assert (recipe.algorithm, recipe.seed, command) == ("erm", 3, "hamdg run mini/erm --seed=3")
    said = " ".join(capsys.readouterr().out.split())
    assert said == "recipe mini/erm (comes with hamdg)"
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "erm.yaml").write_text("seed: 7\n")
    assert cli.main(["run", "mini/erm"]) == 0
    recipe, *_ = stages.calls.pop()
    assert isinstance(recipe, Recipe)
    assert (recipe.algorithm, recipe.seed) == ("ham", 7)
    assert capsys.readouterr().out == ""


def test_merge_and_evaluate_get_the_run(stages: Stages) -> None:
    assert cli.main(["merge", "logs/run", "--merge.options.keep=0.3"]) == 0
    assert cli.main(["evaluate", "logs/run"]) == 0
    assert stages.calls == [(Path("logs/run"), ["--merge.options.keep=0.3"]), (Path("logs/run"), [])]


@pytest.mark.parametrize(("verb", "own"), [("merge", "--merge.options.keep=0.3"), ("evaluate", "--evaluate.lines=9")])
def test_merge_and_evaluate_can_be_followed(stages: Stages, verb: str, own: str) -> None:
    for arguments in (["logs/run", own, "--tracking", "wandb,csv"], ["--tracking=wandb,csv", own, "logs/run"]):
        assert cli.main([verb, *arguments]) == 0
    assert stages.calls == [(Path("logs/run"), [own, '--tracking.loggers=["wandb", "csv"]'])] * 2


def test_missing_weights_end_the_command_before_a_run_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hamdg.models.hub.try_to_load_from_cache", lambda repo, name: None)
    monkeypatch.setattr("hamdg.models.hub.answers", lambda host, within: False)
    for domain, name in product(PACS.domains, PACS.classes):
        (tmp_path / "PACS" / domain / name).mkdir(parents=True)
        (tmp_path / "PACS" / domain / name / "1.jpg").write_bytes(b"1")
    monkeypatch.setitem(sys.modules, "hamdg.stages.pipeline", None)
    recipe = Path(__file__).parents[1] / "experiments" / "pacs" / "ham.yaml"
    places = (f"--data.root={tmp_path / 'PACS'}", f"--runtime.root={tmp_path / 'runs'}")
    assert cli.main(["run", str(recipe), *places]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hamdg: error: The weights `openai` of the model `ViT-B-16-quickgelu` are not here: ")
    assert "Three ways to provide them: " in said
    assert not (tmp_path / "runs").exists()


def test_report_finds_the_runs_below_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b", "a", "unfinished"):
        (tmp_path / "logs" / name).mkdir(parents=True)
        (tmp_path / "logs" / name / "config.yaml").touch()
    for name in ("b", "a"):
        (tmp_path / "logs" / name / "record.json").touch()
    monkeypatch.setattr("hamdg.report.build", lambda paths: paths[0] / "report.html")
    logs = tmp_path / "logs"
    assert cli.main(["report", str(logs), str(logs / "b")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(logs / run / "report.html") for run in ("a", "b", "b")]


def test_report_on_an_empty_folder_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == f"hamdg: error: There is no finished run below `{tmp_path}`; start one with `hamdg run RECIPE`.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "There is no verb `rnu`; did you mean `run`?"),
        (
            ["zzz"],
            "There is no verb `zzz`; it can be `run`, `merge`, `evaluate`, `sweep`, `table`, `report`, "
            "`dashboard`, `recipes`, `records`, `data`, `completion`, `doctor`.",
        ),
        (["data", "lst"], "There is no command `lst`; did you mean `list`?"),
        (["run"], "the following arguments are required: RECIPE; see `hamdg run --help`."),
        (["run", "a.yaml", "--froce"], "There is no option or key `--froce`; did you mean `--force`?"),
        (["run", "a.yaml", "b.yaml"], "unrecognized arguments: b.yaml; see `hamdg run --help`."),
        (["evaluate", "a", "b c"], "unrecognized arguments: 'b c'; see `hamdg evaluate --help`."),
        (["data", "list", "x"], "unrecognized arguments: x; see `hamdg data list --help`."),
        (["data", "verify"], "the following arguments are required: NAME; see `hamdg data verify --help`."),
        (["run", "a.yaml", "--qqq=1"], "There is no option or key `--qqq`; see `hamdg run --help`."),
        (["data", "sheet", "mini", "--qqq=1"], "There is no option or key `--qqq`; see `hamdg data sheet --help`."),
        (
            ["sweep", "a.yaml", "--processes=two"],
            "argument --processes: invalid int value: 'two'; see `hamdg sweep --help`.",
        ),
        (
            ["sweep", "a.yaml", "--processes=0"],
            "Expected `--processes` to be an integer between 1 and 1,024, but got `0`.",
        ),
        (
            ["sweep", "a.yaml", "--processes=9999"],
            "Expected `--processes` to be an integer between 1 and 1,024, but got `9999`.",
        ),
        (
            ["merge", "--method", "uniform", "a.pt", "b.pt", "--out", "c.pt", "--threads=1000000"],
            "Expected `--threads` to be an integer between 1 and 1,024, but got `1000000`.",
        ),
        (
            ["merge", "--tracking", "wandb"],
            "One run is merged again at a time, but got ``; name its directory.",
        ),
        (["merge", "logs/run", "--tracking"], "argument --tracking: expected one argument; see `hamdg merge --help`."),
        (
            ["merge", "--method", "uniform", "a.pt", "b.pt", "--out", "c.pt", "--tracking=wandb"],
            "Merge method `uniform` has no option `--tracking`; it takes none.",
        ),
        (
            ["merge", "logs/run", "--train.steps=3"],
            "`hamdg merge` takes keys of the sections `merge`, `evaluate`, `runtime` and `tracking`, such as "
            "`--merge.options.keep=0.3`, but got `--train.steps`.",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == f"hamdg: error: {said}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (TrainingError("The loss is not a number."), 1, "hamdg: error: The loss is not a number.\n"),
        (StorageError("Cannot write `x`."), 1, "hamdg: error: Cannot write `x`.\n"),
        (
            KeyboardInterrupt("in step 7 of 100"),
            130,
            "\nhamdg: stopped in step 7 of 100; repeat the same command to go on from the last checkpoint.\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "\nhamdg: stopped; repeat the same command to go on from the last checkpoint.\n",
        ),
    ],
)
def test_failures_have_their_code_and_no_trace(
    stages: Stages, file: Path, capsys: pytest.CaptureFixture[str], failure: BaseException, code: int, said: str
) -> None:
    stages.failure = failure
    assert cli.main(["run", str(file)]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", b"a\xe9\x1b"), "`a\\udce9\\x1b`: file name too long."),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "`runs/x`: permission denied."),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line_wherever_it_is_met(
    stages: Stages, file: Path, capsys: pytest.CaptureFixture[str], failure: OSError, said: str
) -> None:
    stages.failure = failure
    assert cli.main(["run", str(file)]) == 2
    assert capsys.readouterr().err == f"hamdg: error: {said}\n"


@pytest.mark.parametrize(("name", "what"), [(None, "a file"), ("runs/events", "`runs/events`")])
def test_a_disk_that_is_full_for_a_library_is_one_line(
    stages: Stages, file: Path, capsys: pytest.CaptureFixture[str], name: str | None, what: str
) -> None:
    stages.failure = OSError(errno.ENOSPC, "No space left on device", name)
    assert cli.main(["run", str(file)]) == 1
    assert capsys.readouterr().err == (
        f"hamdg: error: Cannot write {what}: no space left on device; free some space, then repeat the command.\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["data", "list"]])
def test_a_full_output_is_said(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert cli.main(arguments) == 1
    assert capsys.readouterr().err == (
        "hamdg: error: The output cannot be written: no space left on device; files that were written are complete.\n"
    )


def test_a_bug_keeps_its_trace(stages: Stages, file: Path) -> None:
    stages.failure = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", str(file)])


def test_no_verb_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "doctor" in capsys.readouterr().out


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"hamdg {__version__}\n"
    assert cli.main(["run", "--help"]) == 0
    assert "--key.sub=value" in capsys.readouterr().out


def test_the_help_of_merge_is_quick_and_imports_no_torch(cpu_time: CpuTime) -> None:
    code = "import sys\nfrom hamdg.cli import main\nmain(['merge', '--help'])\nassert 'torch' not in sys.modules\n"
    seconds, said = cpu_time(code)
    assert "hamdg merge --method NAME [NAME=]FILE ... [--base FILE] --out FILE" in said
    assert seconds < 0.5


def test_help_is_quick_and_imports_nothing_heavy(cpu_time: CpuTime) -> None:
    code = (
        "import sys\n"
        "from hamdg.cli import main\n"
        "main(['--help'])\n"
        "heavy = {'torch', 'lightning', 'numpy', 'open_clip', 'rich', 'matplotlib', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    seconds, _ = cpu_time(code)
    assert seconds < 0.5


def test_the_help_of_run_is_quick_and_imports_no_torch(cpu_time: CpuTime) -> None:
    code = (
        "import sys\n"
        "from hamdg.cli import main\n"
        "main(['run', '--help'])\n"
        "assert not {'torch', 'lightning', 'numpy', 'rich'} & set(sys.modules)\n"
    )
    seconds, said = cpu_time(code)
    assert "--ham.harmonization.method" in said
    assert seconds < 0.5


def test_reading_a_recipe_does_not_import_torch(file: Path) -> None:
    code = f"import sys\nfrom hamdg.cli import main\nassert main(['run', {str(file)!r}, '--seed=x']) == 2\n"
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = "Expected `seed` to be an integer of at least 0, but got `x` (on the command line)."
    assert done.stderr == f"hamdg: error: {said}\n"


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m hamdg data list | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_help_of_every_verb_has_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    verbs = ["run", "merge", "evaluate", "sweep", "table", "report", "dashboard", "recipes", "doctor"]
    for verb in [*verbs, *(f"data {name}" for name in ("list", "verify", "prepare", "sheet", "conflicts"))]:
        assert cli.main([*verb.split(), "--help"]) == 0
        said = capsys.readouterr().out
        assert f"Example: hamdg {verb}" in said, verb
        assert "--json" in said, verb
