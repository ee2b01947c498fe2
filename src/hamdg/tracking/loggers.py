"""Builds the loggers that a recipe names."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import cast

from lightning.pytorch.loggers import Logger

from hamdg.config.tracking import CSV, GROUP, KNOWN, WANDB, TrackingConfig, check_loggers, owner_of, short_name
from hamdg.errors import ConfigError, HamdgError
from hamdg.plugins import load_plugin
from hamdg.text import excerpt
from hamdg.tracking.interface import log_values
from hamdg.tracking.rows import measured_until
from hamdg.tracking.step import TrackedStep

# Stands for the step where only the names of arguments count.
_NOTHING = TrackedStep("", "", Path(), "", "", "")


def open_loggers(config: TrackingConfig, step: TrackedStep, last_step: int = 0) -> list[Logger]:
    """Return the loggers of a step, in the order in which the recipe names them.

    Args:
        config: Which loggers, and how.
        step: The step.
        last_step: What was measured after this training step is about to be measured again.

    Raises:
        ConfigError: If a logger does not exist, its package is missing, or it does not take its options.
    """
    check_loggers(config)
    return [_opened(name, config, step, last_step) for name in config.loggers]


def check_makers(config: TrackingConfig) -> None:
    """Check that loggers can be loaded and take their options, before a run writes or deletes anything.

    Raises:
        ConfigError: If one cannot, is no logger's class, or does not take its options.
    """
    check_loggers(config)
    for name in config.loggers:
        if short_name(name) == WANDB:
            continue
        kind = _class_of(name)
        if inspect.isclass(kind) and not issubclass(kind, Logger):
            raise _not_a_logger(name, kind)
        given = _arguments(name, kind, _NOTHING, 0) | _options(name, config)
        try:
            _signature(name, kind).bind(**given)
        except TypeError as error:
            raise _not_made(name, error) from error


def _opened(name: str, config: TrackingConfig, step: TrackedStep, last_step: int) -> Logger:
    if short_name(name) == WANDB:
        from hamdg.tracking.wandb_logger import WandbLogger

        return WandbLogger(config, step, last_step)
    kind = _class_of(name)
    arguments = _arguments(name, kind, step, last_step) | _options(name, config)
    with _naming(name):
        logger = kind(**arguments)
    if not isinstance(logger, Logger):
        raise _not_a_logger(name, type(logger))
    with _naming(name):
        if short_name(name) == CSV:
            _begin_csv(logger, step, last_step)
        else:
            logger.log_hyperparams(dict(step.config))
    return logger


def _begin_csv(logger: Logger, step: TrackedStep, last_step: int) -> None:
    """Log the configuration and what was measured up to a step: Lightning deletes the file of the process before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
        logger.log_hyperparams(dict(step.config))
    for number, values in measured_until(step.metrics, last_step):
        log_values([logger], values, number)
    logger.save()


def _options(name: str, config: TrackingConfig) -> dict[str, object]:
    return {key.partition(".")[2]: one for key, one in config.options.items() if owner_of(key, [name]) == name}


def _class_of(name: str) -> Callable[..., object]:
    """Return what makes a logger: its class, or the function of a package's entry point."""
    short = short_name(name)
    if short in KNOWN or "." in name:
        module, _, own = (KNOWN[short].path if short in KNOWN else name).rpartition(".")
        try:
            found = getattr(import_module(module), own)
        except Exception as error:  # anything can go wrong in a module that is not ours
            raise ConfigError(
                f"`tracking.loggers`: the logger `{excerpt(name)}` cannot be loaded ({_reason(error)}); write "
                "`package.module.Class`."
            ) from error
    else:
        found = load_plugin(GROUP, name, "logger")
    if not callable(found):
        raise ConfigError(f"`tracking.loggers`: `{excerpt(name)}` is a `{type(found).__name__}`, not a logger's class.")
    return cast("Callable[..., object]", found)


def _arguments(name: str, kind: Callable[..., object], step: TrackedStep, last_step: int) -> dict[str, object]:
    """Return what a logger's class is given of what it takes: where its files lie, and what it follows."""
    folder = str(step.folder / short_name(name).rpartition(".")[2].lower())
    known: dict[str, object] = {
        "step": step,
        "save_dir": folder,
        "root_dir": folder,
        "name": step.name,
        "version": "",
        "experiment_name": step.group,
        "run_name": step.title,
    }
    takes = _signature(name, kind).parameters
    found = {key: value for key, value in known.items() if key in takes}
    if short_name(name) == "tensorboard":
        # No page of its own, and points that are measured again take the place of those before.
        found |= {"default_hp_metric": False, "purge_step": last_step + 1 if last_step else None}
    return found


def _signature(name: str, kind: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(kind)
    except ValueError as error:  # what is written in C need not say what it takes
        raise _not_made(name, error) from error


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name a logger in an error about making it, whatever went wrong: it is not ours."""
    try:
        yield
    except HamdgError:
        raise
    except ModuleNotFoundError as error:
        raise ConfigError(f"`tracking.loggers`: the logger `{excerpt(name)}` lacks a package: {error}.") from error
    except Exception as error:
        raise _not_made(name, error) from error


def _reason(error: Exception) -> str:
    """Return what went wrong on one line, with its kind where the text alone does not tell."""
    is_told = isinstance(error, ImportError | AttributeError | TypeError | ValueError)
    return excerpt(error if is_told else f"{type(error).__name__}: {error}", 200)


def _not_made(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"`tracking.loggers`: the logger `{excerpt(name)}` cannot be made ({_reason(error)}); give what it needs under "
        "`tracking.options`."
    )


def _not_a_logger(name: str, kind: type) -> ConfigError:
    return ConfigError(
        f"`tracking.loggers`: expected `{excerpt(name)}` to be a `lightning.pytorch.loggers.Logger`, but got a "
        f"`{kind.__name__}`."
    )
