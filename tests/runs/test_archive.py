"""Archives of records: what is in them, what is refused, and what a killed process leaves."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hamdg.config.algorithms import find
from hamdg.config.data import DataConfig
from hamdg.config.recipe import ModelConfig, Recipe, RuntimeConfig
from hamdg.config.tracking import TrackingConfig
from hamdg.errors import DataError, RunDirectoryError
from hamdg.runs import archive, packing
from hamdg.runs.archive import read_archive, unpack, write_archive
from hamdg.runs.directory import RunDirectory
from hamdg.runs.manifest import check_not_records_only, check_seal, cores_of, has_records_only
from hamdg.runs.packing import PackedRun, pack
from hamdg.runs.record import read_record
from hamdg.runs.steps import read_validation
from tests.made_up import write_done

KEPT = ["config.yaml", "done", "record.json", "start.json", "validation.json"]
Change = Callable[[tarfile.TarInfo], None]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    data = DataConfig(cache=str(tmp_path / "cache"))
    tracking = TrackingConfig(entity="somebody", options={"mlflow.tracking_uri": str(tmp_path / "uri")})
    return Recipe(label="HAM", data=data, runtime=RuntimeConfig(root=str(tmp_path / "logs")), tracking=tracking)


@pytest.fixture
def packed(recipe: Recipe, tmp_path: Path) -> Path:
    """Return an archive of two runs."""
    runs = [pack(write_done(replace(recipe, seed=seed), 0.7)) for seed in (1, 0)]
    write_archive(tmp_path / "two.tar.xz", runs)
    return tmp_path / "two.tar.xz"


def test_a_run_comes_back_without_its_weights(recipe: Recipe, packed: Path, tmp_path: Path) -> None:
    found = unpack(packed, tmp_path / "new")
    assert len(found.new) == 2
    assert not found.there
    before = RunDirectory(next((tmp_path / "logs").glob("*/*/*/seed0-*")))
    after = RunDirectory(tmp_path / "new" / before.path.relative_to(tmp_path / "logs"))
    assert sorted(path.name for path in after.path.iterdir()) == KEPT
    assert after.is_done
    own, other = read_record(after.record), read_record(before.record)
    assert {**own, "config": {}} == {**other, "config": {}}
    assert replace(after.recipe(), data=recipe.data, runtime=recipe.runtime, tracking=recipe.tracking) == recipe
    manifest = check_seal(after)
    assert manifest is not None
    assert manifest["files"].keys() == {"record.json", "start.json", "validation.json"}
    # Times of change are noted at the first look, and it stays what it is.
    assert has_records_only(after)
    assert not has_records_only(before)
    message = (
        f"`{after.path}` was unpacked and has records only; to train it, delete that folder and repeat the command."
    )
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(message)}$"):
        check_not_records_only(after)
    check_not_records_only(before)


def test_no_path_of_the_machine_is_in_an_archive(recipe: Recipe, tmp_path: Path) -> None:
    run = write_done(recipe, 0.7)
    record = json.loads(run.record.read_text())
    record["command"] = "hamdg run /mnt/me/my.yaml --data.root=/mnt/me/PACS '--data.cache=~/a b'"
    record["config"]["model"]["weights"] = "/mnt/me/own.pt"
    run.record.write_text(json.dumps(record))
    run.done.write_bytes(b"")
    found = pack(run).files
    assert all(str(tmp_path).encode() not in content and b"/home" not in content for content in found.values())
    assert all(b"somebody" not in content for content in found.values())
    own = json.loads(found["record.json"])
    assert own["command"] == "hamdg run my.yaml --data.root=PACS '--data.cache=a b'"
    assert own["config"]["model"]["weights"] == "own.pt"
    assert list(json.loads(found["start.json"])["files"]) == ["model.safetensors"]
    assert json.loads(found["done"])["start"] == {}


def test_texts_that_look_like_paths_stay_as_they_are(recipe: Recipe) -> None:
    run = write_done(replace(recipe, label="/SWAD"), 0.7)
    record = json.loads(run.record.read_text())
    record |= {"variant": "keep ~1/3", "condition": "ERM /SWAD", "classes": ["/m/01", "/m/02"], "words": ["a", "b"]}
    record["footnote"] = "Made of (/mnt/me/x.pt)."
    record["config"]["data"] |= {"words": {"/m/01": "a", "/m/02": "b"}, "cache": None}
    record["command"] = "hamdg run mini/ham --label=/SWAD"
    run.record.write_text(json.dumps(record))
    run.done.write_bytes(b"")
    found = json.loads(pack(run).files["record.json"])
    assert {**found, "config": {}} == {**record, "config": {}}
    assert found["config"]["data"] == record["config"]["data"]


def test_the_scores_of_older_runs_are_packed_as_those_of_others(recipe: Recipe) -> None:
    run = write_done(recipe, 0.7)
    scores = read_validation(run)
    run.validation.unlink()
    run.done.write_bytes(b"")
    with pytest.raises(RunDirectoryError, match=r"validation.json` is missing"):
        pack(run)
    run.step("merge").summary.write_text(json.dumps({"validation": scores, "seconds": 1.0}))
    assert json.loads(pack(run).files["validation.json"]) == {"validation": scores}


def test_cores_are_those_that_the_run_had(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamdg.runs.manifest.usable_cores", lambda: 48)
    run = write_done(recipe, 0.7)
    monkeypatch.setattr("hamdg.runs.manifest.usable_cores", lambda: 2)
    assert cores_of(run) == json.loads(pack(run).files["done"])["cores"] == 48
    # Of versions that did not note them.
    manifest = json.loads(run.done.read_text())
    del manifest["cores"]
    run.done.write_text(json.dumps(manifest))
    assert cores_of(run) is None
    assert "cores" not in json.loads(pack(run).files["done"])


def test_a_run_that_a_path_of_the_machine_defines_is_refused(recipe: Recipe) -> None:
    run = write_done(replace(recipe, model=ModelConfig(name="mini-rn", weights="/mnt/me/own.safetensors")), 0.7)
    with pytest.raises(
        DataError, match=r"is defined by `model.weights`, which is `/mnt/me/own.safetensors`, a path of"
    ):
        pack(run)


@pytest.mark.parametrize(
    ("algorithm", "key", "values"),
    [
        ("scmd", "scmd.teacher.weights", {"teacher": {"weights": "/mnt/me/own.pt", "prompts": ["/ {}"]}}),
        ("simple", "simple.pool", {"pool": ["timm/resnet18", "RN50@/mnt/me/own.pt"]}),
    ],
)
def test_a_path_in_the_algorithm_s_own_section_is_one_too(
    recipe: Recipe, algorithm: str, key: str, values: dict[str, object]
) -> None:
    run = write_done(replace(recipe, algorithm=algorithm, settings=find(algorithm)()), 0.7)
    assert pack(run).files
    run.config.write_text(yaml.safe_dump(yaml.safe_load(run.config.read_text()) | {algorithm: values}))
    with pytest.raises(DataError, match=rf"is defined by `{key}`, which is `/mnt/me/own.pt`, a path of this machine"):
        pack(run)


def test_what_is_not_finished_or_was_changed_is_refused(recipe: Recipe) -> None:
    run = write_done(recipe, 0.7)
    run.validation.write_text("{}")
    with pytest.raises(DataError, match=r"`.*validation.json` is not the file that the run ended with; restore it"):
        pack(run)
    run.unmark_done()
    with pytest.raises(DataError, match="is not finished"):
        pack(run)


def test_the_same_runs_make_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    unpack(packed, tmp_path / "new")
    runs = [RunDirectory(path) for path in sorted((tmp_path / "new").glob("*/*/*/seed*"))]
    for run in runs:
        check_seal(run)
    write_archive(tmp_path / "again.tar.xz", [pack(run) for run in runs])
    assert (tmp_path / "again.tar.xz").read_bytes() == packed.read_bytes()
    with tarfile.open(packed) as members:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode) for one in members} == {
            (0, 0, 0, "", "", 0o644)
        }


def test_a_run_that_is_there_stays_as_it_is(packed: Path, tmp_path: Path) -> None:
    half, whole = (tmp_path / "new" / str(run.place) for run in read_archive(packed))
    for folder in (half, whole):
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("mine")
    (whole / "done").touch()
    found = unpack(packed, tmp_path / "new")
    assert [run.place.name for run in found.begun] == [half.name]
    assert [run.place.name for run in found.there] == [whole.name]
    assert found.new == []
    assert [path.name for path in half.iterdir()] == ["config.yaml"]
    assert sorted(path.name for path in whole.iterdir()) == ["config.yaml", "done"]


def test_a_killed_process_leaves_whole_runs_alone(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for a signal."""

    written: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 8:
            raise Killed
        path.write_bytes(content)

    # As after SIGKILL, nothing is tidied up.
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(archive, "write_bytes", write)
        patch.setattr("hamdg.files.shutil.rmtree", lambda *_, **__: None)
        unpack(packed, tmp_path / "new")
    whole, part = written[0].parent, written[-1].parent
    assert whole.name.startswith(".seed0-")
    assert part.is_dir()
    runs = sorted((tmp_path / "new").glob("*/*/*/seed*"))
    assert [run.name for run in runs] == [whole.name.removeprefix(".").removesuffix(".tmp")]
    assert sorted(path.name for path in runs[0].iterdir()) == KEPT
    assert [len(unpack(packed, tmp_path / "new").new), part.exists()] == [1, False]


