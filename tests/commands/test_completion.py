"""What a real bash completes with the script that `hamdg completion bash` prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hamdg import cli
from hamdg.commands.completion import STEPS
from hamdg.commands.method_options import merge_methods, options_of
from hamdg.config.algorithms import names as algorithms
from hamdg.config.keys import known
from hamdg.config.reading import read_recipe
from hamdg.config.shipped import shipped_names
from hamdg.data.registry import names
from hamdg.merge import list_methods
from hamdg.runs.record import EVALUATE, VALIDATE
from hamdg.stages.discovery import algorithm_of
from hamdg.values import members
from tests.conftest import CpuTime

Complete = Callable[..., list[str]]
_TIES = [f"--merge.options.{name}" for name in ("scale", "scope", "sign")]
# Completes the words that follow, one a line, and prints what bash would offer for the last one.
_TRY = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
function=$(complete -p hamdg | sed -E 's/.*-F ([^ ]+).*/\\1/')
"$function" hamdg "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "hamdg.bash"
    done = subprocess.run([sys.executable, "-m", "hamdg", "completion", "bash"], capture_output=True, check=True)
    path.write_bytes(done.stdout)
    return path


@pytest.fixture
def complete(file: Path, tmp_path: Path) -> Complete:
    """Return a function that gives what bash offers for the last of the words after `hamdg`."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")

    def offered(*words: str) -> list[str]:
        command = [bash, "-c", _TRY, "bash", str(file), "hamdg", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.stderr == ""
        return done.stdout.split()

    return offered


def test_verbs_and_their_commands_are_offered(complete: Complete) -> None:
    assert complete("ev") == ["evaluate"]
    assert {"run", "merge", "sweep", "table", "report", "data", "completion"} <= set(complete(""))
    assert complete("data", "") == ["list", "verify", "prepare", "sheet", "conflicts", "cache"]
    assert complete("data", "cache", "d") == ["delete"]
    assert complete("records", "") == ["pack", "unpack"]


def test_conflicts_takes_every_key_of_a_recipe(complete: Complete) -> None:
    assert "--train.lr" in complete("data", "conflicts", "mini/ham", "--train.l")


def test_every_key_of_a_recipe_is_offered(complete: Complete) -> None:
    offered = complete("run", "mini/ham", "--")
    assert {f"--{key}" for key in known() if key != "merge.options"} <= set(offered)
    assert {"--force", "--dry-run", "--until", "--quiet", "--json"} <= set(offered)
    assert complete("run", "mini/ham", "--train.l") == ["--train.lr"]
    assert "--merge.method" in complete("merge", "logs/run", "--merge.")
    assert complete("evaluate", "logs/run", "--evaluate.l") == ["--evaluate.lines"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["run", "mini/ham", "--ham.harmonization.method", "c"], ["cosine"]),
        (["run", "mini/ham", "--ham.harmonization.method", "=", "c"], ["cosine"]),
        (["run", "--train.lr", "=", "3", "--runtime.device", "="], ["auto", "cpu", "cuda"]),
        (["run", "mini/ham", "--held_out", "=", "ph"], ["photo"]),
        (["run", "mini/ham", "--runtime.report", ""], ["true", "false"]),
        (["run", "mini/ham", "--algorithm", "co"], ["coop", "coral"]),
        (["run", "mini/ham", "--until", "v"], ["validate"]),
        (["merge", "logs/run", "--tracking.mo"], ["--tracking.mode"]),
        (["evaluate", "logs/run", "--tracking.mode", "of"], ["offline"]),
        (["evaluate", "logs/run", "--train."], []),
        (["merge", "--method", "ti"], ["ties"]),
        (["merge", "--method", "ties", "--precision", ""], ["fp32", "fp64"]),
        (["merge", "--method", "ties", "a.pt", "--dens"], ["--density"]),
        (["merge", "--method", "ties", "--tie"], ["--tie-rule"]),
        (["merge", "--method", "ties", "--tie-rule", "t"], ["threshold"]),
        (["merge", "--method", "dare", "--tie"], ["--ties-density", "--ties-scope", "--ties-sign", "--ties-combine"]),
        (["merge", "--method", "uniform", "--ti"], []),
        (["merge", "--method", "ties", "--b"], ["--base", "--buffers"]),
        (["run", "mini/ham", "--merge.method", "=", "ties", "--merge.options.s"], _TIES),
        (["run", "mini/ham", "--merge.options.tie_rule", "=", "e"], ["exact"]),
        (["merge", "logs/run", "--merge.options.drop"], ["--merge.options.drop_rate"]),
        (["sweep", "x.yaml", "--launcher", "lo"], ["local"]),
        (["table", "--format", "la"], ["latex"]),
        (["data", "verify", "pa"], ["pacs"]),
        (["completion", ""], ["bash", "zsh", "tcsh"]),
    ],
)
def test_values_of_options_are_offered(complete: Complete, words: list[str], offered: list[str]) -> None:
    assert sorted(complete(*words)) == sorted(offered)


