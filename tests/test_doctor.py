from __future__ import annotations

import configparser
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hamdg import doctor
from hamdg.doctor import Check, Facts, examine

GPU = {"name": "Some GPU", "free": 2**33, "total": 2**34, "bf16": True}


def probe(gpu: object = None, devices: int = 0, built_for: str | None = None) -> str:
    return json.dumps({"gpu": gpu, "devices": devices, "built_for": built_for})


FACTS = Facts(
    python=(3, 12, 1),
    packages={
        "torch": "2.11.0",
        "torchvision": "0.26.0",
        "lightning": "2.6.6",
        "open_clip_torch": "3.3.0",
        "torchmetrics": "1.9.0",
        "safetensors": "0.8.0",
        "datasets": "5.0.1",
    },
    probe=probe(),
    probe_failed=False,
    cores=2,
    free=50 * 2**30,
    assets=("mini-rn.safetensors",),
)


def found(name: str, facts: Facts) -> Check:
    return next(check for check in examine(facts) if check.name == name)


def test_a_healthy_machine_has_nothing_to_remedy() -> None:
    checks = examine(FACTS)
    assert {check.status for check in checks} == {"ok", "info"}
    assert not any(check.remedy for check in checks)


def test_the_well_known_mismatch_has_its_remedy() -> None:
    facts = replace(FACTS, probe="RuntimeError: operator torchvision::nms does not exist", probe_failed=True)
    assert found("torch", facts) == Check(
        "torch",
        "broken",
        "torch 2.11.0, torchvision 0.26.0: RuntimeError: operator torchvision::nms does not exist",
        "torch and torchvision come from different releases or builds; install both in one command: "
        "`pip install --force-reinstall -c constraints.txt torch torchvision`.",
    )


def test_a_torch_that_cannot_be_imported_is_installed_again() -> None:
    facts = replace(FACTS, probe="OSError: libcudart.so.13: cannot open shared object file", probe_failed=True)
    check = found("torch", facts)
    assert check.status == "broken"
    assert check.remedy.startswith("torch cannot be imported; install it again: `pip install")


def test_extras_say_what_is_there_and_how_to_add_the_others() -> None:
    more = "`pip install 'hamdg[dashboard,pictures,{}segmentation,slurm,tensorboard]'` adds more"
    assert found("extras", FACTS).detail == f"none installed; {more.format('ray,')}"
    some = replace(FACTS, packages={**FACTS.packages, "ray": "2.60.0"})
    assert found("extras", some) == Check("extras", "info", f"ray 2.60.0; {more.format('')}")
    every = replace(FACTS, packages={**FACTS.packages, **dict.fromkeys(doctor.EXTRAS.values(), "1")})
    assert "pip" not in found("extras", every).detail


def test_extras_are_those_that_can_be_installed() -> None:
    declared = configparser.ConfigParser()
    declared.read(Path(__file__).parents[1] / "setup.cfg")
    wanted = declared["options.extras_require"]
    assert set(doctor.EXTRAS) == set(wanted) - {"dev", "peers"}
    assert all(wanted[name].strip().startswith(package) for name, package in doctor.EXTRAS.items())


def test_a_matching_pair_says_so() -> None:
    assert found("torch", FACTS).detail == "torch 2.11.0, torchvision 0.26.0 (they match)"


@pytest.mark.parametrize(
    "missing", ["torch", "torchvision", "lightning", "torchmetrics", "open_clip_torch", "safetensors"]
)
def test_missing_packages_are_broken(missing: str) -> None:
    facts = replace(FACTS, packages={name: v for name, v in FACTS.packages.items() if name != missing})
    check = found("torch" if missing == "torchvision" else missing, facts)
    assert check.status == "broken"
    assert check.remedy == "`pip install -c constraints.txt -e .`"


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_the_malicious_releases_are_broken(version: str) -> None:
    check = found("lightning", replace(FACTS, packages={**FACTS.packages, "lightning": version}))
    assert check.status == "broken"
    assert check.remedy == (
        "this release was a malicious upload: uninstall it, install 2.6.4 or newer, and change every password and key "
        "that this machine could read."
    )


