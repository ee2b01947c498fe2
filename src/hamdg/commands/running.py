"""`hamdg run`: a recipe through all its steps, and what a recipe can say."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hamdg import console
from hamdg.commands import output, several, tracking

if TYPE_CHECKING:
    from hamdg.config.recipe import Recipe

SUMMARY = "train, merge and evaluate as a recipe says; skips what is done, resumes what was stopped"
# Its own options; all others are keys of the recipe.
OPTIONS = (
    *("--force", "--dry-run", "--dry_run", "--until", "--tracking", "--print-config", "--print_config"),
    *several.OPTIONS,
)
EPILOG = (
    "Example: hamdg run mini/ham --held_out=photo --train.steps=200. Further arguments are the keys of the recipe, as "
    "--key.sub=value; here they are (after RECIPE: those of its algorithm, with its values):"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    recipe = "a YAML file, or the name of one that comes with hamdg (`hamdg recipes`): mini/ham, pacs/mini-clip"
    parser.add_argument("recipe", metavar="RECIPE", help=recipe)
    parser.add_argument("--force", action="store_true", help="start again even if the run is done")
    text = "print what would be done (steps, models, images, time, place); start nothing"
    parser.add_argument("--dry-run", "--dry_run", action="store_true", help=text)
    last = "stop after this step: one of the algorithm's, such as train, or validate, which scores on the sources alone"
    parser.add_argument("--until", metavar="STEP", help=last)
    tracking.add_arguments(parser)
    several.add_arguments(parser)
    text = "print the whole recipe as YAML, defaults included; start nothing"
    parser.add_argument("--print-config", "--print_config", action="store_true", help=text)
    parser.epilog = EPILOG
    parser.set_defaults(handler=run)


def key_help(arguments: Sequence[str]) -> str:
    """Return the keys that `hamdg run` takes: those of the recipe that is named, with its values, or all.

    Args:
        arguments: What follows the verb, with `--help`.

    Raises:
        ConfigError: If the recipe or an override cannot be read.
    """
    from hamdg.config.parsing import split_overrides
    from hamdg.config.recipe_file import read_unchecked
    from hamdg.config.reference import help_text
    from hamdg.config.shipped import find_file

    own = [argument for argument in arguments if argument not in ("-h", "--help")]
    overrides, rest = split_overrides(own, (*OPTIONS, *output.OPTIONS))
    names = [argument for argument in rest if not argument.startswith("-")]
    if not names and not overrides:
        return help_text(None)
    return help_text(read_unchecked(find_file(names[0]) if names else None, overrides))


def run(arguments: argparse.Namespace) -> int:
    """Make the run that the arguments ask for and return the exit code."""
    from hamdg.cohort.place import joined_place
    from hamdg.config.reading import read_recipe
    from hamdg.config.shipped import find_file, is_shipped, shipped_name
    from hamdg.config.yaml_files import dump_yaml

    overrides = [*arguments.overrides, *(["--runtime.quiet=true"] if arguments.quiet else [])]
    overrides += tracking.overrides(arguments)
    file = find_file(arguments.recipe)
    if several.are_asked_for(arguments):
        return several.run(arguments, file, overrides)
    recipe = read_recipe(file, overrides)
    # Of several processes that were started with this command, the first one says and checks everything.
    place = joined_place()
    if place is not None and place.rank > 0 and (arguments.print_config or arguments.dry_run):
        return 0
    if arguments.print_config:
        whole = _whole(recipe)
        console.result(dump_yaml(whole).rstrip())
        console.result_json(whole)
        return 0
    if is_shipped(file) and not recipe.runtime.quiet and (place is None or place.rank == 0):
        console.note(f"recipe {shipped_name(file)} (comes with hamdg)")
    if place is None:
        tracking.check(recipe)
        _check_inputs(recipe, arguments.force)

    from hamdg.runs.record import EVALUATE
    from hamdg.stages import pipeline, processes

    command = shlex.join(["hamdg", "run", arguments.recipe, *arguments.overrides])
    # An empty name (`--until=$STEP` of a variable that is not set) must not open the held-out domain.
    until = EVALUATE if arguments.until is None else arguments.until
    if arguments.dry_run:
        pipeline.dry_run(recipe, force=arguments.force, until=until)
        return 0
    with processes.joined(recipe.runtime) as first:
        if first and place is not None:  # only now the others learn of an error
            tracking.check(recipe)
            _check_inputs(recipe, arguments.force)
        if first:
            pipeline.run(recipe, force=arguments.force, command=command, until=until)
    return 0


def _whole(recipe: Recipe) -> dict[str, object]:
    """Return the values of a recipe, with the merge method's options where its algorithm merges."""
    from hamdg.config.merge_section import completed
    from hamdg.config.reading import values_of

    return values_of(completed(recipe) if "merge" in recipe.settings.uses else recipe)


def _check_inputs(recipe: Recipe, force: bool) -> None:
    """Look for images and weights before anything heavy is loaded, unless such a run is done."""
    from hamdg.runs.identity import sibling_runs

    if force or not any(sibling_runs(recipe).glob(f"seed{recipe.seed}-*/done")):
        from hamdg.data.find_images import find_images

        find_images(recipe)

        from hamdg.models import find_weights

        find_weights(recipe.model)
