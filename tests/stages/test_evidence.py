"""What source data say about models: checked against slow references, and never asked of the held-out domain."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from hamdg.config.data import MiniConfig
from hamdg.config.recipe import Recipe
from hamdg.data.module import SourceData
from hamdg.data.splits import seed_hash
from hamdg.data.subset import holdout
from hamdg.errors import ConfigError
from hamdg.merge import list_methods
from hamdg.merge.evidence import Activations, Gradients, Losses, Target, Validation
from hamdg.merge.files import load_tensors, read_provenance
from hamdg.mini import DomainArrays, load_domain, rendered
from hamdg.models.clip_classifier import ClipClassifier
from hamdg.runs.directory import RunDirectory
from hamdg.runs.identity import run_directory
from hamdg.runs.record import merge_facts, read_record
from hamdg.stages import pipeline
from hamdg.stages.context import Context, open_context
from hamdg.stages.evidence import SourceEvidence, fisher_diagonal, linear_grams
from hamdg.stages.scoring import Scored, Scorer
from hamdg.stages.sources import open_sources

if TYPE_CHECKING:
    from tests.stages.conftest import Tiny, Work
    from tests.tiny import Tower

Load = Callable[[str, MiniConfig, Path], DomainArrays]
SOURCES = ("art_painting", "cartoon", "photo")


def tiny_context(recipe: Recipe) -> Context:
    return open_context(recipe, RunDirectory(run_directory(recipe)))


def evidence_of(recipe: Recipe) -> SourceEvidence:
    context = tiny_context(recipe)
    generator = torch.Generator().manual_seed(1)
    models = {
        source: {name: value + 0.05 * torch.randn(value.shape, generator=generator) for name, value in base.items()}
        for source, base in dict.fromkeys(SOURCES, context.base()).items()
    }
    open_sources(context, begun=False)  # as a run does before its first step
    own = {source: (source,) for source in SOURCES}
    return SourceEvidence(context, models, own, recipe.merge.examples)


@pytest.fixture
def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Coin(nn.Module):
    """One weight w; scores (w x, 0), so that p(y = 0 | x) = 1 / (1 + exp(-w x))."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.weight * x[:, 0], torch.zeros(len(x))], dim=1)


def test_fisher_of_a_coin_is_the_one_worked_out_by_hand(drawn: torch.Generator) -> None:
    # d log p / dw is (1 - p) x for y = 0 and -p x for y = 1. With w = 0 it is x / 2 or -x / 2: its square is x^2 / 4
    # whichever label is drawn, 0.25 and 1 for x = 1 and 2, on average 0.625. The mean gradient's square would be less.
    model = Coin(0.0)
    found = fisher_diagonal(model, dict(model.named_parameters()), torch.tensor([[1.0], [2.0]]), drawn)
    assert float(found["weight"]) == pytest.approx(0.625)


def test_labels_are_drawn_from_the_model(drawn: torch.Generator) -> None:
    # With w = ln 3 and x = 1, p = 3/4: the expected square is 3/4 (1/4)^2 + 1/4 (3/4)^2 = 3/16.
    model = Coin(math.log(3))
    found = fisher_diagonal(model, dict(model.named_parameters()), torch.ones(4000, 1), drawn)
    assert float(found["weight"]) == pytest.approx(3 / 16, rel=0.05)


def test_parameters_that_do_not_take_part_have_no_information(drawn: torch.Generator) -> None:
    model = Coin(0.0)
    model.register_parameter("idle", nn.Parameter(torch.ones(2, 3)))
    found = fisher_diagonal(model, dict(model.named_parameters()), torch.ones(3, 1), drawn)
    assert torch.equal(found["idle"], torch.zeros(2, 3))


