"""The card of a shipped mini-CLIP: what it is, how it was made, what it scores before any fine-tuning."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from hamdg.models.clip import LoadedClip


def card_text(
    loaded: LoadedClip,
    shares: Mapping[str, float],
    accuracies: Mapping[str, float],
    prompts: Sequence[str],
    size: int,
    seconds: float,
    arguments: Sequence[str],
) -> str:
    """Return the card as Markdown.

    Args:
        loaded: The trained model.
        shares: Probability of each benchmark style among the pretraining pictures.
        accuracies: Zero-shot accuracy on each benchmark domain.
        prompts: The templates that the accuracies were measured with.
        size: Bytes of the weights file.
        seconds: Duration of rendering and training.
        arguments: Command-line arguments of the pretraining.
    """
    image = sum(parameter.numel() for parameter in loaded.model.visual.parameters())
    total = sum(parameter.numel() for parameter in loaded.model.parameters())
    rows = "\n".join(f"| {name} | {shares.get(name, 0.0):.2%} | {value:.1%} |" for name, value in accuracies.items())
    command = shlex.join(["python", "-m", "hamdg.models.pretrain", *arguments])
    templates = ", ".join(f"`{prompt}`" for prompt in prompts)
    return f"""# {loaded.name}

A small CLIP for {loaded.image_size}-pixel pictures, trained from scratch on captioned pictures that hamdg renders;
no photograph and no downloaded data went into it. It is made for the embedded benchmark and good for nothing else.

- Parameters: {total:,} ({image:,} of them in the image tower); {size / 1e6:.1f} MB in half precision.
- Text tower: open_clip's tokenizer and vocabulary, contexts of {loaded.model.context_length} tokens.
- Data: `hamdg.data.mini.captions`; nouns, colours and styles beyond the benchmark's, the benchmark's own styles rare.
  The pictures of the benchmark itself are other draws of the same generators, with other seeds.
- Loss: CLIP's, with equal captions in a batch counted as matches.
- BatchNorm statistics come from this pretraining; fine-tuning keeps them frozen.
- Made by `{command}` in {seconds:.0f} s.

Zero-shot accuracy on the embedded benchmark (seed 0, 100 pictures per class and domain; prompts {templates}):

| domain | share of its style in pretraining | zero-shot |
| --- | --- | --- |
{rows}

The shares were chosen so that no domain starts far ahead of the others; fine-tuned models were not looked at.
"""