def _rewritten(source: Path, change: Change, leave_out: str = "") -> Path:
    """Write an archive with changed members; members lose their content where they become no files."""
    out = source.with_name("changed.tar.xz")
    with tarfile.open(source) as old, tarfile.open(out, "w:xz") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            if leave_out and member.name.endswith(leave_out):
                continue
            change(member)
            new.addfile(member, io.BytesIO(content.read()) if member.isreg() else None)
    return out


def _renamed(name: str) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        if member.name.endswith("record.json"):
            member.name = name

    return change


def _typed(kind: bytes) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        if member.name.endswith("record.json"):
            member.type, member.size, member.linkname = kind, 0, "/etc/passwd"

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_renamed("../../mini/sketch/ham/record.json"), "is a path that may lead out of the folder of runs"),
        (_renamed("/mini/sketch/ham/record.json"), "is a path that may lead out of the folder of runs"),
        (_renamed("mini/sketch/ham/seed0-1/../record.json"), "is a path that may lead out of the folder of runs"),
        (_renamed("mini/sketch/ham/seed0-1/train.json"), "is not one of the files of `<benchmark>/<held out>/"),
        (_renamed("mini/sketch/ham/seed0-1/train/record.json"), "is not one of the files of `<benchmark>/<held out>/"),
        (_typed(tarfile.SYMTYPE), "is not a plain file"),
        (_typed(tarfile.LNKTYPE), "is not a plain file"),
        (_typed(tarfile.CHRTYPE), "is not a plain file"),
        (_typed(tarfile.DIRTYPE), "is not a plain file"),
    ],
)
def test_an_archive_of_anything_else_is_refused_before_anything_is_written(
    packed: Path, tmp_path: Path, change: Change, why: str
) -> None:
    with pytest.raises(DataError, match=f"^`.*changed.tar.xz` is not unpacked: `.*` in it {re.escape(why)}"):
        unpack(_rewritten(packed, change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_archive_that_lacks_a_file_is_refused(packed: Path, tmp_path: Path) -> None:
    for name, why in (("done", "has no `done`"), ("validation.json", "is not the file that was packed")):
        with pytest.raises(DataError, match=why):
            unpack(_rewritten(packed, lambda _: None, name), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def _forged(source: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """Write an archive of the same runs with changed files."""
    runs = []
    for run in read_archive(source):
        files = dict(run.files)
        change(files)
        runs.append(PackedRun(run.place, files))
    out = source.with_name("forged.tar.xz")
    write_archive(out, runs)
    return out


def _unlisted(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["done"])
    del manifest["files"]["record.json"]
    files["done"] = json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda files: files.update({"config.yaml": files["config.yaml"] + b"\nseed: 7\n"}), "config.yaml"),
        (_unlisted, "record.json"),
    ],
)
def test_no_file_is_unpacked_whose_digest_is_not_known(
    packed: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], object], name: str
) -> None:
    with pytest.raises(DataError, match=f"/{re.escape(name)}` in it is not the file that was packed"):
        unpack(_forged(packed, change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_is_in_a_run_once(packed: Path, tmp_path: Path) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.name = member.name.replace("/start.json", "/record.json")

    with pytest.raises(DataError, match=r"/record.json` in it is there twice"):
        unpack(_rewritten(packed, change), tmp_path / "new")


def test_a_run_larger_than_any_is_refused_before_it_is_read(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [sum(map(len, run.files.values())) for run in read_archive(packed)]
    monkeypatch.setattr(archive, "_LARGEST", max(sizes))
    assert len(list(read_archive(packed))) == 2
    # Each file of the run is smaller.
    monkeypatch.setattr(archive, "_LARGEST", min(sizes) - 1)
    with pytest.raises(DataError, match=r"seed0-\w+` in it is larger than 0 MiB"):
        unpack(packed, tmp_path / "new")


def test_an_archive_that_cannot_be_read_is_named(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hamdg.runs.archive.tarfile.open", refuse)
    with pytest.raises(
        DataError, match=f"^{re.escape(f'Cannot read `{packed}`: Permission denied; make it readable')}"
    ):
        unpack(packed, tmp_path / "new")


def test_a_run_in_the_place_of_another_is_refused(packed: Path, tmp_path: Path) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.name = member.name.replace("/seed1-", "/seed7-")

    with pytest.raises(DataError, match=r"seed7-\w+` in it has the record of `mini/sketch/ham/seed1-"):
        unpack(_rewritten(packed, change), tmp_path / "new")


def test_whole_runs_are_no_records(recipe: Recipe, tmp_path: Path) -> None:
    run = write_done(recipe, 0.7)
    files = {name: (run.path / name).read_bytes() for name in KEPT}
    # Even one whose weights are no longer needed by its `done`.
    files["done"] = json.dumps({"files": {}, "start": {}}).encode()
    write_archive(tmp_path / "whole.tar.xz", [PackedRun(packing.place_of(read_record(run.record)), files)])
    with pytest.raises(DataError, match="is not a run that `hamdg records pack` packed"):
        unpack(tmp_path / "whole.tar.xz", tmp_path / "new")


def test_a_damaged_archive_is_refused(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        packed.write_bytes(content)
        with pytest.raises(DataError, match=r"^`.*two.tar.xz` is not a whole .tar.xz archive"):
            unpack(packed, tmp_path / "new")
    write_archive(packed, [])
    with pytest.raises(DataError, match="is empty"):
        unpack(packed, tmp_path / "new")
    packed.unlink()
    with pytest.raises(DataError, match=r"^There is no file `.*two.tar.xz`"):
        unpack(packed, tmp_path / "new")
    assert not (tmp_path / "new").exists()