@pytest.mark.parametrize("tower", ["rn", "vit"])
def test_fisher_equals_a_reference_in_float64(tiny: Tiny, tower: Tower) -> None:
    evidence = evidence_of(tiny("--merge.examples=5", tower=tower))
    found = evidence.fisher("photo")
    model = evidence.put(evidence.models["photo"])
    images = evidence._images("photo")
    assert len(images) == 5
    named = model.trainable()
    assert list(found) == list(named)
    assert all(found[name].shape == parameter.shape for name, parameter in named.items())
    # The reference: one image at a time, in float64 but for the label, which is drawn as the evidence draws it.
    draws = torch.Generator().manual_seed(seed_hash(0, SOURCES.index("photo"), 1 << 30))
    model.eval()
    labels = [int(torch.multinomial(model(image[None]).detach().softmax(1)[0], 1, generator=draws)) for image in images]
    model.double()
    assert isinstance(model, ClipClassifier)
    wanted = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    for image, label in zip(images, labels, strict=True):
        scores = model.logit_scale * model.features(image[None].double()) @ model.class_features.T
        loss = nn.functional.cross_entropy(scores, torch.tensor([label]))
        gradients = torch.autograd.grad(loss, list(model.trainable().values()))
        for name, gradient in zip(named, gradients, strict=True):
            wanted[name] += gradient.square() / 5
    for name, value in found.items():
        torch.testing.assert_close(
            value, wanted[name].float(), rtol=1e-2, atol=1e-4 * float(wanted[name].max()) + 1e-12
        )
    assert all(bool(value.any()) for name, value in found.items() if "k_proj.bias" not in name)


