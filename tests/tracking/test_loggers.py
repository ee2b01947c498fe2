"""Loggers by name: what there is, what is wrong with a name, and what TensorBoard and others are given."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger

from hamdg.config import tracking as config_tracking
from hamdg.config.reading import read_recipe
from hamdg.config.tracking import TrackingConfig, check_loggers, names_in, short_name
from hamdg.errors import ConfigError
from hamdg.tracking.csv import CsvTracker
from hamdg.tracking.interface import log_values
from hamdg.tracking.keys import MetricKey
from hamdg.tracking.loggers import check_makers
from hamdg.tracking.results import Results
from hamdg.tracking.tracker import StepTracker, tracked

if TYPE_CHECKING:
    from tests.conftest import Plugin
    from tests.tracking.conftest import MakeStep


def message(*names: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_loggers(TrackingConfig(loggers=list(names)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("wandb", "wandb"),
        ("WandbLogger", "wandb"),
        ("TensorBoardLogger", "tensorboard"),
        ("MLFlowLogger", "mlflow"),
        ("csv", "csv"),
        ("own.Logger", "own.Logger"),
    ],
)
def test_loggers_of_lightning_have_short_names(name: str, short: str) -> None:
    assert short_name(name) == short


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert message("tensorbord") == ("`tracking.loggers`: there is no logger `tensorbord`; did you mean `tensorboard`?")
    assert message("x").endswith("`csv`, and any `package.module.Class`.")


def test_a_missing_package_is_answered_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_tracking, "find_spec", lambda name: None)
    assert message("MLFlowLogger") == (
        "`tracking.loggers`: the logger `MLFlowLogger` needs the package `mlflow`, which is not installed; "
        "`pip install mlflow` brings it."
    )
    assert message("nowhere.Logger") == (
        "`tracking.loggers`: the logger `nowhere.Logger` needs the package `nowhere`, which is not installed."
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--tracking.project=a/b"],
            r"`tracking.project` is `a/b`, but a project has a name of 1 to 128 characters without / \ # ? % : , "
            "(on the command line).",
        ),
        (["--tracking.mode=onlin"], "but got `onlin` (on the command line). Did you mean `online`?"),
        ([f"--tracking.group={'g' * 129}"], "`tracking.group` has 129 characters; W&B takes 128 at most"),
        (["--tracking.tags=['']"], "`tracking.tags` has ``; W&B takes 1 to 64 characters a tag"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, given)
    assert said in str(caught.value)


def test_a_logger_is_named_once() -> None:
    assert message("wandb", "csv", "WandbLogger") == "`tracking.loggers` has `wandb` twice; name every logger once."


def test_a_name_that_is_no_path_is_a_sentence() -> None:
    assert message("..x") == "`tracking.loggers`: `..x` is no name of a `package.module.Class`."


def test_an_option_of_no_logger_is_a_sentence() -> None:
    config = TrackingConfig(loggers=["csv"], options={"uri": "x"})
    with pytest.raises(ConfigError) as caught:
        check_loggers(config)
    assert str(caught.value) == (
        "`tracking.options.uri` must begin with the name of a logger, as in `mlflow.tracking_uri`, and "
        "`tracking.loggers` has `csv`."
    )
    with pytest.raises(ConfigError, match="W&B has keys of its own"):
        check_loggers(TrackingConfig(loggers=["wandb"], options={"wandb.project": "x"}))


def test_the_option_takes_several_names() -> None:
    assert names_in("wandb, tensorboard,") == ["wandb", "tensorboard"]
    with pytest.raises(ConfigError, match="`--tracking` needs the name of a logger"):
        names_in(" ,")


def test_tensorboard_is_read_back(make_step: MakeStep, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    config = TrackingConfig(loggers=["tensorboard"])
    for last_step in (0, 2):
        with tracked(config, make_step()) as tracker:
            for step in range(last_step + 1, last_step + 4):
                log_values(tracker.loggers(last_step), {MetricKey("loss", "photo"): step / 2 + last_step}, step)
            tracker.finish(lambda: Results(values={"accuracy": 0.5, "method": "rhm"}))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "train"))
    events.Reload()
    # The second process measures again from the third step on, which takes the place of the first one's.
    assert [(one.step, one.value) for one in events.Scalars("loss/photo")] == [
        (1, 0.5),
        (2, 1.0),
        (3, 3.5),
        (4, 4.0),
        (5, 4.5),
    ]
    assert [one.value for one in events.Scalars("accuracy")] == [0.5, 0.5]


class Remember(DummyLogger):
    """Somebody else's logger.

    Args:
        name: Its name.
        extra: An option.
    """

    made: list[Remember] = []  # noqa: RUF012 - the test's own

    def __init__(self, name: str, extra: int = 0) -> None:
        super().__init__()
        self.given = (name, extra)
        self.params: dict[str, object] = {}
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.ends: list[str] = []
        self.made.append(self)

    def log_hyperparams(self, params: dict[str, object] | Namespace, *args: object, **kwargs: object) -> None:
        self.params.update(vars(params) if isinstance(params, Namespace) else params)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def finalize(self, status: str) -> None:
        self.ends.append(status)


def test_any_class_is_a_logger_and_takes_options(make_step: MakeStep) -> None:
    name = f"{__name__}.Remember"
    config = TrackingConfig(loggers=[name], options={"Remember.extra": 3})
    with tracked(config, make_step()) as tracker:
        log_values(tracker.loggers(), {MetricKey("loss", "photo"): 0.5}, 1)
        tracker.finish(lambda: Results(values={"accuracy": 0.25, "method": "rhm"}))
    # pytest may know this module by another name than the class was found by.
    logger = sys.modules[__name__].Remember.made[-1]
    assert logger.given == ("train", 3)
    assert logger.params == {"method": "HAM", "train.lr": 0.1}
    assert logger.rows == [(1, {"loss/photo": 0.5}), (0, {"accuracy": 0.25})]
    assert logger.ends == ["success"]
    check_makers(config)


def test_a_logger_of_lightning_writes_into_the_run(make_step: MakeStep, tmp_path: Path) -> None:
    with tracked(TrackingConfig(loggers=["CSVLogger"]), make_step()) as tracker:
        (logger,) = tracker.loggers()
        assert isinstance(logger, CSVLogger)
        logger.log_metrics({"loss": 0.5}, 1)
    assert (tmp_path / "run" / "csv" / "train" / "metrics.csv").read_text().startswith("loss,step\n0.5,1")


def test_a_resumed_step_keeps_the_curve_of_lightnings_csv_file(make_step: MakeStep, tmp_path: Path) -> None:
    config, own = TrackingConfig(loggers=["csv"]), tmp_path / "run" / "train" / "metrics.csv"
    own.parent.mkdir(parents=True)
    for last_step in (0, 2):
        with tracked(config, make_step(metrics=own)) as tracker:
            loggers = [CsvTracker(own, last_step), *tracker.loggers(last_step)]
            for step in range(last_step + 1, last_step + 4):
                log_values(loggers, {MetricKey("loss", "photo"): step / 2 + last_step}, step)
            loggers[0].save()
    # The second process measures again from the third step on.
    rows = (tmp_path / "run" / "csv" / "train" / "metrics.csv").read_text().splitlines()
    assert rows == ["loss/photo,step", "0.5,1", "1.0,2", "3.5,3", "4.0,4", "4.5,5"]


BROKEN = """
from lightning.pytorch.loggers.logger import DummyLogger
class AtOnce(DummyLogger):
    def __init__(self):
        raise ConnectionError("no server\\nanswers")
