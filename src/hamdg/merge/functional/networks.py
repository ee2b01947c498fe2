"""What can be reordered in the networks that we know, recognized by the names and shapes of their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hamdg.errors import Argument, ConfigError
from hamdg.merge.functional.permutations import BATCH_NORM, Axis, Group, Shapes, Spec
from hamdg.text import listed

KNOWN = "open_clip's vision transformers, text transformers and ModifiedResNets"
_LISTED = 6
_NORM = ("weight", "bias")
_BLOCK = re.compile(r"^(.*?)transformer\.resblocks\.(\d+)\.mlp\.c_fc\.weight$")
_STAGE = re.compile(r"^(.*?)layer1\.0\.conv1\.weight$")

# Axes that lie on the residual stream.
_BLOCK_AXES = {
    "attn.in_proj_weight": 1,
    "attn.out_proj.weight": 0,
    "attn.out_proj.bias": 0,
    "ls_1.gamma": 0,
    "ls_2.gamma": 0,
    "mlp.c_fc.weight": 1,
    "mlp.c_proj.weight": 0,
    "mlp.c_proj.bias": 0,
    **{f"{norm}.{part}": 0 for norm in ("ln_1", "ln_2") for part in _NORM},
}
_VISION_AXES = {
    "conv1.weight": 0,
    "class_embedding": 0,
    "positional_embedding": 1,
    "proj": 0,
    **{f"{norm}.{part}": 0 for norm in ("ln_pre", "ln_post") for part in _NORM},
}
_TEXT_AXES = {
    "token_embedding.weight": 1,
    "positional_embedding": 1,
    "ln_final.weight": 0,
    "ln_final.bias": 0,
    "text_projection": 0,
    "text_projection.weight": 1,
}
_STILL = ("attn.in_proj_bias", "mlp.c_fc.bias")
_BESIDE = ("logit_scale", "logit_bias")


def known_spec(shapes: Shapes, residual: bool = True, head_width: int | None = None) -> Spec:
    """Return what can be reordered in the networks that we know, recognized by names and shapes alone.

    These are channels inside the bottlenecks and the stem of a ModifiedResNet, hidden units of a transformer's MLPs,
    attention heads as wholes (also those of the attention pool), and the channels of residual streams.

    Args:
        shapes: Shape of every tensor of the model, under any prefix.
        residual: Whether the channels of residual streams are among them.
        head_width: Width of an attention head, which no shape tells. Heads stay where they are without it, and in
            towers whose width it does not divide.

    Raises:
        ConfigError: There are tensors of a network that is not known, or the width of heads does not fit.
    """
    found = _Found(shapes, residual, head_width)
    for prefix in sorted({match[1] for name in shapes if (match := _BLOCK.match(name))}):
        text = prefix + "token_embedding.weight" in shapes
        if text or prefix + "class_embedding" in shapes:
            _transformer(found, prefix, _TEXT_AXES if text else _VISION_AXES)
    for prefix in sorted({match[1] for name in shapes if (match := _STAGE.match(name))}):
        if prefix + "attnpool.q_proj.weight" in shapes:
            _resnet(found, prefix)
    unknown = [name for name in shapes if name not in found.seen and name.rpartition(".")[2] not in _BESIDE]
    if unknown:
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        raise ConfigError(
            f"It is not known what can be reordered in a network with {listed(unknown[:_LISTED])}{more}; known are "
            f"{KNOWN}. Describe it in a JSON file and name that as `spec`."
        )
    return found.spec()


class _Found:
    """What was found in a model so far: groups under way, and which tensors were understood."""

    def __init__(self, shapes: Shapes, residual: bool, head_width: int | None) -> None:
        self.shapes, self.residual, self.head_width = shapes, residual, head_width
        self.seen: set[str] = set()
        self._axes: dict[str, list[Axis]] = {}
        self._units: dict[str, int] = {}
        self._streams: set[str] = set()
        self._fits = False
        self._widths: set[int] = set()

    def add(self, group: str, tensor: str, axis: int = 0) -> None:
        """Put an axis into a group, if the model has the tensor."""
        if tensor in self.shapes:
            self._axes.setdefault(group, []).append(Axis(tensor, axis))
            self._units.setdefault(group, self.shapes[tensor][axis])
            self.seen.add(tensor)

    def heads(self, group: str, axes: tuple[Axis, ...], width: int) -> None:
        """Add the attention heads of one layer."""
        self.seen.update(axis.tensor for axis in axes)
        if self.head_width is not None and width % self.head_width == 0:
            self._axes[group], self._units[group] = list(axes), width // self.head_width
            self._fits = True
        self._widths.add(width)

    def stream(self, group: str) -> None:
        """Say that a group holds the channels of a residual stream."""
        self._streams.add(group)

    def spec(self) -> Spec:
        """Return the groups that are asked for."""
        if self.head_width is not None and not self._fits:
            widths = ", ".join(map(str, sorted(self._widths))) or "there is none"
            raise ConfigError(
                "Expected ",
                Argument("head_width", "argument "),
                f" to divide the width of an attention layer ({widths}), "
                f"but got `{self.head_width}`; `None` leaves heads where they are.",
            )
        wanted = [group for group in self._axes if self.residual or group not in self._streams]
        return {group: Group(self._units[group], tuple(self._axes[group])) for group in sorted(wanted)}


def _transformer(found: _Found, prefix: str, ends: Mapping[str, int]) -> None:
    stream = prefix + "residual"
    found.stream(stream)
    for name, axis in ends.items():
        found.add(stream, prefix + name, axis)
    found.seen.add(prefix + "text_projection.bias")
    blocks = sorted({int(match[2]) for name in found.shapes if (match := _BLOCK.match(name)) and match[1] == prefix})
    for number in blocks:
        block = f"{prefix}transformer.resblocks.{number}."
        for name, axis in _BLOCK_AXES.items():
            found.add(stream, block + name, axis)
        found.seen.update(block + name for name in _STILL)
        for name, axis in {"mlp.c_fc.weight": 0, "mlp.c_fc.bias": 0, "mlp.c_proj.weight": 1}.items():
            found.add(block + "mlp", block + name, axis)
        inputs = tuple(Axis(block + name, 0, 3) for name in ("attn.in_proj_weight", "attn.in_proj_bias"))
        output = Axis(block + "attn.out_proj.weight", 1)
        if all(axis.tensor in found.shapes for axis in (*inputs, output)):
            found.heads(block + "heads", (*inputs, output), found.shapes[output.tensor][1])


def _resnet(found: _Found, prefix: str) -> None:
    before = ""
    for number in (1, 2, 3):
        before = _convolution(found, f"{prefix}conv{number}", f"{prefix}bn{number}", before, f"{prefix}stem.{number}")
    for stage in (1, 2, 3, 4):
        for number in range(_length(found.shapes, f"{prefix}layer{stage}.")):
            block = f"{prefix}layer{stage}.{number}."
            after = before
            if block + "downsample.0.weight" in found.shapes:
                names = block + "downsample.0", block + "downsample.1"
                after = _convolution(found, *names, before, f"{prefix}layer{stage}")
            found.stream(after)
            inner = _convolution(found, block + "conv1", block + "bn1", before, block + "1")
            inner = _convolution(found, block + "conv2", block + "bn2", inner, block + "2")
            before = _convolution(found, block + "conv3", block + "bn3", inner, after)
    pool = prefix + "attnpool."
    for name in ("positional_embedding", "q_proj.weight", "k_proj.weight", "v_proj.weight"):
        found.add(before, pool + name, 1)
    inputs = tuple(Axis(f"{pool}{which}_proj.{part}") for which in "qkv" for part in _NORM)
    found.heads(pool + "heads", (*inputs, Axis(pool + "c_proj.weight", 1)), found.shapes[pool + "c_proj.weight"][1])
    found.seen.add(pool + "c_proj.bias")


def _convolution(found: _Found, convolution: str, norm: str, before: str, after: str) -> str:
    """Add a convolution and the BatchNorm behind it; return the group of its outputs."""
    if before:
        found.add(before, convolution + ".weight", 1)
    found.seen.add(convolution + ".weight")
    found.add(after, convolution + ".weight", 0)
    for part in BATCH_NORM:
        found.add(after, f"{norm}.{part}")
    found.seen.add(f"{norm}.num_batches_tracked")
    return after


def _length(shapes: Shapes, stage: str) -> int:
    return next(number for number in range(len(shapes) + 1) if f"{stage}{number}.conv1.weight" not in shapes)
