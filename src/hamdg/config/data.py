"""The recipe's section `data`: which images are used, how embedded ones are rendered, and how models are given them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from hamdg.config.value_types import Fraction, Names, Share
from hamdg.text import excerpt, listed
from hamdg.values import Range

Truncated = Literal["refuse", "read"]

CUSTOM = "custom"
# Augmentations that crop, which want more of an image than the model's own side.
CROPPING = ("clip", "domainbed")
# The embedded benchmarks, and the section of `data` that says how each is rendered.
RENDERED = {"mini": "mini", "mini-scenes": "scenes"}
# In which lights there are copies of the embedded benchmark's domains.
LIGHTS = ("dark", "fog")
# In which styles beside its own it can draw: some of those that its CLIPs saw in pretraining.
FURTHER_STYLES = ("watercolor", "pixel_art", "chalk")


def light_of(domain: str) -> tuple[str, str]:
    """Return the domain that a name is a copy of, and the copy's light: `photo_dark` is `photo`, `dark`.

    The light of a domain itself is empty.
    """
    base, _, light = domain.rpartition("_")
    return (base, light) if light in LIGHTS else (domain, "")


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
        copies: Further domains: the images of one in another light, `<domain>_dark` or `<domain>_fog`, with splits of
            their own, so that drawings of one's hold-out set train the other.
        styles: Further domains: the same classes in other styles, `watercolor`, `pixel_art` or `chalk`, which its
            CLIPs have seen in pretraining.
    """

    seed: Annotated[int, Range(0)] = 0
    images_per_class: Annotated[int, Range(2, 20_000)] = 100
    image_size: Annotated[int, Range(32, 64)] = 48
    label_noise: Share | dict[str, Share] = 0.0
    spurious: Fraction = 0.0
    imbalance: Annotated[float, Range(1)] = 1.0
    copies: Names = field(default_factory=list)
    styles: Names = field(default_factory=list)


def noise_problem(config: MiniConfig, domains: Sequence[str]) -> str:
    """Return what is wrong with the labels that `mini` makes wrong, without a full stop; empty if nothing is.

    Args:
        config: Its settings.
        domains: Its own domains, to which the settings add others.
    """
    key, noise = "data.mini.label_noise", config.label_noise
    known = [*domains, *map(str, (*config.styles, *config.copies))]
    shares = {f"{key}.{name}": share for name, share in noise.items()} if isinstance(noise, Mapping) else {key: noise}
    if strange := [name for name in noise if name not in known] if isinstance(noise, Mapping) else []:
        return (
            f"`{key}` names the domain `{excerpt(strange[0])}`, which `mini` does not have; its domains are "
            f"{listed(known)}"
        )
    for place, share in shares.items():
        if not 0 <= share < 1:
            return f"`{place}` is `{share}`, but it is the share of wrong labels; choose at least `0` and less than `1`"
    return ""


def imbalance_problem(config: MiniConfig) -> str:
    """Return what is wrong with the imbalance of `mini`, without a full stop; empty if nothing is."""
    key, ratio = "data.mini.imbalance", config.imbalance
    if not ratio >= 1:
        return (
            f"`{key}` is `{ratio}`, but it is the largest over the smallest class frequency; choose `1` (balanced) or "
            "more"
        )
    if round(config.images_per_class / ratio) < 2:
        return (
            f"`{key}` of `{ratio}` leaves the rarest class fewer than `2` of `{config.images_per_class}` images; lower "
            "it or raise `data.mini.images_per_class`"
        )
    return ""


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
class ConflictsConfig:
    """Conflicts between the source domains of any benchmark, made on purpose; the held-out domain is never changed.

    Args:
        noise: Share of the labels that are wrong, drawn by the seed, in the training parts and the hold-out sets: one
            number for all source domains or one per domain name.
        swap: Labels that are exchanged in a source domain, in its training part and its hold-out set, such as
            `{photo: {dog: horse, horse: dog}}`, so that they contradict those of the others; `null` for none.
        imbalance: Frequency of the most frequent over the least frequent class where a domain has equally many images
            of all, made by leaving out training images; the order of the classes differs between domains.
    """

    noise: Share | dict[str, Share] = 0.0
    swap: dict[str, dict[str, str]] | None = None
    imbalance: Annotated[float, Range(1)] = 1.0


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
        validation_fraction: Share of each source domain held out for validation (DomainBed's split rule). Held-out
            domains always have DomainBed's parts of 80 % and 20 %.
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
        views: With `model.frozen_blocks`: each training image has so many augmented views, drawn by the seed, and what
            the frozen layers give for them is computed once and kept in the cache. Every step takes one of them at
            random. `null` augments anew in every step and computes the frozen layers, too.
        truncated: Image files that are cut off stop the run (`refuse`), or are used as far as they go (`read`, as
            DomainBed does; what is missing is gray or black).
        store: How decoded images are kept: `uncompressed`; or `compressed`, large ones reduced to twice the model's
            side and encoded as JPEG, others as they are, which takes less disk than the files themselves. The pixels
            of large ones differ a little, so this makes another run.
        decode_once: Keep decoded images in the cache; off, every image is decoded whenever it is used.
        cache: Folder of rendered or decoded images; `null` for the user's cache folder.
        conflicts: Conflicts between the source domains, made on purpose.
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
    views: Annotated[int, Range(1, 1_000)] | None = None
    truncated: Truncated = "refuse"
    store: Literal["uncompressed", "compressed"] = "uncompressed"
    decode_once: bool = True
    cache: str | None = None
    conflicts: ConflictsConfig = field(default_factory=ConflictsConfig)
    mini: MiniConfig = field(default_factory=MiniConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
