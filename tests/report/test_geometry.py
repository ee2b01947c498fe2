from __future__ import annotations

from itertools import combinations

from hamdg.report.geometry import direction_section, merge_section
from hamdg.report.measurements import Measurements, Series
from hamdg.runs.record import Record, merge_facts

PAIR = "cartoon|photo"


def cosines(before: float, after: float) -> Measurements:
    steps = (1, 2)
    return Measurements(
        {
            ("cosine/before", PAIR, ""): Series(steps, (before, before)),
            ("cosine/after", PAIR, ""): Series(steps, (after, after)),
            ("cosine/before", PAIR, "layer1"): Series(steps, (0.1, 0.3)),
            ("cosine/after", PAIR, "layer1"): Series(steps, (0.5, 0.7)),
        }
    )


def test_before_is_dashed_and_after_solid() -> None:
    html = direction_section(cosines(0.1, 0.4))
    assert (html.count('class="dashed c0"'), html.count('class="solid c0"')) == (1, 1)
    assert "before harmonization" in html


def test_layers_show_the_mean_over_steps() -> None:
    html = direction_section(cosines(0.1, 0.4))
    assert ">0.20</td>" in html
    assert ">0.60</td>" in html


def test_without_harmonization_only_one_line_is_drawn() -> None:
    html = direction_section(cosines(0.1, 0.1))
    assert (html.count("<polyline"), html.count('class="solid c0"')) == (1, 1)
    assert "after harmonization" not in html


def test_history_alone_is_shown() -> None:
    html = direction_section(Measurements({("cosine/history", PAIR, ""): Series((1, 2), (0.9, 0.5))}))
    assert "Cosine of task vectors" in html
    assert "cartoon / photo" in html


def test_many_pairs_are_drawn_as_their_mean() -> None:
    pairs = ["|".join(pair) for pair in combinations("abcde", 2)]
    series = {("cosine/before", pair, ""): Series((1, 2), (float(index), 0.0)) for index, pair in enumerate(pairs)}
    html = direction_section(Measurements(series))
    assert html.count("<polyline") == 1
    assert "mean of 10 pairs" in html


def test_matrix_of_task_vectors_is_symmetric(ham: Record) -> None:
    html = merge_section(ham)
    merge = merge_facts(ham)
    assert merge is not None
    cosine = merge["cosines"]["art_painting|photo"][""]
    assert html.split("<thead>")[1].count(f">{cosine:.2f}</td>") == 2


def test_a_domain_called_merged_keeps_its_bar(ham: Record) -> None:
    merge = merge_facts(ham)
    assert merge is not None
    _, *others = ham["sources"]
    norms = {"merged": 7.125, **{name: merge["norms"][name] for name in others}}
    merge["norms"] = norms
    renamed: Record = {**ham, "sources": ["merged", *others]}
    html = merge_section(renamed)
    assert "<span>source merged</span>" in html
    assert "<span>7.125</span>" in html
    assert "<span>merged</span>" in html


def test_an_even_share_is_said_in_words(ham: Record) -> None:
    assert "about 50 % of each tensor" in merge_section(ham)


def test_no_merge_no_section(erm: Record) -> None:
    assert merge_section(erm) == ""


def test_the_lead_names_the_method_its_options_and_target_data(ham: Record) -> None:
    merge = merge_facts(ham)
    assert merge is not None
    assert "Method:" not in merge_section(ham)
    merge["method"], merge["options"] = "ties", {"density": 0.2, "scope": "<global>"}
    html = merge_section(ham)
    assert "Method: ties (density 0.2, scope &lt;global&gt;).</p>" in html
    merge["options"], merge["target_data"] = {}, True
    assert "Method: ties. It saw unlabeled images of the held-out domain.</p>" in merge_section(ham)
