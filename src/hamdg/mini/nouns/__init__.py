"""What can be drawn: the seven classes of the benchmark and the wider vocabulary of mini-CLIP."""

from __future__ import annotations

from hamdg.mini.nouns.belongings import BELONGINGS
from hamdg.mini.nouns.creatures import CREATURES
from hamdg.mini.nouns.noun import Noun
from hamdg.mini.nouns.seven import SEVEN
from hamdg.mini.nouns.things import THINGS

NOUNS: tuple[Noun, ...] = SEVEN + CREATURES + THINGS + BELONGINGS

__all__ = ["NOUNS", "SEVEN", "Noun"]
