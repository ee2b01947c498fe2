"""Weights & Biases: one W&B run a step, which a resumed or repeated step continues."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.config.tracking import TrackingConfig
from hamdg.tracking.interface import KeyedLogger, ResultLogger
from hamdg.tracking.keys import MetricKey
from hamdg.tracking.links import keep_link
from hamdg.tracking.results import Results
from hamdg.tracking.rows import measured_until
from hamdg.tracking.step import TrackedStep
from hamdg.tracking.wandb_service import begin, files_inside, mode_of, project_of, say_lost, say_slow

if TYPE_CHECKING:
    from wandb import Run

# What is measured layer by layer has a section of its own, so that it does not bury the rest.
_LAYERS = "by_layer"


class WandbLogger(KeyedLogger, ResultLogger):
    """Follows a step in one W&B run; whatever happens to W&B, the step goes on.

    Args:
        config: The recipe's section `tracking`.
        step: The step.
        last_step: The training step that a stopped process came to; what W&B lacks up to it is filled in.
    """

    def __init__(self, config: TrackingConfig, step: TrackedStep, last_step: int = 0) -> None:
        super().__init__()
        self._config = config
        self._step = step
        self._run: Run | None = None
        self._lost = False
        if (mode := mode_of(config)) == "disabled":
            return
        try:
            with files_inside(step.folder):
                self._run = begin(config, step, mode)
        except Exception as error:  # as below
            say_lost(error)
        if self._run is not None:
            keep_link(step.folder, step.name, self._link(self._run))
            # Asked for offline, W&B prints that there is none.
            if not self._run.offline:
                console.note(f"W&B: {self._run.url}")
            self._do(lambda run: self._catch_up(run, last_step))

    @property
    def name(self) -> str:
        """Return the project."""
        return project_of(self._config)

    @property
    def version(self) -> str:
        """Return the id of the W&B run."""
        return self._run.id if self._run is not None else self._step.key

    @property
    def experiment(self) -> Run | None:
        """Return the W&B run itself; `None` where W&B is disabled or cannot be used."""
        return self._run

    def log_hyperparams(self, params: dict[str, object] | Namespace, *args: object, **kwargs: object) -> None:
        """Do nothing: the W&B run has the recipe as its configuration."""

    def log(self, values: Mapping[MetricKey, float], step: int) -> None:
        """Take measurements by key; those of single layers go to a section of their own."""
        texts = {f"{_LAYERS}/{key.text}" if key.layer else key.text: value for key, value in values.items()}
        self.log_metrics(texts, step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take measurements that have no more than a name."""
        # Of a training step that it has already, as after a resume, W&B takes nothing; it is measured alike every time.
        self._do(lambda run: run.log(dict(metrics), step=step))

    def log_results(self, results: Results) -> None:
        """Take what the step found: numbers as the W&B run's summary, tables and images as media."""
        with files_inside(self._step.folder):
            # What costs nothing first: media and artifacts need more of a server than numbers do.
            self._do(lambda run: _log_numbers(run, results))
            self._do(lambda run: _log_media(run, results))
            if self._config.artifacts:
                self._do(lambda run: self._log_artifacts(run, results))

    def close(self, failed: bool) -> None:
        """Finish the W&B run, also one that takes no more."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            with files_inside(self._step.folder):
                run.finish(exit_code=1 if failed else 0)
        except TimeoutError:
            say_slow(self._config.patience, self._step)
        except Exception as error:  # as below
            say_lost(error)

    def _do(self, work: Callable[[Run], object]) -> None:
        """Do something with the W&B run, if there is one; an error ends the logging, not the step."""
        if self._run is None or self._lost:
            return
        try:
            work(self._run)
        except Exception as error:  # W&B's own errors, those of its service and of the connection to it
            self._lost = True
            say_lost(error)

    def _catch_up(self, run: Run, last_step: int) -> None:
        """Log what `metrics.csv` has and W&B has not: a process that is killed leaves its last seconds unsent."""
        for number, values in measured_until(self._step.metrics, last_step):
            if run.starting_step <= number:
                self.log(values, number)

    def _log_artifacts(self, run: Run, results: Results) -> None:
        from hamdg.tracking.wandb_media import artifact_of

        if results.files:
            run.log_artifact(artifact_of(self._step.key, results.files, {"step": self._step.name}))
        # What an artifact is made of can only be asked for where there is a server.
        for name in (link["artifact"] for link in results.used if "artifact" in link and not run.offline):
            run.use_artifact(name)

    def _link(self, run: Run) -> dict[str, str]:
        """Return what this step is called on W&B, for steps that build on it."""
        url = None if run.offline else run.url
        known = {"id": run.id, "entity": run.entity, "project": run.project, "url": url}
        if self._config.artifacts:
            known["artifact"] = "/".join(filter(None, (run.entity, run.project, f"{self._step.key}:latest")))
        return {name: value for name, value in known.items() if value}


def _log_numbers(run: Run, results: Results) -> None:
    run.summary.update(dict(results.values))
    if results.config:
        run.config.update(dict(results.config), allow_val_change=True)  # type: ignore[no-untyped-call]


def _log_media(run: Run, results: Results) -> None:
    from hamdg.tracking.wandb_media import media_of

    if media := media_of(results):
        run.log(media)