def test_shipped_recipes_and_own_files_are_offered(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine.yaml", "mine.txt"):
        (tmp_path / name).touch()
    assert complete("run", "mini/") == [name for name in shipped_names("recipe") if name.startswith("mini/")]
    assert sorted(complete("run", "mine")) == ["mine", "mine.yaml"]
    assert complete("sweep", "sweeps/") == [name for name in shipped_names("sweep file") if name.startswith("sweeps/")]
    assert complete("sweep", "ab") == ["ablations/mini"]
    assert complete("evaluate", "mi") == ["mine"]
    assert sorted(complete("merge", "mi")) == ["mine", "mine.txt", "mine.yaml"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_every_shell_gets_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "evaluate" in said
    assert "train.lr" in said


def test_zsh_can_read_its_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("needs zsh")
    assert cli.main(["completion", "zsh"]) == 0
    (tmp_path / "_hamdg").write_text(capsys.readouterr().out)
    subprocess.run([zsh, "-n", str(tmp_path / "_hamdg")], check=True)


def test_an_unknown_shell_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "fishy"]) == 2
    said = capsys.readouterr().err
    assert said == "hamdg: error: There is no shell `fishy`; it can be `bash`, `zsh`, `tcsh`.\n"


def test_the_merge_methods_are_those_of_the_library() -> None:
    own = {name for name, info in list_methods().items() if info.plan.__module__.startswith("hamdg.")}
    assert set(merge_methods()) == own
    for name in own:
        options = list_methods()[name].options.values()
        switches = {one.name: ("true", "false") for one in options if bool in members(one.type)}
        expected = {one.name: {*switches.get(one.name, one.choices)} for one in options}
        assert {option: {*choices} for option, choices in options_of(name).items()} == expected
    assert len(names()) > 3


def test_the_steps_are_those_of_the_algorithms() -> None:
    recipes = [read_recipe(None, [f"--algorithm={name}"]) for name in algorithms()]
    own = [step.name for recipe in recipes for step in algorithm_of(recipe).steps()]
    single = [name for name in own if not name.rpartition("-")[2].isdigit()]
    assert tuple(dict.fromkeys([*single, VALIDATE, EVALUATE])) == STEPS


def test_the_script_is_made_quickly_and_without_torch(cpu_time: CpuTime) -> None:
    code = (
        "import sys; from hamdg.cli import main; main(['completion', 'bash']); "
        "print(sorted({'torch', 'numpy', 'lightning', 'ray', 'wandb'} & {*sys.modules}))"
    )
    seconds, said = cpu_time(code)
    assert said.splitlines()[-1] == "[]"
    assert seconds < 1.0


def test_the_help_says_how_to_switch_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "--help"]) == 0
    said = capsys.readouterr().out
    assert "  bash   hamdg completion bash > ~/.local/share/bash-completion/completions/hamdg\n" in said
