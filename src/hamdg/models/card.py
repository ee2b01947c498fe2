"""The card of a shipped mini-CLIP: what it is, how it was made, what it scores before any fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamdg.models.clip import LoadedClip


@dataclass(frozen=True)
class Measured:
    """What the model scores on the embedded benchmark.

    Args:
        accuracies: Zero-shot accuracy on each domain.
        images_per_class: Images per class and domain that it was measured on.
        prompts: Templates that it was measured with.
    """

    accuracies: Mapping[str, float]
    images_per_class: int
    prompts: Sequence[str]


@dataclass(frozen=True)
class Made:
    """How the weights file came about.

    Args:
        command: The command line.
        seconds: Duration of rendering and training.
        size: Bytes of the file.
    """

    command: str
    seconds: float
    size: int


def card_text(loaded: LoadedClip, shares: Mapping[str, float], measured: Measured, made: Made) -> str:
    """Return the card as Markdown.

    Args:
        loaded: The trained model.
        shares: Probability of each benchmark style among the pretraining images.
        measured: Its zero-shot accuracies.
        made: Command, duration and size.
    """
    image = sum(parameter.numel() for parameter in loaded.model.visual.parameters())
    total = sum(parameter.numel() for parameter in loaded.model.parameters())
    rows = "\n".join(
        f"| {name} | {shares.get(name, 0.0):.2%} | {value:.1%} |" for name, value in measured.accuracies.items()
    )
    prompts = ", ".join(f"`{prompt}`" for prompt in measured.prompts)
    return f"""# {loaded.name}

A small CLIP for {loaded.image_size}-pixel images, trained from scratch on captioned images that hamdg renders; no
photograph and no downloaded data went into it. It is made for the embedded benchmark and good for nothing else.

- Parameters: {total:,} ({image:,} of them in the image tower); {made.size / 1e6:.1f} MB in half precision.
- Text tower: open_clip's tokenizer and vocabulary, contexts of {loaded.model.context_length} tokens; words that no
  caption held are zero.
- Data: `hamdg.mini.captions`: nouns, colors and styles beyond the benchmark's, the benchmark's own styles by the
  shares below.
  The images of the benchmark itself are other draws of the same generators.
- Loss: CLIP's, with equal captions in a batch counted as matches.
- BatchNorm statistics, if it has any, come from this pretraining; fine-tuning keeps them frozen.
- Made by `{made.command}` in {made.seconds:.0f} s.

Zero-shot accuracy on the embedded benchmark (seed 0, {measured.images_per_class} images per class and domain;
prompts {prompts}):

| domain | share of its style in pretraining | zero-shot |
| --- | --- | --- |
{rows}

The shares were chosen by these accuracies, so that every domain starts between 45 and 80 %; fine-tuned models
were not looked at.
"""
