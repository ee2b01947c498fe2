"""Absolute paths are shortened where a record holds paths, and texts that look like them stay."""

from __future__ import annotations

import pytest

from hamdg.runs.local_paths import is_absolute, shortened, shortened_command, shortened_keys


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/mnt/my name/x.pt", "x.pt"),
        ("~/x.pt", "x.pt"),
        ("~me/a/x.pt", "x.pt"),
        ("file:///mnt/x.pt", "x.pt"),
        ("C:\\own\\x.pt", "x.pt"),
        ("/mnt/PACS/", "PACS/"),
        ("own/x.pt", "own/x.pt"),
        ("./x.pt", "./x.pt"),
        ("timm/resnet18", "timm/resnet18"),
        ("hf-hub:own/model", "hf-hub:own/model"),
        ("https://host/a/b", "https://host/a/b"),
        ("keep ~1/3", "keep ~1/3"),
        ("/", "/"),
    ],
)
def test_a_path_is_shortened_to_its_last_name(path: str, name: str) -> None:
    assert shortened(path) == name
    assert is_absolute(path) is (path != name)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("hamdg run /mnt/me/my.yaml --data.root=/mnt/me/PACS", "hamdg run my.yaml --data.root=PACS"),
        ("hamdg run '/mnt/my name/x.yaml' '--data.cache=~/a b'", "hamdg run x.yaml '--data.cache=a b'"),
        ("hamdg run x.yaml --data.root /mnt/me/PACS", "hamdg run x.yaml --data.root PACS"),
        ("hamdg run x.yaml '--data={root: /a/b, lists: ~/c/d}'", "hamdg run x.yaml '--data={root: b, lists: d}'"),
    ],
)
def test_paths_in_a_command_are_shortened(command: str, expected: str) -> None:
    assert shortened_command(command) == expected


@pytest.mark.parametrize(
    "command",
    [
        "hamdg run mini/ham '--label=keep ~1/3'",
        "hamdg run mini/ham --label=/SWAD",
        "hamdg run mini/ham --label '/a/b SWAD'",
        "hamdg run mini/ham '--model.prompts=[a /photo of {}]' --data.root=own/PACS",
        # As no shell would read it.
        "hamdg run mini/ham --label=don't",
    ],
)
def test_a_command_without_such_paths_stays_as_it_is(command: str) -> None:
    assert shortened_command(command) == command


def test_as_much_of_a_path_is_kept_as_tells_it_from_others() -> None:
    found = {"/a/one/x.pt": 1, "/b/two/x.pt": 2, "/c/two/x.pt": 3, "/a/y.pt": 4, "own/y.pt": 5, "/a/z.pt": 6}
    short = {"one/x.pt": 1, "b/two/x.pt": 2, "c/two/x.pt": 3, "a/y.pt": 4, "own/y.pt": 5, "z.pt": 6}
    assert shortened_keys(found) == short
    assert shortened_keys(short) == short
