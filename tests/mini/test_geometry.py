"""Shapes and poses."""

from __future__ import annotations

import numpy as np
import pytest

from hamdg.mini.geometry import bounds, box, ellipse, limb, pose, smooth
from hamdg.mini.nouns import NOUNS, Noun


def test_a_spline_goes_through_its_points() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.5], [2.0, -0.5], [3.0, 0.0]])
    np.testing.assert_allclose(smooth(points, closed=False)[::4], points, atol=1e-12)
    np.testing.assert_allclose(smooth(points, closed=True)[::4], points, atol=1e-12)


def test_an_ellipse_has_the_asked_extent() -> None:
    assert bounds((ellipse(1.0, 2.0, 0.5, 0.25, "body", corners=20),)) == pytest.approx((0.5, 1.75, 1.5, 2.25))


def test_a_straight_limb_has_the_asked_width() -> None:
    _, upper, _, lower = bounds((limb([(0, 0), (1, 0)], [0.2, 0.2], "body"),))
    assert lower - upper == pytest.approx(0.2)


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.name)
def test_every_pose_fits_the_image(noun: Noun) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        drawing = pose(noun.draw(rng), rng, noun.tilt, noun.flip)
        left, upper, right, lower = bounds(drawing)
        assert min(left, upper) >= 0.03 - 1e-9
        assert max(right, lower) <= 0.97 + 1e-9
        assert 0.72 - 1e-9 <= max(right - left, lower - upper) <= 0.93 + 1e-9


def test_a_pose_without_freedom_keeps_the_shape() -> None:
    drawing = pose((box(0, 0, 2, 1, "body"),), np.random.default_rng(0), tilt=0, flip=False, share=(0.5, 0.5))
    left, upper, right, lower = bounds(drawing)
    assert right - left == pytest.approx(0.5)
    # The random stretch is at most 8 % in each direction.
    assert 0.25 * 0.84 < lower - upper < 0.25 * 1.19
