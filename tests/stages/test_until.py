"""Runs that stop before the held-out domain is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hamdg import cli
from hamdg.errors import ConfigError
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.stages import pipeline, repeating

if TYPE_CHECKING:
    from tests.stages.conftest import Commander, Tiny


@pytest.mark.parametrize("algorithm", ["ham", "coral"])
def test_a_run_is_validated_without_the_held_out_domain(tiny: Tiny, algorithm: str) -> None:
    recipe = tiny(f"--algorithm={algorithm}")
    record = pipeline.run(recipe, until="validate")
    run = RunDirectory(run_directory(recipe))
    assert run.validation.is_file()
    assert run.merged.is_file()
    assert not record.exists()
    assert not run.is_done


def test_an_unknown_step_is_answered_with_those_that_there_are(tiny: Tiny) -> None:
    message = "The algorithm `coral` has no step `merge`; its steps are `train`, `validate`, `evaluate`."
    with pytest.raises(ConfigError, match=f"^{message}$"):
        pipeline.run(tiny("--algorithm=coral"), until="merge")


def test_an_empty_step_does_not_open_the_held_out_domain(
    command: Commander, capsys: pytest.CaptureFixture[str]
) -> None:
    own = command("own", "--runtime.quiet=true")
    assert cli.main([*own.argv, "--until="]) == 2
    assert "has no step ``; its steps are `train`, `merge`, `validate`, `evaluate`." in capsys.readouterr().err
    assert not own.directory.path.exists()


def test_a_run_that_reads_no_merge_section_is_not_merged_again(tiny: Tiny) -> None:
    recipe = tiny("--algorithm=coral")
    pipeline.run(recipe, until="train")
    with pytest.raises(ConfigError, match=r"is a run of `coral`, which merges nothing by the section `merge`\.$"):
        repeating.remerge(run_directory(recipe), ["--merge.method=ties"])
