"""OfficeHome (Venkateswara et al., 2017): things of offices and homes in four styles."""

from __future__ import annotations

from hamdg.data.benchmark import Benchmark, Hub, Version

_CLASSES = """
Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch
Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet Kettle
Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil Postit_Notes
Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon TV Table Telephone
ToothBrush Toys Trash_Can Webcam
"""

OFFICEHOME = Benchmark(
    name="officehome",
    title="OfficeHome",
    domains=("Art", "Clipart", "Product", "Real_World"),
    classes=tuple(_CLASSES.split()),
    aliases={"real": "Real_World", "a": "Art", "c": "Clipart", "p": "Product", "r": "Real_World"},
    folders=("office_home", "office_home_dg", "OfficeHomeDataset_10072016"),
    versions=(
        Version(
            "as in the papers",
            {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real_World": 4357},
            note="Counted by domain in a copy whose origin is not recorded.",
        ),
    ),
    hub=Hub("flwrlabs/office-home", "d430d44779e929b335be368ab3456484e5de36bb"),
)
