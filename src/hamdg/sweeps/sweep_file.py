"""Sweep files: what they can say, read and checked before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from hamdg.config.shipped import public_name
from hamdg.config.tracking import Loggers
from hamdg.config.yaml_files import read_yaml
from hamdg.errors import ConfigError
from hamdg.report.tables.methods import REFERENCE
from hamdg.runs.record import EVALUATE
from hamdg.sweeps.checking import Checker, Settings
from hamdg.sweeps.grid import typed_grid
from hamdg.sweeps.picking import Exclusion, read_exclusions
from hamdg.sweeps.random_draws import RandomDraws, read_draws
from hamdg.text import did_you_mean, excerpt, listed
from hamdg.values import Filled, Range, Words

Label = Annotated[str, Filled()]
Rows = Annotated[Mapping[str, Label], Filled(), Words("a mapping of row keys to labels, one at least")]
RecipeName = Annotated[str, Filled(), Words("the path or the name of a recipe")]
Launch = Annotated[str | Settings | None, Words("the name of a launcher, or one name with its options")]

# All domains of a benchmark, each in turn.
ALL = "all"
# The condition of sweeps that name none.
CLEAN = "clean"


@dataclass(frozen=True)
class Variant:
    """One recipe of a sweep, with what it changes.

    Args:
        recipe: The recipe that it starts from, by its path from the sweep file or by the name that `hamdg run` knows.
        set: Keys that differ from the recipe.
        rows: Which rows of its runs' tables are shown, by key, and under which label; all under their own when left
            out. `source/*` is the mean of the source models.
    """

    recipe: RecipeName
    set: Settings = field(default_factory=dict)
    rows: Rows | None = None


@dataclass(frozen=True)
class Include:
    """Runs beside the grid: one more variant, or one of the variants with other settings or with more seeds or domains.

    Args:
        variant: Its name; or that of one of `variants`, whose recipe, settings and rows it takes over.
        recipe: The recipe of a new variant.
        set: Keys that differ; those of one of `variants` are part of the name.
        rows: As in a variant; of a new one only.
        held_out: Domains that it is run on; those of the sweep when left out.
        seeds: Its seeds; those of the sweep when left out.
        conditions: Names of its conditions; all when left out.
    """

    variant: Label
    recipe: RecipeName | None = None
    set: Settings = field(default_factory=dict)
    rows: Rows | None = None
    held_out: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    conditions: Annotated[Sequence[str], Filled(), Words("a list of conditions")] | None = None


@dataclass(frozen=True)
class Figure:
    """A figure of a sweep: how far methods are above or below the baseline against each dial.

    Args:
        out: The image (`.svg`), relative to the folder that the command runs in.
        dials: Of each dial, its conditions and what it says there: `{label noise: {clean: 0, noisy: 20 %}}`. Conditions
            at which it says the same count together.
        methods: Labels of the rows that are drawn; all but the baseline when left out.
        lowest: The lower end of the axis in points, below which means are numbers on its edge; by the data when left
            out.
    """

    out: Annotated[str, Filled(), Words("a path")]
    dials: Annotated[
        Mapping[str, Annotated[Mapping[str, str | int | float], Filled()]],
        Filled(),
        Words("a mapping of names to `{condition: strength}`"),
    ]
    methods: Sequence[Label] = ()
    lowest: Annotated[float, Range(-100, 0, below=True)] | None = None

    def strengths(self) -> dict[str, dict[str, list[str]]]:
        """Return the conditions of each dial by what it says there, in their order."""
        found: dict[str, dict[str, list[str]]] = {}
        for name, conditions in self.dials.items():
            for condition, strength in conditions.items():
                found.setdefault(name, {}).setdefault(str(strength), []).append(condition)
        return found


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Args:
        held_out: Domains, each held out in turn; `all` for all of the benchmark, `photo+sketch` for two at once.
        seeds: Seeds, or how many: `3` is 0, 1 and 2.
        variants: Recipes to compare, by name.
        conditions: Keys that all variants share, by the condition's name; those of an algorithm's own section are for
            its variants. A condition may have a `held_out` of its own, which its variants take instead of the sweep's.
        grid: Values of keys, each combination of which is crossed with the variants that use these keys.
        random: Keys whose values are drawn, in so many draws.
        include: Runs beside the grid.
        exclude: What to leave out: runs for which all of `variant`, `condition`, `held_out`, `seed` or a key of the
            recipe are as given.
        leave_out: `pairs` adds what leave-one-domain-out cross-validation chooses by: for each domain that is held out,
            runs for which another one is held out, too.
        until: What comes last: `validate` never opens a held-out domain (for choosing defaults). On the command line
            of `hamdg run`, any step.
        controls: Whether runs have their own controls, as recipes say; off where ERM is a variant.
        reports: Whether each run gets its page, as recipes say.
        only_shown: Whether runs measure only the rows that the tables show, as `rows` of their variants say, and their
            results; `hamdg evaluate RUN --evaluate.rows=null` measures the others later.
        baseline: The label of the row that the others are compared with in the tables.
        validation: Whether the page's tables also have the accuracy on the sources' hold-out sets.
        costs: Whether its tables also have what training and inference cost, relative to the baseline.
        out: The page of results, relative to the folder that the command runs in; `null` for none. The sweep owns one
            part of it.
        figure: A figure of the results against dials; `null` for none.
        title: That part's heading.
        intro: What that part says before its tables (Markdown).
        root: Folder of the run directories.
        launcher: Where runs take place: a launcher's name, or one name with its options.
        tracking: The loggers that follow the runs, such as `[wandb]`; none for `[]`, those of each recipe when left
            out.
    """

    held_out: Sequence[str]
    seeds: Sequence[int]
    variants: Mapping[str, Variant]
    conditions: Annotated[Mapping[str, Settings], Filled(), Words("a mapping of names to settings, one at least")] = (
        field(default_factory=lambda: {CLEAN: {}})
    )
    grid: Annotated[Mapping[str, Sequence[object]], Words("a mapping of keys to lists of values")] = field(
        default_factory=dict
    )
    random: RandomDraws | None = None
    include: Sequence[Include] = ()
    exclude: Sequence[Exclusion] = ()
    leave_out: Literal["one", "pairs"] = "one"
    until: str = EVALUATE
    controls: bool = True
    reports: bool = True
    # No part of what the sweep is: its runs are the same.
    only_shown: bool = field(default=False, repr=False)
    baseline: Label = REFERENCE
    validation: bool = False
    # No part of what the sweep is: its runs, and so its ledger, are the same.
    costs: bool = field(default=False, repr=False)
    out: Annotated[str, Filled(), Words("a path")] | None = None
    # No part of what the sweep is: its runs are the same.
    figure: Figure | None = field(default=None, repr=False)
    title: str = ""
    intro: str = ""
    root: Annotated[str, Filled(), Words("a path")] = "lightning_logs"
    # No part of what the sweep is: it goes on elsewhere with the same ledger.
    launcher: Launch = field(default=None, repr=False)
    tracking: Loggers | None = field(default=None, repr=False)

    def held_out_of(self, condition: str) -> Sequence[str]:
        """Return the domains that a condition's runs hold out, each in turn."""
        return cast("Sequence[str]", self.conditions[condition].get("held_out", self.held_out))

    @property
    def origins(self) -> Mapping[str, Variant]:
        """Return the variants, and those that `include` adds, by name."""
        added = {one.variant: Variant(one.recipe, one.set, one.rows) for one in self.include if one.recipe is not None}
        return {**self.variants, **added}


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        ConfigError: If it is missing, is not a YAML mapping, or a key is unknown, missing, given twice or mistyped.
    """
    document = read_yaml(path, "sweep file", "sweep files lie in `experiments/sweeps/`.")
    if not isinstance(document.values, dict):
        raise ConfigError(f"Sweep file `{path}` must be a mapping with `held_out`, `seeds` and `variants`.")
    values, checker = dict(document.values), Checker(path, document)
    if "variants" not in values and not {"benchmark", "algorithm"}.isdisjoint(values):
        name = public_name(path)
        raise ConfigError(
            f"`{name}` is a recipe, not a sweep file; make its run with `hamdg run {name}`, or runs of several seeds "
            "and domains with `--seed 0,1,2 --held_out all`."
        )
    checker.keys(values, Sweep, "")
    for key in ("held_out", "seeds", "variants"):
        if not values.get(key) and values.get(key) != 0:
            raise ConfigError(f"Sweep file `{path}` lacks `{key}`, which must not be empty.")
    checker.values(values, Sweep, "")
    _spread(values, "", checker)
    for name, settings in values.get("conditions", {}).items():
        _condition(settings, f"conditions.{name}.", checker)
    values["variants"] = {
        name: _variant(parts, f"variants.{name}.", checker) for name, parts in values["variants"].items()
    }
    if "grid" in values:
        values["grid"] = typed_grid(values["grid"], checker)
    if "random" in values:
        values["random"] = read_draws(values["random"], checker)
    values["include"] = [
        _include(parts, f"include.{place}.", values, checker) for place, parts in enumerate(values.get("include", ()))
    ]
    _check_included(values["include"], checker)
    values["exclude"] = read_exclusions(values.get("exclude", ()), checker)
    if values.get("figure") is not None:
        values["figure"] = _figure(values["figure"], values.get("conditions", {CLEAN: {}}), checker)
    sweep = Sweep(**values)
    _check_together(sweep, checker)
    if "baseline" in values:
        _check_label(sweep, "baseline", sweep.baseline, checker)
    for label in sweep.figure.methods if sweep.figure is not None else ():
        _check_label(sweep, "figure.methods", label, checker)
    return sweep


def _check_together(sweep: Sweep, checker: Checker) -> None:
    """Raise where two keys of a sweep do not go together."""
    if sweep.out is not None and sweep.until == "validate":
        raise checker.error(
            "out", "`out` is a page of held-out results, which `until: validate` has none of; drop either."
        )
    if sweep.figure is not None and sweep.until == "validate":
        raise checker.error(
            "figure", "`figure` is of held-out results, which `until: validate` has none of; drop either."
        )
    if sweep.leave_out == "pairs" and sweep.until == "validate":
        raise checker.error(
            "leave_out",
            "`leave_out: pairs` is for results on held-out domains, which `until: validate` has none of; drop either.",
        )
    others: dict[str, Mapping[str, object]] = {f"variants.{name}.set": one.set for name, one in sweep.variants.items()}
    others |= {f"conditions.{name}": one for name, one in sweep.conditions.items()}
    others |= {"random.ranges": sweep.random.ranges} if sweep.random is not None else {}
    for place, keys in others.items():
        for key in keys:
            if key in sweep.grid:
                text = f"`{key}` stands in `grid` and in `{place}`; take it out of one of them."
                raise checker.error(f"{place}.{key}", text)


def _check_label(sweep: Sweep, key: str, wanted: str, checker: Checker) -> None:
    """Raise where all labels are known, and none is that which a key names; values of a grid are part of a label."""
    rows = [one.rows for one in sweep.origins.values() if one.rows is not None]
    labels = list(dict.fromkeys(label for own in rows for label in own.values()))
    if len(rows) == len(sweep.origins) and not any(f"{wanted}, ".startswith(f"{label}, ") for label in labels):
        hint = did_you_mean(wanted, labels, f"there are {listed(labels)}.")
        raise checker.error(key, f"no variant's `rows` call a row `{excerpt(wanted)}`; {hint}")


def _figure(parts: Mapping[str, Any], conditions: Mapping[str, Any], checker: Checker) -> Figure:
    checker.keys(parts, Figure, "figure.")
    for key in ("out", "dials"):
        if key not in parts:
            raise checker.error("figure", f"`figure` lacks `{key}`; write `{{out: figure.svg, dials: {{...}}}}`.")
    checker.values(parts, Figure, "figure.")
    figure = Figure(**parts)
    if not figure.out.endswith(".svg"):
        raise checker.error("figure.out", f"`figure.out` is `{excerpt(figure.out)}`, but the image ends in `.svg`.")
    for dial, own in figure.dials.items():
        for name in own:
            if name not in conditions:
                hint = did_you_mean(name, conditions, f"there are {listed(list(conditions))}.")
                raise checker.error(f"figure.dials.{dial}", f"there is no condition `{excerpt(name)}`; {hint}")
    return figure


def _spread(values: dict[str, Any], place: str, checker: Checker) -> None:
    """Write out `held_out: all` and `seeds: 3` as lists, in place, and raise if one holds a value twice."""
    if isinstance(values.get("held_out"), str):
        values["held_out"] = [values["held_out"]]
    if isinstance(values.get("seeds"), int):
        values["seeds"] = list(range(values["seeds"]))
    for key in ("held_out", "seeds"):
        checker.once(values.get(key) or (), f"{place}{key}")


def _condition(settings: dict[str, Any], place: str, checker: Checker) -> None:
    """Check the settings of a condition, and write its own `held_out` out as a list, in place."""
    checker.settings({key: value for key, value in settings.items() if key != "held_out"}, place)
    if "held_out" in settings:
        checker.values({"held_out": settings["held_out"]}, Sweep, place)
        if not settings["held_out"]:
            raise checker.error(f"{place}held_out", f"`{place}held_out` must not be empty.")
        _spread(settings, place, checker)


def _variant(parts: Mapping[str, Any], place: str, checker: Checker) -> Variant:
    checker.keys(parts, Variant, place)
    if "recipe" not in parts:
        raise checker.error(place[:-1], f"`{place[:-1]}` lacks `recipe`, the recipe file that it starts from.")
    checker.values(parts, Variant, place)
    variant = Variant(**parts)
    _check_parts(variant, place, checker)
    return variant


def _check_parts(one: Variant | Include, place: str, checker: Checker) -> None:
    checker.settings(one.set, f"{place}set.")
    twice = [label for label, count in Counter((one.rows or {}).values()).items() if count > 1]
    if twice:
        raise checker.error(f"{place}rows", f"`{place}rows` gives the label `{twice[0]}` to two rows.")


def _include(parts: Mapping[str, Any], place: str, sweep: Mapping[str, Any], checker: Checker) -> Include:
    """Return an item of `include`; its name says whether it is a new variant."""
    checker.keys(parts, Include, place)
    if "variant" not in parts:
        raise checker.error(place[:-1], f"`{place[:-1]}` lacks `variant`, the name of a variant, new or known.")
    checker.values(parts, Include, place)
    values = dict(parts)
    _spread(values, place, checker)
    one = Include(**values)
    for key in ("held_out", "seeds"):
        if values.get(key) == []:
            text = f"`{place}{key}` is empty, so that nothing would be made; leave it out for that of the sweep."
            raise checker.error(f"{place}{key}", text)
    _check_parts(one, place, checker)
    known, conditions = sweep["variants"], sweep.get("conditions", {CLEAN: {}})
    if one.variant in known and one.recipe is not None:
        text = f"`{one.variant}` is one of `variants`, whose recipe it takes; leave `recipe` out, or give another name."
        raise checker.error(f"{place}recipe", text)
    if one.variant in known and one.rows is not None:
        text = f"`{place}rows` would not be used: the rows are those of the variant `{one.variant}`; leave it out."
        raise checker.error(f"{place}rows", text)
    if one.variant not in known and one.recipe is None:
        hint = did_you_mean(one.variant, known, f"there are {listed(list(known))}.")
        text = f"`{excerpt(one.variant)}` is not one of `variants`, and a new one needs `recipe`; {hint}"
        raise checker.error(f"{place}variant", text)
    if one.variant in known and not one.set and one.seeds is None and one.held_out is None:
        text = (
            f"`{place[:-1]}` repeats the variant `{one.variant}`; say under `set` what is different, or give it more "
            "`seeds` or `held_out`."
        )
        raise checker.error(place[:-1], text)
    for name in one.conditions or ():
        if name not in conditions:
            hint = did_you_mean(name, conditions, f"there are {listed(list(conditions))}.")
            raise checker.error(f"{place}conditions", f"there is no condition `{excerpt(name)}`; {hint}")
    return one


def _check_included(items: Sequence[Include], checker: Checker) -> None:
    """Raise where items of `include` give one name to new variants that differ."""
    first: dict[str, Include] = {}
    for place, one in enumerate(items):
        other = first.setdefault(one.variant, one)
        for key in ("recipe", "set", "rows") if one.recipe is not None else ():
            if getattr(one, key) != getattr(other, key):
                text = (
                    f"`include` has two variants `{one.variant}` that differ in `{key}`; give one of them another name."
                )
                raise checker.error(f"include.{place}.{key}", text)
