"""TerraIncognita (Beery et al., 2018): animals before the camera traps of four places."""

from __future__ import annotations

from hamdg.data.benchmark import Benchmark, Version

# Names are sorted as strings, as DomainBed sorts them: 100 comes before 38.
_BY_CLASS = {
    "location_100": (54, 57, 227, 12, 384, 181, 989, 92, 2552, 331),
    "location_38": (3, 12, 2295, 48, 360, 194, 4500, 1396, 198, 761),
    "location_43": (72, 1104, 3, 834, 195, 562, 777, 73, 390, 10),
    "location_46": (90, 999, 21, 873, 30, 726, 1339, 566, 1464, 14),
}

TERRA = Benchmark(
    name="terra",
    title="TerraIncognita",
    domains=tuple(_BY_CLASS),
    classes=("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"),
    aliases={
        f"{short}{domain.removeprefix('location_')}": domain for domain in _BY_CLASS for short in ("", "l", "loc")
    },
    folders=("terra_incognita", "terra/images", "terra"),
    versions=(
        Version(
            "as in the papers",
            {domain: sum(counts) for domain, counts in _BY_CLASS.items()},
            _BY_CLASS,
            "No longer offered for download. Totals: printed in khanrc/miro#9; by class: counted on a list of files "
            "with the same totals.",
        ),
        Version(
            "as downloaded today",
            {"location_100": 4741, "location_38": 9736, "location_43": 3970, "location_46": 5883},
            note="What DomainBed's script makes of today's files. The sum is reported in khanrc/miro#9; the parts by "
            "location are from memory and unconfirmed.",
        ),
    ),
    impostors={"BGLab/TerraIncognita": "insects"},
)
