"""Which tokenizer a CLIP's texts pass: the one that its configuration names, whatever its file is called."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from hamdg.config.recipe import ModelConfig
from hamdg.errors import ConfigError
from hamdg.models import LoadedClip, load_clip
from hamdg.models import tokenizer as module
from hamdg.models.configs import section
from hamdg.models.tokenizer import own_tokens, tokenize

PLAIN = load_clip(ModelConfig(str(Path(__file__).parents[1] / "conf" / "tiny-vit.json"), "random"))


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    module._named_tokenizer.cache_clear()
    yield
    module._named_tokenizer.cache_clear()


def naming(**text: object) -> LoadedClip:
    """Return a CLIP whose configuration says this of its texts; its name is that of a file."""
    text_cfg = section(PLAIN.config, "text_cfg") | text
    return replace(PLAIN, name="my-clip", config=PLAIN.config | {"text_cfg": text_cfg})


class Words:
    """Stands for a tokenizer of transformers: the number of a word is its length."""

    asked: list[tuple[str, dict[str, object]]]

    def __init__(self) -> None:
        self.asked = []

    def from_pretrained(self, name: str, **options: object) -> Words:
        self.asked.append((name, options))
        return self

    def __call__(self, texts: list[str], *, max_length: int, **options: object) -> SimpleNamespace:
        rows = [[len(word) for word in text.split()][:max_length] for text in texts]
        return SimpleNamespace(input_ids=torch.tensor([row + [0] * (max_length - len(row)) for row in rows]))


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Words:
    found = Words()
    package = ModuleType("transformers")
    package.__dict__["AutoTokenizer"] = found
    monkeypatch.setitem(sys.modules, "transformers", package)
    return found


def test_a_configuration_of_a_file_names_its_tokenizer_and_context(words: Words) -> None:
    loaded = naming(hf_tokenizer_name="some/words", context_length=6, tokenizer_kwargs={"clean": "canonicalize"})
    assert not own_tokens(loaded)
    # Canonical texts have no punctuation.
    assert tokenize(loaded, ["a photo, of a dog.", "cat"]).tolist() == [[1, 5, 2, 1, 3, 0], [3, 0, 0, 0, 0, 0]]
    tokenize(loaded, ["dog"])
    assert [name for name, _ in words.asked] == ["some/words"]


def test_one_without_a_name_has_open_clips_own(words: Words) -> None:
    for loaded in (PLAIN, naming(hf_tokenizer_name="")):
        assert own_tokens(loaded)
        assert tokenize(loaded, ["dog"]).shape == (1, 16)
    assert words.asked == []


@pytest.mark.parametrize("missing", [True, False])
def test_a_tokenizer_that_cannot_be_loaded_is_named_with_what_to_install(
    missing: bool, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, "transformers", None)
        reason = "import of transformers halted; None in sys.modules"
    else:

        def unreachable(name: str, **options: object) -> Words:
            raise OSError(f"We couldn't connect to load {name}.\nCheck your connection.")

        monkeypatch.setattr(words, "from_pretrained", unreachable)
        reason = "We couldn't connect to load some/words"
    message = (
        f"The text tower of `my-clip` needs the tokenizer `some/words` of transformers, which cannot be loaded "
        f"({reason}). Install it (`pip install transformers sentencepiece`) and let it download "
        "the tokenizer once, or choose another model."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        tokenize(naming(hf_tokenizer_name="some/words"), ["dog"])
