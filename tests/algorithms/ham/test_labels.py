from __future__ import annotations

from hamdg.algorithms.ham.labels import footnote, result_label, scaled_label


def test_another_merge_method_is_named_wherever_rhm_would_be() -> None:
    assert result_label("ties") == "HAM (reconstruction), merged by ties"
    assert scaled_label("ties") == "the same, scaled to the norm of the ties merge"
    assert footnote("ties").endswith(
        "harmonization (OPA) is our reconstruction; the histories were merged by ties in place of HAM's historical "
        "merge (RHM)."
    )


def test_a_control_without_selection_does_not_pass_for_the_published_rule() -> None:
    assert "enrichment (SAE) follows the published rule" in footnote("rhm", "max_probability")
    assert "enrichment (SAE) draws samples at random (a control)" in footnote("rhm", "random")


def test_its_own_merge_method_is_a_reconstruction() -> None:
    assert result_label("rhm") == "HAM (reconstruction)"
    assert scaled_label("rhm") == "the same, shrunk to RHM's norm"
    assert footnote("rhm").endswith("harmonization (OPA) and the historical merge (RHM) are our reconstruction.")
