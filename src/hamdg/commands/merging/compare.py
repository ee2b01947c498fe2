"""`hamdg merge --compare`: how alike the models are, as tables, as JSON, and as an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from hamdg import console
from hamdg.commands.merging.arguments import Request
from hamdg.commands.merging.messages import plain_words
from hamdg.commands.merging.settings import check_device
from hamdg.commands.merging.sources import keys_of, named_files, prefixes_of
from hamdg.digests import Digests
from hamdg.errors import ConfigError
from hamdg.files import write_text
from hamdg.merge.compare import WHOLE, Comparison
from hamdg.merge.compare import compare as measure
from hamdg.merge.files.inputs import Inputs
from hamdg.report.charts import pair_name
from hamdg.report.comparison import comparison_image
from hamdg.report.table import MISSING
from hamdg.text import reason_of

Values = Mapping[str, Mapping[str, float | None]]


def compare(request: Request) -> int:
    """Print how alike the models are, and draw it if an image is named.

    Raises:
        ConfigError: Something in the request is wrong.
        WeightsError: A file is missing or damaged, or the models do not fit together.
    """
    paths, base, out = named_files(request.files), request.base, request.out
    if base is None:
        raise ConfigError(
            "`--compare` looks at what the models changed from a start; name its file with `--base FILE`."
        )
    if out is not None and out.suffix != ".svg":
        raise ConfigError(f"`--compare` draws SVG images; give `--out` a name that ends in `.svg`, not `{out.name}`.")
    prefixes, keys = prefixes_of(request, paths), keys_of(request, paths)
    check_device(request)
    with plain_words():
        inputs = Inputs(paths, base, prefixes, None, keys)
        with Digests(request.threads) as digests:
            inputs.check_base(digests)
        found = measure(inputs.models, inputs.base or {}, device=request.device, threads=request.threads)
    if out is not None:
        _draw(found, out)
    _print(found)
    console.result_json(asdict(found))
    return 0


def _print(found: Comparison) -> None:
    lengths = [(s, f"{found.lengths[s][WHOLE]:.4g}", _relative(found, s)) for s in found.sources]
    console.table(("source", "length", "of the base's"), lengths, title="How far each source went (Euclidean norm)")
    alike = [(pair_name(p), _number(v[WHOLE]), _number(found.agreement[p][WHOLE])) for p, v in found.cosines.items()]
    console.table(("pair", "cosine", "signs agree"), alike, title="\nHow alike two changes are")
    several = len(found.cosines) > 1
    head = ("layer", "entries", "length", "cosine", *(("lowest", "highest") if several else ()), "signs agree")
    title = "\nLayer by layer (means over sources and pairs; lowest and highest cosine of a pair)"
    rows = [_layer(found, layer, several) for layer in found.layers]
    console.table(head, rows, title=title if several else "\nLayer by layer (mean length of both sources)")


def _layer(found: Comparison, layer: str, several: bool) -> tuple[str, ...]:
    cosines, agreement = _known(found.cosines, layer), _known(found.agreement, layer)
    length = sum(found.lengths[source][layer] for source in found.sources) / len(found.sources)
    ends = (min(cosines, default=None), max(cosines, default=None)) if several else ()
    numbers = (_mean(cosines), *ends, _mean(agreement))
    return (layer, f"{found.sizes[layer]}", f"{length:.4g}", *(_number(number) for number in numbers))


def _known(values: Values, layer: str) -> list[float]:
    return [value for layers in values.values() if (value := layers[layer]) is not None]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _relative(found: Comparison, source: str) -> str:
    return f"{found.lengths[source][WHOLE] / found.base[WHOLE]:.4f}" if found.base[WHOLE] > 0 else MISSING


def _draw(found: Comparison, out: Path) -> None:
    try:
        write_text(out, comparison_image(found))
    except OSError as error:
        reason = reason_of(error)
        raise ConfigError(f"Cannot write `{out}`: {reason}; name another file with `--out`.") from error
