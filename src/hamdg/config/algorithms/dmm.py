"""The settings of DMM, by the step that reads them: a later one's retrain nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hamdg.config.algorithms import AlgorithmSettings
from hamdg.values import Range

Split = Literal["domain", "dirichlet"]
Similarity = Literal["task_vectors", "weights", "statistics"]
Student = Literal["main_group", "all"]
StatisticsLoss = Literal["relative", "norms"]
Targets = Literal["uniform", "present", "counts"]
Stay = Literal["none", "outputs", "weights"]
Compared = Literal["both", "image", "text"]
Distilled = Literal["both", "image"]
Count = Annotated[int, Range(1, 1_000_000)]


@dataclass(frozen=True)
class StartConfig:
    """What all clients start from: models that start apart do not merge.

    Args:
        per_class: Images of each class and source domain that the common start is trained on; 0 for the pretrained
            weights as they are.
        steps: Its optimizer steps.
        lr: Its peak learning rate.
    """

    per_class: Annotated[int, Range(0, 1_000_000)] = 10
    steps: Count = 300
    lr: Annotated[float, Range(0, above=True)] = 3e-3


@dataclass(frozen=True)
class ClientsConfig:
    """Who has which images.

    Args:
        by: Clients of one source domain each (`domain`), or a Dirichlet split of all source domains' images by class
            (`dirichlet`).
        per_domain: Clients that share the images of each source domain, at random; `dirichlet` ignores it.
        alpha: Concentration of the Dirichlet distribution: near 0 each class has one client, far above 1 all clients
            are alike; `domain` ignores it.
        count: Number of clients of a Dirichlet split; `domain` ignores it.
    """

    by: Split = "domain"
    per_domain: Annotated[int, Range(1, 1_000)] = 1
    alpha: Annotated[float, Range(0, 1_000_000, above=True)] = 0.1
    count: Annotated[int, Range(2, 1_000)] = 5


@dataclass(frozen=True)
class GroupsConfig:
    """Which clients are merged, and which are divergent; `merge` of the recipe says by which method.

    Args:
        similarity: Cosine of task vectors (`task_vectors`) or of weights (`weights`), or nearness of BatchNorm's
            statistics (`statistics`).
        threshold: Clients that are more similar than this are of one group.
        student: What divergent models are distilled into: the merge of the largest group (`main_group`), or that of all
            clients, which then the merge of every group teaches (`all`).
        tower: Where both towers of a CLIP are trained (`model.text_tower`), whose similarity makes the groups: that of
            `both` as one, of the `image` or of the `text` tower. All three are shown, and both towers are merged.
    """

    similarity: Similarity = "task_vectors"
    threshold: Annotated[float, Range(-1, 1)] = 0.5
    student: Student = "main_group"
    tower: Compared = "both"


@dataclass(frozen=True)
class SynthesizeConfig:
    """How images are synthesized from what a model remembers of its own.

    Args:
        images: Images of each model.
        steps: Adam's steps on them.
        lr: Adam's learning rate.
        statistics: `relative` (squared differences to the stored statistics, in units of the stored variance) or
            `norms` (plain norms of the differences, as DeepInversion has them).
        statistics_weight: Weight of that loss.
        variation_weight: Weight of the total variation of images.
        target_weight: Weight of the cross-entropy of the model's prediction with the image's target.
        targets: Every class as often (`uniform`), every class that the clients have (`present`), or in proportion to
            their images (`counts`).
        jitter: Images are rolled by up to this many pixels before each step.
    """

    images: Annotated[int, Range(2, 100_000)] = 70
    steps: Count = 200
    lr: Annotated[float, Range(0, above=True)] = 0.1
    statistics: StatisticsLoss = "relative"
    statistics_weight: Annotated[float, Range(0)] = 50.0
    variation_weight: Annotated[float, Range(0)] = 0.3
    target_weight: Annotated[float, Range(0)] = 0.2
    targets: Targets = "present"
    jitter: Annotated[int, Range(0, 1_000)] = 2


@dataclass(frozen=True)
class DistillConfig:
    """How divergent models teach the merged one.

    Args:
        steps: Adam's steps.
        lr: Adam's learning rate at first; it falls along half a cosine.
        batch_size: Images of each model and step.
        jitter: Images are mirrored at random and rolled by up to this many pixels before each step, and the teachers
            asked about these: a few hundred images are soon known by heart. 0 leaves them as they are.
        remove_prior: Take the logarithms of the shares of classes among a model's images off its scores, so that it
            says what an image shows rather than what it has mostly seen.
        temperature: Of the soft labels.
        clip_norm: Gradients are scaled down to this norm; 0 switches clipping off.
        stay: What keeps the merged model near to what it was: its own soft labels on images synthesized from it
            (`outputs`; where all clients are merged there are none, and nothing does), its weights (`weights`), or
            nothing (`none`).
        stay_weight: Weight of that term.
        statistics: Whether BatchNorm's statistics stay those of the merge (`frozen`), are measured on the images before
            the first step and then stay (`measured`), or follow the images (`live`).
        towers: Where both towers of a CLIP are trained (`model.text_tower`), which of them learn: `both`, or the
            `image` tower, with the text tower of the merge.
    """

    steps: Count = 100
    lr: Annotated[float, Range(0, above=True)] = 2e-4
    batch_size: Count = 32
    jitter: Annotated[int, Range(0, 1_000)] = 4
    remove_prior: bool = True
    temperature: Annotated[float, Range(0, above=True)] = 2.0
    clip_norm: Annotated[float, Range(0)] = 5.0
    stay: Stay = "outputs"
    stay_weight: Annotated[float, Range(0)] = 1.0
    statistics: Literal["frozen", "measured", "live"] = "frozen"
    towers: Distilled = "both"


@dataclass(frozen=True)
class BoundsConfig:
    """What the result is compared with.

    Args:
        enabled: Also distill on noise, and on real training images, which DMM does without.
    """

    enabled: bool = False


@dataclass(frozen=True)
class DmmSettings(AlgorithmSettings):
    """DMM: clients that share no data are merged, and what does not fit is distilled on synthesized images.

    Args:
        start: What all clients start from.
        clients: Who has which images.
        merge: Which clients are merged, and which are divergent.
        synthesize: How images are synthesized from models.
        distill: How divergent models teach the merged one.
        bounds: What the result is compared with.
    """

    code: ClassVar[str] = "hamdg.algorithms.dmm.algorithm:Dmm"
    uses: ClassVar[tuple[str, ...]] = ("train", "merge")
    added: ClassVar[Mapping[str, object]] = {"merge.tower": "both", "distill.towers": "both"}
    start: StartConfig = field(default_factory=StartConfig)
    clients: ClientsConfig = field(default_factory=ClientsConfig)
    merge: GroupsConfig = field(default_factory=GroupsConfig)
    synthesize: SynthesizeConfig = field(default_factory=SynthesizeConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    bounds: BoundsConfig = field(default_factory=BoundsConfig)
