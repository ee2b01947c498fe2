"""Captioned renders: reproducible, wide, and only as close to the benchmark as asked."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hamdg.errors import ConfigError
from hamdg.mini import captions
from hamdg.mini.benchmark import CLASSES, DOMAINS
from hamdg.mini.captions import caption_renders, domain_shares
from hamdg.mini.geometry import pose
from hamdg.mini.nouns import NOUNS, SEVEN
from hamdg.mini.palette import COLORS, SCENES, apart, natural
from hamdg.mini.styles.painter import Motif, Style
from hamdg.mini.styles.wider import WIDER


def test_the_result_does_not_depend_on_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions, "_CHUNK", 10)
    alone, texts = caption_renders(25, seed=3, size=32, workers=1)
    together, same_texts = caption_renders(25, seed=3, size=32, workers=2)
    np.testing.assert_array_equal(alone, together)
    assert texts == same_texts
    assert alone.shape == (25, 32, 32, 3)
    assert alone.dtype == np.uint8


def test_fewer_renders_are_a_prefix_and_the_seed_matters() -> None:
    many, texts = caption_renders(20, seed=3, size=32, workers=1)
    few, first_texts = caption_renders(12, seed=3, size=32, workers=1)
    np.testing.assert_array_equal(few, many[:12])
    assert first_texts == texts[:12]
    assert caption_renders(20, seed=4, size=32, workers=1)[1] != texts


def test_the_world_is_wide() -> None:
    assert len(NOUNS) >= 32
    assert len({noun.name for noun in NOUNS}) == len(NOUNS)
    assert tuple(noun.name for noun in SEVEN) == CLASSES
    assert len(COLORS) >= 10
    assert len(WIDER) >= 8
    assert not set(WIDER) & set(DOMAINS)


@pytest.mark.parametrize("name", sorted(WIDER))
def test_every_style_draws_every_noun_visibly(name: str) -> None:
    rng = np.random.default_rng(0)
    style = WIDER[name][0]
    for noun in NOUNS:
        palette = natural(noun.palettes, rng)
        backdrop = apart(SCENES[2], palette["body"])
        drawing = pose(noun.draw(rng), rng, noun.tilt, noun.flip)
        image = style(Motif(drawing, palette, backdrop, 32), rng)
        assert image.shape == (32, 32, 3)
        assert image.std() > 4, noun.name


def test_captions_name_the_noun_and_often_nothing_else() -> None:
    _, texts = caption_renders(300, seed=0, size=32, workers=1)
    names = [noun.name for noun in NOUNS]
    assert all(any(name in text for name in names) for text in texts)
    assert any(re.fullmatch(r"a photo of an? \w+\.", text) for text in texts)
    assert any(re.search(r" on an? \w+ background", text) for text in texts)
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", text) for text in texts)


def test_no_benchmark_style_appears_when_none_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    original = captions._choose_style

    def spy(rng: np.random.Generator, shares: dict[str, float]) -> tuple[str, Style, tuple[str, ...]]:
        result = original(rng, shares)
        chosen.append(result[0])
        return result

    monkeypatch.setattr(captions, "_choose_style", spy)
    caption_renders(100, seed=0, size=32, benchmark_share=0.0, workers=1)
    assert not set(chosen) & set(DOMAINS)
    chosen.clear()
    caption_renders(200, seed=0, size=32, benchmark_share={"photo": 0.5}, workers=1)
    assert set(chosen) & set(DOMAINS) == {"photo"}
    assert chosen.count("photo") / 200 == pytest.approx(0.5, abs=0.12)


def test_one_share_is_divided_equally() -> None:
    assert domain_shares(0.2) == pytest.approx(dict.fromkeys(DOMAINS, 0.05))
    assert domain_shares({"art_painting": 0.1})["sketch"] == 0


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (1.5, "`benchmark_share` is `1.5`, but shares lie between `0` and `1` and so does their sum."),
        (
            {"clipart": 0.1},
            "`benchmark_share` names the domain `clipart`, which `mini` does not have; "
            "its domains are `art_painting`, `cartoon`, `photo`, `sketch`.",
        ),
    ],
)
def test_wrong_shares_are_explained(share: float | dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        caption_renders(1, seed=0, benchmark_share=share, workers=1)
