"""Pretrain a shipped mini-CLIP on the wider rendered world: `python -m hamdg.models.pretrain --model mini-rn`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from hamdg.config.data import MiniConfig
from hamdg.config.recipe import ModelConfig
from hamdg.data.benchmark import PROMPTS
from hamdg.errors import ConfigError
from hamdg.mini import CLASSES, DOMAINS, render_domain
from hamdg.mini.captions import caption_renders
from hamdg.models.card import Made, Measured, card_text
from hamdg.models.clip import LoadedClip, build_clip, load_clip
from hamdg.models.configs import ASSETS, SHIPPED
from hamdg.models.contrastive import ContrastiveConfig, train_contrastive
from hamdg.models.export import write_config
from hamdg.models.tokenizer import tokenize
from hamdg.models.weights import load_weights
from hamdg.models.zero_shot import zero_shot
from hamdg.text import listed

# Chosen so that the zero-shot accuracies are level: line drawings of every kind teach sketches and cartoons anyway.
SHARES = {"art_painting": 0.16, "cartoon": 0.002, "photo": 0.14, "sketch": 0.0}


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that determines a shipped mini-CLIP.

    Args:
        model: `mini-rn` or `mini-vit`.
        renders: Number of captioned images.
        shares: Probability that a caption image is drawn in the style of each benchmark domain.
        seed: Seed of the images, the initial weights and the batch order.
        threads: CPU threads of the training (and processes of the rendering); results differ in the last digits.
        contrastive: Length and learning rate.
    """

    model: str = "mini-rn"
    renders: int = 22_000
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    seed: int = 0
    threads: int = 1
    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)


def pretrain(config: PretrainConfig) -> LoadedClip:
    """Render the captioned images and train a CLIP on them from scratch.

    Raises:
        ConfigError: If a class of the embedded benchmark is in no caption.
    """
    loaded = load_clip(ModelConfig(name=config.model, weights="random"))
    loaded = replace(loaded, model=build_clip(loaded.config, loaded.name, config.seed))
    started = time.perf_counter()
    images, captions = caption_renders(
        config.renders, config.seed, size=loaded.image_size, benchmark_share=config.shares, workers=config.threads
    )
    _say(f"rendered {len(captions)} captioned images in {time.perf_counter() - started:.0f} s")
    check_heard(captions)
    with _cpu_threads(config.threads):
        train_contrastive(
            loaded,
            images,
            captions,
            replace(config.contrastive, seed=config.seed),
            lambda epoch, loss: _say(f"epoch {epoch}: loss {loss:.3f}, {time.perf_counter() - started:.0f} s"),
        )
    forget_unseen_words(loaded, captions)
    return loaded


def check_heard(captions: Sequence[str]) -> None:
    """Refuse captions that leave the text tower without a class of the embedded benchmark.

    Raises:
        ConfigError: If a class is in no caption.
    """
    if missing := [name for name in CLASSES if not any(name in caption for caption in captions)]:
        raise ConfigError(
            f"None of {len(captions)} captions holds {listed(missing)}, so the text tower would not know these classes "
            "of the embedded benchmark. Raise `--renders`."
        )


@torch.no_grad()
def forget_unseen_words(loaded: LoadedClip, captions: Sequence[str]) -> None:
    """Set the embeddings of words that no caption holds to zero.

    They are untrained noise, and most of the 49,408: as zeros they say nothing and take no room in a compressed file.
    """
    unseen = torch.ones(loaded.model.vocab_size, dtype=torch.bool)
    unseen[tokenize(loaded, sorted(set(captions)))] = False
    loaded.model.token_embedding.weight[unseen] = 0.0


def write_assets(loaded: LoadedClip, out: Path) -> Path:
    """Write the weights in half precision and the open_clip configuration; return the weights file."""
    out.mkdir(parents=True, exist_ok=True)
    state = {key: value.half().contiguous() for key, value in loaded.model.state_dict().items()}
    weights = out / f"{loaded.name}.safetensors"
    save_file(state, weights)
    # safetensors makes its files private to the user, which an installed package must not be.
    weights.chmod(0o644)
    write_config(loaded, out / f"{loaded.name}.json")
    # What is measured and shipped is what was rounded.
    load_weights(loaded.model, weights, loaded.name)
    return weights


def measure(loaded: LoadedClip, prompts: Sequence[str], images_per_class: int) -> dict[str, float]:
    """Return the zero-shot accuracy on each domain of the embedded benchmark."""
    config = MiniConfig(seed=0, images_per_class=images_per_class, image_size=loaded.image_size)
    return {name: zero_shot(loaded, render_domain(name, config), CLASSES, prompts) for name in DOMAINS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Pretrain, write the assets and their card, and print the zero-shot accuracies."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser().parse_args(command)
    config = PretrainConfig(
        parsed.model,
        parsed.renders,
        parsed.shares,
        parsed.seed,
        parsed.threads,
        ContrastiveConfig(epochs=parsed.epochs, batch_size=parsed.batch_size, lr=parsed.lr),
    )
    started = time.perf_counter()
    try:
        loaded = pretrain(config)
    except ConfigError as error:
        print(f"pretrain: error: {error}", file=sys.stderr)
        return error.exit_code
    weights = write_assets(loaded, parsed.out)
    seconds = time.perf_counter() - started
    prompts = PROMPTS
    with _cpu_threads(config.threads):
        accuracies = measure(loaded, prompts, parsed.measure_on)
    made = Made(shlex.join(["python", "-m", "hamdg.models.pretrain", *command]), seconds, weights.stat().st_size)
    card = card_text(loaded, config.shares, Measured(accuracies, parsed.measure_on, prompts), made)
    (parsed.out / f"{loaded.name}.md").write_text(card, encoding="utf-8")
    _say(f"wrote {weights}; zero-shot: " + ", ".join(f"{name} {100 * a:.1f} %" for name, a in accuracies.items()))
    return 0


def _parser() -> argparse.ArgumentParser:
    base = PretrainConfig()
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser("python -m hamdg.models.pretrain", description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", choices=SHIPPED, default=base.model, help="which mini-CLIP")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder for weights, configuration and card")
    parser.add_argument("--renders", type=int, default=base.renders, help="number of captioned images")
    parser.add_argument("--epochs", type=int, default=base.contrastive.epochs, help="passes over the images")
    parser.add_argument("--batch-size", type=int, default=base.contrastive.batch_size, help="images per step")
    parser.add_argument("--lr", type=float, default=base.contrastive.lr, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=base.seed, help="seed of images, weights and order")
    parser.add_argument("--threads", type=int, default=base.threads, help="CPU threads")
    parser.add_argument("--measure-on", type=int, default=100, help="benchmark images per class and domain to test on")
    parser.add_argument(
        "--shares",
        type=_shares,
        default=base.shares,
        help="probability of each benchmark style among the images, as domain=share,...",
    )
    return parser


def _shares(text: str) -> dict[str, float]:
    pairs = (pair.partition("=") for pair in text.split(","))
    shares = {name.strip(): float(value) for name, _, value in pairs}
    if unknown := [name for name in shares if name not in DOMAINS]:
        raise argparse.ArgumentTypeError(f"unknown domain `{unknown[0]}`; known are {', '.join(DOMAINS)}")
    return shares


@contextmanager
def _cpu_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    torch.set_num_interop_threads(1)
    raise SystemExit(main())
