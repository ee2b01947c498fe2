"""The page of a conflict report."""

from __future__ import annotations

import torch

from hamdg.conflicts.page import by_class


def test_a_class_none_of_whose_images_was_looked_at_has_no_shares() -> None:
    shares = torch.tensor([[0.75, 0.25], [0.0, 0.0]])
    assert by_class(["dog", "horse"], shares) == {"dog": [0.75, 0.25], "horse": [None, None]}
