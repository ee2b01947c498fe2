"""The recipe's section `tracking`: where metrics go beside `metrics.csv`, and which loggers it can name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Literal, NamedTuple

from hamdg.errors import ConfigError
from hamdg.plugins import plugins
from hamdg.text import did_you_mean, excerpt, listed
from hamdg.values import Range, Words

GROUP = "hamdg.loggers"
WANDB, CSV = "wandb", "csv"
# What W&B takes as names of projects, and how long names and groups may be.
_PROJECT = re.compile(r"[^/\\#?%:,]{1,128}")
LONGEST_NAME, LONGEST_TAG = 128, 64

Loggers = Annotated[list[str], Words("a list of names, such as `[wandb, tensorboard]`")]
Tags = Annotated[list[str], Words("a list of strings, such as `[ablation]`")]
LoggerOption = Annotated[float | int | bool | str | None, Words("a number, a string, `true`, `false` or `null`")]


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics and results go beside `metrics.csv`, which is always written; none of this changes what the run is.

    Args:
        loggers: `wandb`, `tensorboard`, another logger of Lightning (`mlflow`, `comet`), one that a package brings, or
            any other by its class (`package.module.Class`). `--tracking wandb,tensorboard` is short for it.
        options: Arguments of loggers other than `wandb`, such as `mlflow.tracking_uri: http://localhost:5000`.
        project: The project on Weights & Biases (W&B); `null` for what the environment variable `WANDB_PROJECT` says,
            else `hamdg`.
        entity: The user or team that the project belongs to; `null` for what `WANDB_ENTITY` says, else the default of
            whoever is logged in.
        mode: `online`; `offline` (W&B runs stay in the run's folder, and `wandb sync` uploads them); `disabled`; or
            `null` for what `WANDB_MODE` says, else `online`. Without a login or a network it is `offline`.
        group: What groups W&B runs; empty for the name of the run, or of the sweep.
        tags: Tags of W&B runs.
        config: More of the configuration of W&B runs, to filter and group by, such as `machine: node7`.
        artifacts: Upload the files of histories and merged models.
        system: Let W&B measure the load of processor, memory and GPU.
        patience: Seconds that W&B has to answer at the start of a step, and to take what is left at its end; then the
            run goes on, and what was not uploaded stays in its folder.
    """

    loggers: Loggers = field(default_factory=list)
    options: dict[str, LoggerOption] = field(default_factory=dict)
    project: str | None = None
    entity: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    group: str = ""
    tags: Tags = field(default_factory=list)
    config: dict[str, LoggerOption] = field(default_factory=dict)
    artifacts: bool = False
    system: bool = True
    patience: Annotated[float, Range(1, 86_400)] = 30.0


class KnownLogger(NamedTuple):
    """A logger that has a short name.

    Args:
        path: Its class, as `package.module.Class`.
        package: The module that it needs.
        install: What `pip install` is given for it.
    """

    path: str
    package: str
    install: str


_LIGHTNING = "lightning.pytorch.loggers"
KNOWN = {
    WANDB: KnownLogger("hamdg.tracking.wandb_logger.WandbLogger", "wandb", "wandb"),
    "tensorboard": KnownLogger(f"{_LIGHTNING}.TensorBoardLogger", "tensorboard", "tensorboard"),
    "mlflow": KnownLogger(f"{_LIGHTNING}.MLFlowLogger", "mlflow", "mlflow"),
    "comet": KnownLogger(f"{_LIGHTNING}.CometLogger", "comet_ml", "comet-ml"),
    "litlogger": KnownLogger(f"{_LIGHTNING}.LitLogger", "litlogger", "litlogger"),
    CSV: KnownLogger(f"{_LIGHTNING}.CSVLogger", "lightning", "lightning"),
}


def short_name(name: str) -> str:
    """Return the short name of a logger of Lightning that is called by its class (`MLFlowLogger`), else the name."""
    found = name.lower().removesuffix("logger")
    return next((known for known in KNOWN if found == known.removesuffix("logger")), name)


def owner_of(option: str, names: list[str]) -> str | None:
    """Return which of the loggers an option is for: `mlflow.tracking_uri`; a class is called by its last name."""
    owner = option.partition(".")[0]
    return next((name for name in names if owner in (name, short_name(name), name.rpartition(".")[2])), None)


def tracking_problems(config: TrackingConfig) -> Iterator[tuple[str, str]]:
    """Yield what makes no sense in the section: the key, and a sentence without its full stop."""
    if config.project is not None and not _PROJECT.fullmatch(config.project):
        sentence = f"`tracking.project` is `{excerpt(config.project)}`, but a project has a name of 1 to 128 characters"
        yield "tracking.project", rf"{sentence} without / \ # ? % : ,"
    if len(config.group) > LONGEST_NAME:
        yield "tracking.group", f"`tracking.group` has {len(config.group)} characters; W&B takes {LONGEST_NAME} at most"
    for tag in config.tags:
        if not 1 <= len(tag) <= LONGEST_TAG:
            yield (
                "tracking.tags",
                f"`tracking.tags` has `{excerpt(tag)}`; W&B takes 1 to {LONGEST_TAG} characters a tag",
            )


def check_loggers(config: TrackingConfig) -> None:
    """Check that all loggers exist and their packages are installed; before anything trains, and nothing is imported.

    A run's recipe can be read without them, so that this is no part of reading it.

    Raises:
        ConfigError: If one does not, with the nearest; or its package is missing, with the command that installs it;
            or an option is of none of them.
    """
    for number, name in enumerate(config.loggers):
        short = short_name(name)
        if short in map(short_name, config.loggers[:number]):
            raise ConfigError(f"`tracking.loggers` has `{excerpt(short)}` twice; name every logger once.")
        if short in KNOWN:
            if not _is_installed(KNOWN[short].package):
                package, install = KNOWN[short].package, KNOWN[short].install
                raise ConfigError(
                    f"`tracking.loggers`: the logger `{name}` needs the package `{package}`, which is not installed; "
                    f"`pip install {install}` brings it."
                )
        elif "." in name:
            package = name.partition(".")[0]
            if not all(part.isidentifier() for part in name.split(".")):
                raise ConfigError(f"`tracking.loggers`: `{excerpt(name)}` is no name of a `package.module.Class`.")
            if not _is_installed(package):
                raise ConfigError(
                    f"`tracking.loggers`: the logger `{excerpt(name)}` needs the package `{package}`, which is not "
                    "installed."
                )
        elif name not in (own := plugins(GROUP)):
            names = [*KNOWN, *own]
            hint = did_you_mean(name, names, f"there are {listed(names)}, and any `package.module.Class`.")
            raise ConfigError(f"`tracking.loggers`: there is no logger `{excerpt(name)}`; {hint}")
    for option in config.options:
        _check_option(option, config.loggers)


def _check_option(option: str, names: list[str]) -> None:
    key, owner = f"tracking.options.{option}", owner_of(option, names)
    if owner is None or "." not in option:
        listing = f"`tracking.loggers` has {listed(names)}" if names else "`tracking.loggers` is empty"
        raise ConfigError(f"`{key}` must begin with the name of a logger, as in `mlflow.tracking_uri`, and {listing}.")
    if short_name(owner) == WANDB:
        raise ConfigError(f"`{key}`: W&B has keys of its own, such as `tracking.project`; write one of them.")


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def names_in(text: str) -> list[str]:
    """Return the loggers that `--tracking` names, separated by commas.

    Raises:
        ConfigError: If it names none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError("`--tracking` needs the name of a logger, such as `--tracking wandb`.")
    return names