class Later(DummyLogger):
    def log_hyperparams(self, *args, **kwargs):
        raise RuntimeError("no experiment")
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken_text.Own", "cannot be loaded (SyntaxError: "),
        ("broken_logger.AtOnce", r"cannot be made (ConnectionError: no server\nanswers); give what"),
        ("broken_logger.Later", "cannot be made (RuntimeError: no experiment); give what"),
    ],
)
def test_whatever_goes_wrong_in_a_logger_is_a_sentence_that_names_it(
    make_step: MakeStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    (tmp_path / "broken_text.py").write_text("def (:\n")
    (tmp_path / "broken_logger.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        StepTracker(TrackingConfig(loggers=[name]), make_step()).loggers()
    assert str(caught.value).startswith(f"`tracking.loggers`: the logger `{name}` {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["lightning.pytorch.loggers.Nothing"], {}, "cannot be loaded (module 'lightning.pytorch.loggers' has no"),
        (["csv"], {"csv.colour": 1}, "cannot be made (CSVLogger.__init__() got an unexpected keyword argument"),
        (["pathlib.PurePath"], {}, "to be a `lightning.pytorch.loggers.Logger`, but got a `PurePosixPath`."),
        (["pathlib.sys"], {}, "`pathlib.sys` is a `module`, not a logger's class."),
        (["builtins.dict"], {}, "to be a `lightning.pytorch.loggers.Logger`, but got a `dict`."),
    ],
)
def test_what_is_no_logger_is_a_sentence(
    make_step: MakeStep, names: list[str], options: dict[str, float | int | bool | str | None], said: str
) -> None:
    tracker = StepTracker(TrackingConfig(loggers=names, options=options), make_step())
    with pytest.raises(ConfigError) as caught:
        check_makers(TrackingConfig(loggers=names, options=options))
    checked = said.replace("got a `PurePosixPath`", "got a `PurePath`").replace("CSVLogger.__init__() ", "")
    assert checked in str(caught.value)
    if names != ["builtins.dict"]:  # which does not say what it takes, so that it is never called
        with pytest.raises(ConfigError) as caught:
            tracker.loggers()
        assert said in str(caught.value)


def test_a_package_brings_a_logger(plugin: Plugin, make_step: MakeStep) -> None:
    code = (
        "from lightning.pytorch.loggers.logger import DummyLogger\n"
        "def make(step, depth=1):\n    logger = DummyLogger()\n    logger.seen = (step.title, depth)\n    return logger"
    )
    plugin("notebook-logger", "hamdg.loggers", {"notebook": "notebook_logger:make"}, code)
    config = TrackingConfig(loggers=["notebook"], options={"notebook.depth": 2})
    check_loggers(config)
    (logger,) = StepTracker(config, make_step()).loggers()
    assert vars(logger)["seen"] == ("train HAM on sketch, seed 0", 2)


def test_no_logger_means_no_results_are_put_together(make_step: MakeStep) -> None:
    with tracked(TrackingConfig(), make_step()) as tracker:
        tracker.finish(lambda: pytest.fail("nobody asked for results"))


def test_other_processes_of_a_run_have_no_loggers(make_step: MakeStep, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert StepTracker(TrackingConfig(loggers=["csv"]), make_step()).loggers() == []
