"""Advances all source models in lock-step, in one Trainer."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from hamdg.algorithms.ham import enrichment
from hamdg.algorithms.ham.harmonizer import Harmonizer
from hamdg.algorithms.ham.sample_log import SampleLog
from hamdg.cohort.progress import LOSS
from hamdg.cohort.source_model import SourceModel, make_optimizer
from hamdg.config.algorithms.ham import EnrichmentConfig
from hamdg.config.recipe import TrainConfig
from hamdg.data.batches import Batch, concatenate
from hamdg.errors import TrainingError
from hamdg.tracking.rows import measure


class EnrichmentStats(NamedTuple):
    """What the enrichment of one model did in one step."""

    candidates: int
    added: int
    noisy_candidates: int
    noisy_added: int
    threshold: float


class Cohort(LightningModule):
    """Holds the source models; each step every model gets the batches of all source domains.

    Args:
        models: The source models by name, in a fixed order.
        enrichment_config: Which samples of the other domains join a model's loss.
        train_config: Learning rate, schedule, clipping.
        harmonizer: Brings the update directions together.
        samples: Keeps a few enrichment candidates.
        log_every: Steps between two measurements of the cosines.
        noise_known: Whether wrong labels are known, so that the enrichment's precision can be logged.
    """

    def __init__(
        self,
        models: dict[str, SourceModel],
        enrichment_config: EnrichmentConfig,
        train_config: TrainConfig,
        harmonizer: Harmonizer,
        samples: SampleLog,
        log_every: int,
        noise_known: bool,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._names = tuple(models)
        self.models = nn.ModuleDict({_module_name(name): model for name, model in models.items()})
        self.enrichment = enrichment_config
        self.train_config = train_config
        self.harmonizer = harmonizer
        self.samples = samples
        self.log_every = log_every
        self.noise_known = noise_known

    def source_models(self) -> dict[str, SourceModel]:
        """Return the source models by name."""
        models = zip(self._names, self.models.values(), strict=True)
        return {name: model for name, model in models if isinstance(model, SourceModel)}

    def parameters_by_source(self) -> dict[str, dict[str, nn.Parameter]]:
        """Return every model's trainable parameters by name."""
        return {name: model.trainable() for name, model in self.source_models().items()}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return one AdamW with a parameter group per model (elementwise the same as one AdamW each)."""
        groups = [list(model.values()) for model in self.parameters_by_source().values()]
        optimizer, scheduler = make_optimizer(groups, self.train_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: tuple[int, dict[str, Batch]], batch_idx: int) -> None:
        """Advance every model by one step: enrich, harmonize, clip, update."""
        step, batches = batch
        measured = step % self.log_every == 0 or step == self.train_config.steps - 1
        losses, values = self._losses(step, batches)
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer), "`configure_optimizers` gives one"
        assert isinstance(scheduler, LambdaLR), "`configure_optimizers` gives one"
        rate = optimizer.param_groups[0]["lr"]
        numbers = {name: float(loss.detach()) for name, loss in losses.items()}
        self._refuse_nan("loss", numbers, step, rate)
        optimizer.zero_grad()
        self.manual_backward(torch.stack(list(losses.values())).sum())
        models = self.parameters_by_source()
        values |= self.harmonizer.before_update(models, step, measured)
        norms = self._clip()
        self._refuse_nan("gradient norm", norms, step, rate)
        values |= {measure("gradient_norm", name): norm for name, norm in norms.items()}
        optimizer.step()
        values |= self.harmonizer.after_update(models, step, measured)
        scheduler.step()
        if measured and len(models) > 1:
            values |= self.harmonizer.measure_displacements(models)
        self._log(step, numbers, values | {"lr": float(rate)})

    def _losses(self, step: int, batches: dict[str, Batch]) -> tuple[dict[str, Tensor], dict[str, float]]:
        losses: dict[str, Tensor] = {}
        values: dict[str, float] = {}
        for name, model in self.source_models().items():
            losses[name], tally = self._loss(step, name, model, batches)
            if tally is not None:
                kinds = tally._asdict().items()
                known = {k: v for k, v in kinds if self.noise_known or not k.startswith("noisy")}
                values |= {measure(f"enrichment/{kind}", name): float(value) for kind, value in known.items()}
        return losses, values

    def _loss(
        self, step: int, name: str, model: SourceModel, batches: dict[str, Batch]
    ) -> tuple[Tensor, EnrichmentStats | None]:
        own = model.own_batch(batches)
        logits = model(own.images)
        own_losses = enrichment.cross_entropies(logits, own.labels)
        others = [domain for domain in batches if domain not in model.own]
        if not self.enrichment.enabled or not others:
            return own_losses.mean(), None
        pool = concatenate([batches[domain] for domain in others])
        kind = self.enrichment.confidence
        with torch.no_grad():
            confidences = enrichment.confidence(model(pool.images), pool.labels, kind)
        mask, bar = enrichment.select(enrichment.confidence(logits, own.labels, kind), confidences)
        domains = [domain for domain in others for _ in range(len(batches[domain].labels))]
        self.samples.offer(step, name, domains, pool.positions, confidences, mask, bar)
        added = own_losses[:0]
        if bool(mask.any()):
            added = enrichment.cross_entropies(model(pool.images[mask]), pool.labels[mask])
        noisy = pool.labels != pool.clean_labels
        tally = EnrichmentStats(len(mask), int(mask.sum()), int(noisy.sum()), int((noisy & mask).sum()), float(bar))
        return enrichment.combined_loss(own_losses, added, self.enrichment.combine), tally

    def _clip(self) -> dict[str, float]:
        limit = self.train_config.clip_norm or float("inf")
        return {
            name: float(torch.nn.utils.clip_grad_norm_(list(model.values()), limit))
            for name, model in self.parameters_by_source().items()
        }

    def _refuse_nan(self, what: str, numbers: dict[str, float], step: int, rate: float) -> None:
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise TrainingError(
                    f"the {what} of source `{name}` became {number} at step {step + 1} (learning rate {rate:.3g}); "
                    "nothing was overwritten. Lower `train.lr`, lengthen `train.warmup` or lower `train.clip_norm`."
                )

    def _log(self, step: int, losses: dict[str, float], values: dict[str, float]) -> None:
        rows = {measure("loss", name): loss for name, loss in losses.items()} | values
        for logger in self.loggers:
            logger.log_metrics(rows, step + 1)
        shown = {f"{LOSS}{name}": loss for name, loss in losses.items()}
        added = [value for key, value in values.items() if key.startswith("enrichment/added{")]
        pool = [value for key, value in values.items() if key.startswith("enrichment/candidates{")]
        if pool:
            shown["added"] = sum(added) / sum(pool)
        if cosines := [v for k, v in values.items() if k.startswith("cosine/after{") and k.count("{") == 1]:
            shown["cosine"] = sum(cosines) / len(cosines)
        self.log_dict(shown, prog_bar=True, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the harmonizer's and the sample book's state; called when a resumable checkpoint is written."""
        checkpoint["cohort"] = {"harmonizer": self.harmonizer.state_dict(), "samples": self.samples.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take that state back; called when a killed run goes on."""
        self.harmonizer.load_state_dict(checkpoint["cohort"]["harmonizer"])
        self.samples.load_state_dict(checkpoint["cohort"]["samples"])


def _module_name(domain: str) -> str:
    """Return the name of a domain's module; `v1.0` and `train` (an attribute of modules) cannot be called that."""
    name = domain.replace("%", "%25").replace(".", "%2E")
    return f"%{name}" if hasattr(nn.ModuleDict(), name) else name
