from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hamdg import cli
from hamdg.errors import ConfigError, HamdgError, WeightsError
from hamdg.merge import merge_files
from hamdg.merge.files import read_provenance
from hamdg.merge.lora.files import TruncationWarning

Model = dict[str, Tensor]
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["fc"], "base_model_name_or_path": "clip"}


def factors(seed: int, rank: int = 2, module: str = "base_model.model.fc") -> Model:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{module}.lora_A.weight": torch.randn(rank, 5, generator=generator),
        f"{module}.lora_B.weight": torch.randn(6, rank, generator=generator),
    }


def write(folder: Path, tensors: Model, **config: object) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Path]:
    return {
        "a": write(tmp_path / "a", factors(1)),
        "b": write(tmp_path / "b", factors(2, 3), r=3, use_rslora=True, alpha_pattern={"f.": 5, "c": 7}),
    }


def product(tensors: Model, module: str = "base_model.model.fc") -> Tensor:
    return tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]


def test_folders_of_peft_give_a_folder_that_peft_loads(pair: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out" / "adapter_model.safetensors"
    merge_files("uniform", pair, out)
    # alpha / r = 2 for a; for b the pattern's alpha over the root of the rank.
    expected = (2 * product(factors(1)) + 5 / math.sqrt(3) * product(factors(2, 3))) / 2
    merged = load_file(out)
    torch.testing.assert_close(product(merged), expected, rtol=1e-5, atol=1e-5)
    config = json.loads((out.parent / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"], config["target_modules"]) == (5, 5, False, ["fc"])
    assert config["base_model_name_or_path"] == "clip"
    recorded = read_provenance(out)
    assert recorded is not None
    assert (recorded.settings["lora_rank"], recorded.settings["lora_error"]) == (5, pytest.approx(0, abs=1e-6))
    # Merged adapters are adapters: with themselves they give themselves, and the same bytes every time.
    again = tmp_path / "again" / "adapter_model.safetensors"
    merge_files("uniform", {"x": out.parent}, again)
    torch.testing.assert_close(product(load_file(again)), expected, rtol=1e-5, atol=1e-5)
    before = out.read_bytes()
    merge_files("uniform", dict(reversed(pair.items())), out)
    assert out.read_bytes() == before


def test_the_configuration_is_a_part_of_what_is_merged(pair: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out" / "adapter_model.safetensors"
    digests = []
    for alpha in (4, 8):
        (pair["a"] / "adapter_config.json").write_text(json.dumps(CONFIG | {"lora_alpha": alpha}))
        merge_files("uniform", pair, out)
        recorded = read_provenance(out)
        assert recorded is not None
        digests.append(recorded.sources)
    assert digests[0]["a"] != digests[1]["a"]
    assert digests[0]["b"] == digests[1]["b"]


def test_a_rank_that_does_not_hold_all_is_told(pair: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out" / "adapter_model.safetensors"
    with pytest.warns(
        TruncationWarning, match=r"^Rank 1 does not hold the merged adapter: the relative error is 0\.\d+ "
    ):
        merge_files("uniform", pair, out, lora_rank=1)
    assert {tuple(tensor.shape) for tensor in load_file(out).values()} == {(1, 5), (6, 1)}
    recorded = read_provenance(out)
    assert recorded is not None
    assert float(str(recorded.settings["lora_error"])) > 0.1


def test_kohya_s_files_give_one_file(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        down, up = factors(seed).values()
        own = {"lora_unet_fc.lora_down.weight": down, "lora_unet_fc.lora_up.weight": up}
        save_file(own | {"lora_unet_fc.alpha": torch.tensor(1.0)}, tmp_path / f"{name}.safetensors")
    out = tmp_path / "out.safetensors"
    merge_files("uniform", {name: tmp_path / f"{name}.safetensors" for name in "ab"}, out)
    merged = load_file(out)
    change = merged["lora_unet_fc.lora_up.weight"] @ merged["lora_unet_fc.lora_down.weight"]
    torch.testing.assert_close(change, (product(factors(1)) + product(factors(2))) / 4, rtol=1e-5, atol=1e-5)
    assert merged["lora_unet_fc.alpha"].item() == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors", "out.safetensors"]


REFUSED: list[tuple[dict[str, object], str]] = [
    (
        {"use_dora": True},
        "The adapter `c` has `use_dora` in its `adapter_config.json` and is not plain LoRA, whose changes are products "
        "of two matrices. Add each adapter to its model first (PEFT: `merge_and_unload`), and merge the models.",
    ),
    (
        {"peft_type": "ADALORA"},
        "The adapter `c` has `peft_type` `ADALORA` in its `adapter_config.json` and is not plain LoRA, whose changes "
        "are products of two matrices. Add each adapter to its model first (PEFT: `merge_and_unload`), and merge the "
        "models.",
    ),
    (
        {"init_lora_weights": "pissa_niter_4"},
        "The adapter `c` was started by `pissa_niter_4`, which changes the base as well, so that it fits no other one. "
        "Save it with PEFT's `path_initial_model_for_weight_conversion`, and merge what that writes.",
    ),
    (
        {"lora_alpha": None},
        "The `adapter_config.json` of `c` has no number as `lora_alpha`, but `None`; repair it.",
    ),
    (
        {"alpha_pattern": {"(": 3}},
        "The `alpha_pattern` in the `adapter_config.json` of `c` has `(`, which is no regular expression (missing ), "
        "unterminated subpattern at position 7); repair it.",
    ),
]


@pytest.mark.parametrize(("config", "message"), REFUSED)
def test_configurations_that_are_refused(
    config: dict[str, object], message: str, pair: dict[str, Path], tmp_path: Path
) -> None:
    third = write(tmp_path / "c", factors(3), **config)
    refused(message, WeightsError, pair | {"c": third}, tmp_path)


def test_a_configuration_that_is_missing_or_damaged(pair: dict[str, Path], tmp_path: Path) -> None:
    config = pair["a"] / "adapter_config.json"
    config.write_text("[1]")
    refused(f"`{config}` is not a configuration of an adapter: expected a table of keys.", WeightsError, pair, tmp_path)
    config.write_text("{")
    refused(f"`{config}` is damaged (", WeightsError, pair, tmp_path, whole=False)
    config.unlink()
    message = (
        "`a` holds LoRA factors (`base_model.model.fc.lora_A.weight`), whose scale is in an `adapter_config.json` that "
        f"is not beside `{pair['a'] / 'adapter_model.safetensors'}`. Put it there; it holds at least `peft_type`, `r` "
        "and `lora_alpha`."
    )
    refused(message, WeightsError, pair, tmp_path)


def test_adapters_and_models_are_not_merged_with_each_other(pair: dict[str, Path], tmp_path: Path) -> None:
    save_file({"fc.weight": torch.ones(6, 5)}, tmp_path / "model.safetensors")
    message = (
        "`a` is an adapter (it holds `base_model.model.fc.lora_A.weight`) and `model` is not. Merge adapters with "
        "adapters, or add each to its model first (PEFT: `merge_and_unload`)."
    )
    refused(message, WeightsError, pair | {"model": tmp_path / "model.safetensors"}, tmp_path)
    message = "Adapters are changes already, which need no `base`: leave it out, or add each adapter to its model first"
    with pytest.raises(ConfigError, match=re.escape(message)):
        merge_files("ties", pair, tmp_path / "out" / "adapter_model.safetensors", tmp_path / "model.safetensors")
    message = "`lora_rank` is for adapters of low rank, but none of the files holds one; leave it out."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_files("uniform", {"m": tmp_path / "model.safetensors"}, tmp_path / "o.safetensors", lora_rank=3)


def test_places_where_an_adapter_cannot_be_written(pair: dict[str, Path], tmp_path: Path) -> None:
    message = (
        "PEFT reads adapters from a folder of their own, as `adapter_model.safetensors` beside `adapter_config.json`; "
        f"give the output as `{tmp_path / 'm' / 'adapter_model.safetensors'}`, not `{tmp_path / 'm.safetensors'}`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_files("uniform", pair, tmp_path / "m.safetensors")
    (pair["a"] / "adapter_model.safetensors").rename(pair["a"] / "other.safetensors")
    message = f"The output's `{pair['a'] / 'adapter_config.json'}` is one of the inputs; choose another folder."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        merge_files("uniform", pair, pair["a"] / "adapter_model.safetensors")
    assert (pair["a"] / "adapter_config.json").exists()


def test_the_command(pair: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "adapter_model.safetensors"
    files = [str(path) for path in pair.values()]
    # TIES works on changes from a base; adapters are such changes.
    assert cli.main(["merge", "--method", "ties", *files, "--lora-rank", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert said.startswith("hamdg: warning: Rank 2 does not hold the merged adapter: the relative error is ")
    assert "A larger `--lora-rank` loses less" in said
    assert cli.main(["merge", "--show", str(out)]) == 0
    assert "setting lora_rank" in capsys.readouterr().out
    assert cli.main(["merge", "--method", "uniform", *files, "--lora-rank", "x", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said == "hamdg: error: Expected `--lora-rank` to be an integer of at least 1, but got `x`.\n"


def refused(message: str, kind: type[HamdgError], paths: dict[str, Path], folder: Path, *, whole: bool = True) -> None:
    out = folder / "out" / "adapter_model.safetensors"
    with warnings.catch_warnings(), pytest.raises(kind, match=f"^{re.escape(message)}" + ("$" if whole else "")):
        merge_files("uniform", paths, out)
    assert not out.parent.exists()