def test_an_old_python_is_broken() -> None:
    check = found("Python", replace(FACTS, python=(3, 10, 13)))
    assert (check.status, check.detail) == ("broken", "3.10.13")
    assert check.remedy == "hamdg needs Python 3.11 or newer; make a new environment with it."


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (probe(), "none used: this torch is built for the CPU"),
        (probe(built_for="13.2"), "none found (torch is built for CUDA 13.2); the CPU is used"),
        (probe(GPU, 2, "13.2"), "2 x Some GPU, 8.0 GiB of 16.0 GiB free, bf16"),
        (probe({**GPU, "bf16": False}, 1), "1 x Some GPU, 8.0 GiB of 16.0 GiB free, no bf16: fp32 is used"),
    ],
)
def test_gpus(text: str, detail: str) -> None:
    assert found("GPU", replace(FACTS, probe=text)).detail == detail


def test_more_threads_than_cores_is_a_warning() -> None:
    check = found("CPU", replace(FACTS, environment={"OMP_NUM_THREADS": "8"}))
    assert (check.status, check.detail) == ("warning", "2 cores, OMP_NUM_THREADS=8")
    assert check.remedy == "unset it or set it to 2: more threads than cores slow everything down."


def test_a_nearly_full_disk_is_a_warning() -> None:
    check = found("disk", replace(FACTS, free=2**30))
    assert (check.status, check.detail) == ("warning", "1.0 GiB free where runs are written")


def test_missing_weights_are_broken() -> None:
    check = found("mini-CLIP", replace(FACTS, assets=()))
    assert check.status == "broken"
    assert "make mini-clip" in check.remedy


def test_without_datasets_only_the_hub_is_out_of_reach() -> None:
    facts = replace(FACTS, packages={name: v for name, v in FACTS.packages.items() if name != "datasets"})
    assert found("datasets", facts) == Check(
        "datasets",
        "warning",
        "not installed; data sets of the Hugging Face hub cannot be read",
        "`pip install -c constraints.txt -e .`",
    )


def test_nothing_is_said_of_packages_that_nothing_uses() -> None:
    environment = {"WANDB_MODE": "offline", "WANDB_API_KEY": "x"}
    assert examine(replace(FACTS, environment=environment)) == examine(FACTS)
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).parents[1] / "setup.cfg")
    lines = parser["options"]["install_requires"].split("\n")
    required = {re.split(r"[^\w-]", line)[0].lower() for line in lines if not line.startswith("#")}
    assert {name.lower() for name in doctor.PACKAGES} - required <= {"torchvision"}  # which open_clip_torch brings


def test_folders_come_from_the_environment() -> None:
    environment = {"HAMDG_CACHE": "/c", "HF_HOME": "/h", "HF_HUB_OFFLINE": "1", "HAMDG_DATA": "/d"}
    facts = replace(FACTS, environment=environment, cache_bytes=3 * 2**20)
    assert found("cache", facts).detail == "/c, 3 MiB (HAMDG_CACHE moves it)"
    assert found("Hugging Face hub", facts).detail == "cache /h, offline (HF_HUB_OFFLINE)"
    assert (
        found("Hugging Face hub", replace(FACTS, environment={})).detail
        == "cache ~/.cache/huggingface, downloads are allowed (not tried)"
    )
    assert found("data", facts).detail == "HAMDG_DATA=/d; `hamdg data list` shows what is found there"


@pytest.mark.parametrize(
    ("facts", "code", "last"),
    [
        (FACTS, 0, "hamdg can run here."),
        (replace(FACTS, assets=()), 1, "broken: mini-CLIP"),
        (replace(FACTS, free=0), 0, "hamdg can run here."),
    ],
)
def test_the_exit_code_tells_whether_hamdg_can_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], facts: Facts, code: int, last: str
) -> None:
    monkeypatch.setattr(doctor, "gather", lambda: facts)
    assert doctor.doctor() == code
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_this_machine_is_looked_at() -> None:
    facts = doctor.gather()
    assert facts.packages["torch"].startswith("2.")
    assert not facts.probe_failed
    assert set(json.loads(facts.probe)) == {"gpu", "devices", "built_for"}
    assert facts.cores >= 1


def test_an_import_that_hangs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import time; time.sleep(9)")
    monkeypatch.setattr(doctor, "PATIENCE", 0.1)
    facts = doctor.gather()
    assert (facts.probe, facts.probe_failed) == ("importing it took longer than 0.1 s", True)


def test_an_import_that_crashes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import os; os._exit(11)")
    assert doctor.gather().probe == "the import ended with status 11"
