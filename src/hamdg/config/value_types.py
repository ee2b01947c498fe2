"""Types of values that several sections of a recipe have."""

from __future__ import annotations

from typing import Annotated, Literal

from hamdg.values import Filled, Range, Words

Names = Annotated[list[str | int], Words("a list of names, such as `[photo, sketch]`")]
Templates = Annotated[list[str], Words('a list of strings, such as `["a photo of a {}."]`')]
ClassRows = Annotated[
    list[Annotated[int, Range(0, 1_000_000)]], Filled(), Words("a list of numbers, such as `[339, 603]`")
]
Share = Annotated[float, Range(0, 1, below=True)]
# A share that may be all.
Fraction = Annotated[float, Range(0, 1)]
# More steps than anybody trains; without a limit, a slip of the keyboard fills the memory.
Steps = Annotated[int, Range(1, 1_000_000)]
Rank = Annotated[int, Range(1, 10_000)]
# Of self-attention: queries, keys, values.
Projection = Literal["q", "k", "v"]
Projections = Annotated[list[Projection], Filled()]
