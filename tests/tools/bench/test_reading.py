from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamdg.data.find_images import list_domain
from hamdg.data.listing import Listing
from hamdg.data.locations import locate
from hamdg.data.registry import benchmark
from hamdg.tools.bench import reading as bench

PACS = benchmark("pacs")


def samples(pacs: Path) -> list[Listing]:
    place = locate(PACS, str(pacs))
    return [list_domain(place, name) for name in PACS.domains]


def test_images_are_enlarged_and_have_some_noise(pacs: Path) -> None:
    content = samples(pacs)[0].content(0)
    large = bench.enlarged(content, (120, 90), 0)
    with Image.open(BytesIO(large)) as image:
        assert (image.format, image.size) == ("JPEG", (120, 90))
    assert bench.enlarged(content, (120, 90), 1) != large == bench.enlarged(content, (120, 90), 0)


def test_ratios_are_of_rounds_in_turns() -> None:
    # A round that is not counted, then three.
    moments = iter([0.0, *np.cumsum([9.0, 0, 9, 0, 9, 0, 4, 0, 2, 0, 1, 0, 4, 0, 1, 0, 1, 0, 6, 0, 2, 0, 1]).tolist()])
    order: list[str] = []
    reads = [lambda name=name: order.append(name) for name in ("classic", "files", "compressed")]
    taken, texts = bench.compared(reads[0], reads[1:], lambda: next(moments), 3)
    assert taken == 4
    assert texts == ["3.00 (2.00, 4.00)", "4.00 (4.00, 6.00)"]
    assert order == ["classic", "files", "compressed"] * 4


def test_every_size_and_use_is_measured(
    pacs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SIZES", ((60, 48),))
    monkeypatch.setattr(bench, "SIDE", 16)
    monkeypatch.setattr(bench, "COUNT", 8)
    monkeypatch.setattr(bench, "set_threads", lambda wanted: wanted)
    monkeypatch.setattr(
        bench, "workers_row", lambda listing, use, cache, most: (listing.domain, use, "2", "1", "1", "1")
    )
    bench.main(str(pacs), 1)
    said = capsys.readouterr().out
    assert "one thread, processor time, 1 round(s)" in said
    for use in bench.USES:
        assert use in said


@pytest.mark.slow
def test_workers_read_the_same_number_of_images(pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "COUNT", 8)
    listing = bench.Enlarged(samples(pacs), (60, 48)).listing("60 x 48")
    line = bench.workers_row(listing, "domainbed", tmp_path, 1)
    assert len(line) == len(bench.WORKERS)
