from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hamdg.config.recipe import ModelConfig
from hamdg.data.benchmark import PROMPTS
from hamdg.mini import DOMAINS
from hamdg.models import SHIPPED, load_clip, pretrain
from hamdg.models.configs import ASSETS
from hamdg.models.tokenizer import tokenize

# As few as hold all classes in their captions, for seeds 1 and 2.
SMALL = ["--renders", "200", "--epochs", "1", "--batch-size", "100", "--measure-on", "2"]


def test_pretraining_writes_weights_configuration_and_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--seed", "1", "--shares", "photo=0.5,sketch=0.25"]
    assert pretrain.main(["--out", str(tmp_path / "a"), *SMALL, *own]) == 0

    loaded = load_clip(ModelConfig(str(tmp_path / "a" / "mini-rn.json")))
    card = (tmp_path / "a" / "mini-rn.md").read_text()
    assert loaded.config == load_clip(ModelConfig("mini-rn", "random")).config
    assert "--shares photo=0.5,sketch=0.25` in " in card
    assert "| photo | 50.00% | " in card
    assert "(1,360,664 of them in the image tower)" in card
    assert "zero-shot: art_painting" in capsys.readouterr().out


def test_pretraining_repeats_by_seed(tmp_path: Path) -> None:
    def weights(name: str, seed: str) -> torch.Tensor:
        pretrain.main(["--out", str(tmp_path / name), *SMALL, "--seed", seed])
        return load_file(tmp_path / name / "mini-rn.safetensors")["visual.layer1.0.conv1.weight"]

    first = weights("a", "1")
    assert torch.equal(first, weights("b", "1"))
    assert not torch.equal(first, weights("c", "2"))


def test_captions_without_a_class_of_the_benchmark_are_refused_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.main(["--out", str(tmp_path / "a"), "--renders", "64"]) == 2
    message = "None of 64 captions holds `dog`, `elephant`, `horse`, `house`, so the text tower would not know"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_words_that_no_caption_held_are_forgotten() -> None:
    loaded = load_clip(ModelConfig("mini-rn", "random"))
    before = loaded.model.token_embedding.weight.detach().clone()
    dog, zebra = (int(tokenize(loaded, [word])[0, 1]) for word in ("dog", "zebra"))

    pretrain.forget_unseen_words(loaded, ["a dog", "a red dog."])

    after = loaded.model.token_embedding.weight
    assert torch.equal(after[dog], before[dog])
    assert after[zebra].count_nonzero() == 0
    assert int(after.any(dim=1).sum()) == len({"start", "end", "padding or !", "a", "red", "dog", "."})


def test_unknown_domain_in_shares(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        pretrain.main(["--shares", "foto=0.1"])
    assert "unknown domain `foto`; known are art_painting, cartoon, photo, sketch" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in SHIPPED if (ASSETS / f"{name}.safetensors").exists()])
def test_shipped_weights_are_small_and_leave_every_domain_room(name: str) -> None:
    accuracies = pretrain.measure(load_clip(ModelConfig(name)), PROMPTS, images_per_class=20)

    assert list(accuracies) == list(DOMAINS)
    assert all(0.40 < value < 0.85 for value in accuracies.values()), accuracies
    assert (ASSETS / f"{name}.safetensors").stat().st_size < 12e6
    assert PROMPTS[0] in (ASSETS / f"{name}.md").read_text()


def test_mini_rn_is_shipped() -> None:
    assert (ASSETS / "mini-rn.safetensors").exists()
