"""Toy models for the laws of merge methods, and how every registered method is run with them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hamdg.merge import MergeSettings, merge_with
from hamdg.merge.buffers import is_buffer

Model = dict[str, Tensor]

# How every method is run here. With these options equal sources give back that source, whatever their number; where no
# options of a method do that, the reason is in MOVES.
OPTIONS: dict[str, dict[str, object]] = {
    "adamerging": {"start": "1/n", "steps": 0},
    "beta_average": {},
    "breadcrumbs": {"beta": 0.0, "gamma": 1.0, "scale": "1/n"},
    "breadcrumbs_ties": {"beta": 0.0, "gamma": 1.0, "scale": "1/n"},
    "consensus": {"threshold": 0.1, "agree": 1, "scale": "1/n"},
    "dare": {"drop_rate": 0.0, "scale": "1/n"},
    "della": {"drop_rate": 0.0, "window": 0.0, "scale": 1.0},
    "ema": {},
    "emr": {},
    "fisher": {},
    "geometric_median": {},
    "greedy_soup": {},
    "iso_c": {},
    "iso_cts": {},
    "karcher": {},
    "model_stock": {},
    "nuslerp": {},
    "pcb": {},
    "rebasin": {"spec": "spec.json"},
    "regmean": {},
    "rhm": {"keep": 1.0},
    "score": {},
    "search": {"by": "in_domain", "budget": 1},
    "shrunk": {"scale": 1.0},
    "slerp": {},
    "sma": {},
    "swad": {"n_s": 2},
    "task_arithmetic": {"scale": "1/n"},
    "ties": {"density": 1.0},
    "tsv": {},
    "uniform": {},
    "weighted": {},
    "wise_ft": {"alpha": 1.0},
}

# Options under which a method shows what it is there for; the laws that have no exceptions are tested under both.
LIVELY: dict[str, dict[str, object]] = {
    "adamerging": {"start": 0.3, "steps": 2, "rate": 0.1},
    "breadcrumbs": {},
    "breadcrumbs_ties": {},
    "consensus": {},
    "dare": {},
    "della": {},
    "rhm": {"scope": "global"},
    "search": {"by": "in_domain", "budget": 3, "methods": "ties,wise_ft"},
    "task_arithmetic": {},
    "ties": {},
    "wise_ft": {},
}

# Methods that do not give equal sources back ...
MOVES = {
    "beta_average": "the base is the first checkpoint of the trajectory",
    "iso_c": "all directions of a matrix get the same strength",
    "iso_cts": "all directions of a matrix get the same strength",
    "pcb": "the entry with the lowest score of a source has no say",
    "score": "a source keeps one of N of its directions",
    "tsv": "a source keeps one of N of its directions",
}
# ... except if there is but one.
MOVES_MANY = ("score", "tsv")

# Methods in which it matters which source is which, beyond what weights or evidence say about it.
UNEQUAL = {
    "beta_average": "the first and the last checkpoint count most",
    "dare": "masks are drawn by the source's name",
    "della": "masks are drawn by the source's name",
    "ema": "the last checkpoint counts most",
    "rebasin": "the first source is the reference of the others",
    "swad": "losses belong to the steps of one trajectory, whose order is what counts",
}

# Methods that leave sources out as a whole, buffers included.
CHOOSES = ("greedy_soup", "swad")

# Methods that leave a share to the base with their lively options.
MIXES_BASE = ("adamerging", "breadcrumbs", "consensus", "dare", "task_arithmetic", "wise_ft")

# Options under which entries that all sources moved alike do not go, where the lively ones drop some on purpose.
STAYS: dict[str, dict[str, object]] = {
    "consensus": {"threshold": 0.1},
    "dare": {"drop_rate": 0.1},
    "della": {"drop_rate": 0.1},
}

TWO = {"slerp": "an arc leads from one model to another"}
EVERY = sorted(OPTIONS)
SHAPES = {
    "conv.weight": (4, 3, 2, 2),
    "attn.in_proj_weight": (12, 4),
    "fc.weight": (6, 5),
    "ln.weight": (4,),
    "logit_scale": (),
    "one": (1,),
    "empty": (0, 3),
    "frozen.weight": (3, 3),
    "embed.weight": (7, 4),
    "bn.weight": (3,),
}


class Evidence:
    """What toy data say: each answer depends on the source and the tensor, none on chance."""

    def score(self, weights: Mapping[str, Tensor]) -> float:
        return -abs(float(weights["fc.weight"].double().sum()))

    def outcomes(self, weights: Mapping[str, Tensor], source: str) -> list[float]:
        return [self.score(weights)]

    def loss(self, source: str) -> float:
        return {"a": 3.0, "b": 1.0, "c": 1.1}[source]

    def fisher(self, source: str) -> dict[str, Tensor]:
        return {
            name: 0.1 + torch.rand(SHAPES[name], generator=seeded(source, 1)) for name in ("fc.weight", "ln.weight")
        }

    def gram(self, source: str) -> dict[str, Tensor]:
        inputs = torch.randn(20, 5, generator=seeded(source, 2))
        return {"fc.weight": inputs.T @ inputs}

    def entropy(self, weights: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        return 1.0, {"fc.weight": torch.randn(6, 5, generator=seeded("a", 3))}


def seeded(source: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(100 * seed + ord(source))


def model(seed: int, base: Model | None = None, size: float = 0.1) -> Model:
    """Return a base, or a source not far from one, with tensors of all kinds and shapes."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in SHAPES.items():
        noise = torch.randn(shape, generator=generator)
        found[name] = 1 + noise if base is None else base[name] + size * noise * (name != "frozen.weight")
    found["head.weight"] = found["embed.weight"]
    found["bn.running_mean"] = torch.randn(3, generator=generator)
    found["bn.running_var"] = torch.rand(3, generator=generator)
    found["bn.num_batches_tracked"] = torch.tensor(seed + 1)
    found["position_ids"] = torch.arange(5)
    return found


BASE = model(0)


def sources(method: str, base: Model = BASE, size: float = 0.1) -> dict[str, Model]:
    return {name: model(ord(name), base, size) for name in ("ab" if method in TWO else "abc")}


def run(
    method: str,
    models: Mapping[str, Mapping[str, Tensor]],
    base: Mapping[str, Tensor] | None = BASE,
    settings: MergeSettings | None = None,
    lively: bool = False,
    options: Mapping[str, object] | None = None,
) -> dict[str, Tensor]:
    given = options or (LIVELY.get(method, OPTIONS[method]) if lively else OPTIONS[method])
    filled = {name: 1 / len(models) if value == "1/n" else value for name, value in given.items()}
    return merge_with(method, models, base, filled, settings or MergeSettings(evidence=Evidence()))


def assert_same_bytes(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert torch.equal(tensor, second[name]), name


def converted(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Model:
    """Return a model in another dtype, with what is tied still tied."""
    found = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    return found | {"head.weight": found["embed.weight"]}


def weights_of(tensors: Mapping[str, Tensor]) -> Model:
    return {name: tensor for name, tensor in tensors.items() if not is_buffer(name, tensor)}