def test_fisher_is_the_same_every_time_and_differs_by_source(tiny: Tiny) -> None:
    evidence = evidence_of(tiny("--merge.examples=4", tower="vit"))
    first, other, again = (evidence.fisher(source) for source in ("photo", "cartoon", "photo"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_grams_of_plain_layers_equal_sums_of_outer_products() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    images = torch.randn(300, 2, 3)  # more than one chunk
    found = linear_grams(model, dict(model.named_parameters()), images)
    assert list(found) == ["0.weight", "2.weight"]
    inputs = {"0.weight": images, "2.weight": model[1](model[0](images)).detach()}
    for name, rows in inputs.items():
        wanted = torch.zeros(rows.shape[-1], rows.shape[-1], dtype=torch.float64)
        for row in rows.reshape(-1, rows.shape[-1]).double():
            wanted += torch.outer(row, row)
        torch.testing.assert_close(found[name].double(), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch_first", [True, False])
def test_grams_of_attention_equal_those_of_attention_by_hand(batch_first: bool) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2, batch_first=batch_first).eval()
    x = torch.randn(3, 4, 6)

    def call(images: Tensor) -> Tensor:
        out: Tensor = attention(images, images, images, need_weights=False)[0]
        return out

    found = linear_grams(call, dict(attention.named_parameters()), x)
    assert list(found) == ["in_proj_weight", "out_proj.weight"]
    torch.testing.assert_close(found["in_proj_weight"], x.reshape(-1, 6).T @ x.reshape(-1, 6))
    wanted = torch.zeros(6, 6)
    for sequence in x if batch_first else x.transpose(0, 1):
        packed = sequence @ attention.in_proj_weight.T + attention.in_proj_bias
        queries, keys, values = packed.detach().split(6, dim=1)
        heads = [
            torch.softmax(queries[:, head] @ keys[:, head].T / math.sqrt(3), dim=1) @ values[:, head]
            for head in (slice(0, 3), slice(3, 6))
        ]
        inner = torch.cat(heads, dim=1)
        wanted += inner.T @ inner
    torch.testing.assert_close(found["out_proj.weight"], wanted)


def test_looking_at_attention_does_not_change_what_it_gives(tiny: Tiny) -> None:
    evidence = evidence_of(tiny("--merge.examples=4", tower="vit"))
    model = evidence.put(evidence.models["photo"])
    images, outputs = evidence._images("photo"), list[Tensor]()

    def watched(batch: Tensor) -> Tensor:
        scores: Tensor = model(batch)
        outputs.append(scores)
        return scores

    linear_grams(watched, model.trainable(), images)
    torch.testing.assert_close(outputs[0], model(images).detach())


def test_each_tower_has_grams_of_its_linear_layers(tiny: Tiny) -> None:
    vit = evidence_of(tiny("--merge.examples=4", tower="vit")).gram("photo")
    block = "transformer.resblocks.0."
    own = ["attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"]
    assert {name for name in vit if name.startswith(block)} == {block + name for name in own}
    evidence = evidence_of(tiny("--merge.examples=4", tower="rn"))
    # A ResNet's only linear layers are those of its attention pooling.
    assert list(evidence.gram("photo")) == [f"attnpool.{kind}_proj.weight" for kind in "ckqv"]
    for found, models in ((vit, evidence_of(tiny(tower="vit")).models), (evidence.gram("photo"), evidence.models)):
        for name, gram in found.items():
            assert gram.shape == (models["photo"][name].shape[1],) * 2
            torch.testing.assert_close(gram, gram.T)


def test_scores_are_the_mean_accuracies_on_the_source_hold_outs(tiny: Tiny) -> None:
    evidence = evidence_of(tiny(tower="vit"))
    weights = evidence.models["cartoon"]
    context = evidence.context
    scorer, holdouts = Scorer(context.device, context.preprocess), open_sources(context, begun=False).holdouts()
    wanted = scorer.validation([Scored(context.network(), weights)], holdouts, context.task)[0]
    assert evidence.score(weights) == wanted


def test_images_are_those_of_the_sources_own_training_part_and_no_more_than_there_are(tiny: Tiny) -> None:
    recipe = tiny("--merge.examples=1000", tower="vit")
    evidence = evidence_of(recipe)
    data = SourceData(recipe, evidence.context.preprocess)
    data.setup()
    ((images, _),) = holdout(data.domains["photo"], data.train_part["photo"]).parts(1000)
    own = evidence.context.preprocess(images)
    found = evidence._images("photo")
    assert found.shape == own.shape
    assert {tuple(image.flatten().tolist()) for image in found} == {tuple(image.flatten().tolist()) for image in own}


def test_only_what_source_data_can_say_is_offered(tiny: Tiny) -> None:
    evidence = evidence_of(tiny(tower="vit"))
    for protocol, offered in ((Validation, True), (Gradients, True), (Activations, True), (Losses, False)):
        assert isinstance(evidence, protocol) == offered
    assert not isinstance(evidence, Target)


METHODS = {"greedy_soup": "vit", "fisher": "rn", "regmean": "vit"}


@pytest.mark.parametrize("method", METHODS)
def test_methods_that_ask_for_data_run_without_the_held_out_domain(
    tiny: Tiny, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower: Tower = "rn" if METHODS[method] == "rn" else "vit"
    recipe = tiny(f"--merge.method={method}", "--merge.examples=6", tower=tower)
    load: Load = load_domain
    opened: list[str] = []

    def watched(domain: str, config: MiniConfig, cache: Path) -> DomainArrays:
        opened.append(domain)
        return load(domain, config, cache)

    monkeypatch.setattr(rendered, "load_domain", watched)
    pipeline.run(recipe, until="merge")
    assert set(opened) == set(SOURCES)
    run = RunDirectory(run_directory(recipe))
    provenance = read_provenance(run.merged)
    assert provenance is not None
    assert provenance.method == method
    before = load_tensors(run.merged)
    # Everything that was drawn is drawn alike again.
    run.step("merge").reset()
    run.validation.unlink()
    pipeline.run(recipe, until="merge")
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_tensors(run.merged).items())
    context = tiny_context(recipe)
    uniform = {entry.key: entry.weights for entry in context.algorithm.entries(context)}["uniform_history"]
    if method != "greedy_soup":
        assert any(not torch.equal(uniform[name], before[f"visual.{name}"]) for name in uniform)


def test_the_table_names_the_method(tiny: Tiny) -> None:
    record = read_record(pipeline.run(tiny("--merge.method=fisher", "--merge.examples=2", tower="vit")))
    rows = {row["key"]: row["label"] for row in record["rows"]}
    assert rows["ham"] == "HAM (reconstruction), merged by fisher"
    assert rows["shrunk"] == "the same, scaled to the norm of the fisher merge"
    merge = merge_facts(record)
    assert merge is not None
    assert merge["method"] == "fisher"
    assert merge["kept"] == {}


# What a run with three sources refuses before it trains; `adamerging` has tests of its own.
REFUSED = {"adamerging", "beta_average", "ema", "shrunk", "slerp", "sma", "swad"}


@pytest.mark.slow
def test_every_other_method_of_the_library_runs_on_one_training(tiny: Tiny, worked: list[Work]) -> None:
    merged: dict[str, bytes] = {}
    for name in list_methods():
        recipe = tiny(f"--merge.method={name}", "--merge.examples=2", tower="vit")
        if name in REFUSED:
            with pytest.raises(ConfigError):
                pipeline.run(recipe, until="merge")
            continue
        pipeline.run(recipe, until="merge")
        tensors = load_tensors(RunDirectory(run_directory(recipe)).merged)
        merged[name] = b"".join(tensors[key].numpy().tobytes() for key in sorted(tensors))
    assert [work.step for work in worked].count("train") == 1
    assert len(merged) > 20
    # Of the averages some must be alike here, for all weights are equal.
    assert len(set(merged.values())) > 18
