"""`hamdg completion`: the script that lets a shell complete verbs, options, recipe keys and their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from hamdg import console
from hamdg.commands.method_options import all_options, merge_methods, options_of

SUMMARY = "print the script that lets bash, zsh or tcsh complete hamdg's arguments"
SHELLS = ("bash", "zsh", "tcsh")
_EPILOG = """\
To switch it on, once:
  bash   hamdg completion bash > ~/.local/share/bash-completion/completions/hamdg
  zsh    hamdg completion zsh > ~/.zfunc/_hamdg   (with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc)
  tcsh   hamdg completion tcsh > ~/.hamdg.tcsh    (with `source ~/.hamdg.tcsh` in ~/.tcshrc)
Or for this bash alone: source <(hamdg completion bash)
"""
# What arguments are, by how the help calls their values; a verb's own names come first.
_FILE, _FOLDER = "file", "directory"
_METAVARS = {
    "FILE": _FILE,
    "PATH": _FILE,
    "IMAGE": _FILE,
    "RUN": _FOLDER,
    "RUNS": _FOLDER,
    "FOLDER": _FOLDER,
    "ROOT": _FOLDER,
}
# Recipe keys whose values are paths.
_PATHS = {
    "data.root": _FOLDER,
    "data.cache": _FOLDER,
    "runtime.root": _FOLDER,
    "data.lists": _FILE,
    "model.weights": _FILE,
}
# What a run can stop after, with the algorithms that come with hamdg; asking them needs torch. Steps that are
# numbered, as those of soups, are left out.
STEPS = (
    "train",
    "common_start",
    "merge",
    "synthesize",
    "distill",
    "search",
    "features",
    "probe",
    "source",
    "adapt",
    "union",
    "starts",
    "readapt",
    "reestimate",
    "outputs",
    "match",
    "score",
    "validate",
    "evaluate",
)
# The verbs that repeat a part of a run, with the sections that change no other.
_REPEATED = {
    "merge": ("merge.", "evaluate.", "runtime.", "tracking."),
    "evaluate": ("evaluate.", "runtime.", "tracking."),
}
# The key below which a recipe has the options of its merge method.
_OPTIONS = "merge.options"
# YAML files and folders, beside the names that come with hamdg.
_PREAMBLE = {
    "bash": """\
_hamdg_files() {{ compgen -f -X '!*.yaml' -- "$1"; compgen -d -- "$1"; }}
_hamdg_recipes() {{ compgen -W "{recipes}" -- "$1"; _hamdg_files "$1"; }}
_hamdg_sweeps() {{ compgen -W "{sweeps}" -- "$1"; _hamdg_files "$1"; }}
""",
    "zsh": """\
_hamdg_recipes() {{ _alternative 'shipped:recipe:({recipes})' 'files:file:_files -g "*.yaml"' }}
_hamdg_sweeps() {{ _alternative 'shipped:sweep file:({sweeps})' 'files:file:_files -g "*.yaml"' }}
""",
}
# bash takes `--key=value` for three words; what shtab makes knows `--key value` alone.
_EQUALS = """
_hamdg_equals() {
  local i at=0 words=()
  for i in "${!COMP_WORDS[@]}"; do
    if [[ ${COMP_WORDS[i]} != "=" ]]; then words+=("${COMP_WORDS[i]}"); elif ((i == COMP_CWORD)); then words+=(""); fi
    ((i == COMP_CWORD)) && at=$((${#words[@]} - 1))
  done
  COMP_WORDS=("${words[@]}") COMP_CWORD=$at
  _shtab_hamdg "$1" "${words[at]}" "${words[at - 1]}"
  _hamdg_of_method "${words[@]}"
}
complete -o filenames -F _hamdg_equals hamdg
"""
# What shtab makes offers the options of all methods; of a method that is named before, only its own are left.
_OF_METHOD = """
_hamdg_of_method() {{
  local method="" own word i kept=()
  for ((i = 2; i < $#; i++)); do
    word=$((i + 1))
    if [[ ${{!i}} == --method || ${{!i}} == --merge.method ]]; then method=${{!word}}; fi
  done
  case $method in
{cases}
    *) return ;;
  esac
  for word in "${{COMPREPLY[@]}}"; do
    if [[ " {every} " != *" $word "* || " $own " == *" $word "* ]]; then kept+=("$word"); fi
  done
  COMPREPLY=("${{kept[@]}}")
}}
"""
_RECIPE = {"bash": "_hamdg_recipes", "zsh": "_hamdg_recipes", "tcsh": "f:*.yaml"}
_SWEEP = {"bash": "_hamdg_sweeps", "zsh": "_hamdg_sweeps", "tcsh": "f:*.yaml"}


def add_arguments(parser: argparse.ArgumentParser, build: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the arguments of the verb.

    Args:
        parser: The verb's parser.
        build: Makes the parser of the whole command line.
    """
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    parser.set_defaults(handler=partial(run, build=build))


def run(arguments: argparse.Namespace, build: Callable[[], argparse.ArgumentParser]) -> int:
    """Print the script and return the exit code."""
    console.result(script(build(), arguments.shell).rstrip())
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a shell's script for a parser, completed by all that is read without it: recipe keys above all."""
    import shtab

    from hamdg.config.shipped import shipped_names

    for verb, own in _verbs(parser):
        for name, values in _keys(verb).items():
            _add(own, name, values)
        _describe(verb, own)
    names = {"recipes": " ".join(shipped_names("recipe")), "sweeps": " ".join(shipped_names("sweep file"))}
    preamble = _PREAMBLE.get(shell, "").format(**names)
    return str(shtab.complete(parser, shell, preamble=preamble)) + (_of_method() + _EQUALS if shell == "bash" else "")


def _of_method() -> str:
    """Return the function of bash that leaves the options of one method, as flags and as keys."""
    spelled = {name: f"{_flag(name)} --{_OPTIONS}.{name}" for name in all_options()}
    cases = [
        f'    {method}) own="{" ".join(spelled[name] for name in options_of(method))}" ;;' for method in merge_methods()
    ]
    return _OF_METHOD.format(cases="\n".join(cases), every=" ".join(spelled.values()))


def _verbs(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every verb with its parser: `run`, `data list`, `data cache list`."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield f"{prefix}{name}", inner
                yield from _verbs(inner, f"{prefix}{name} ")


def _keys(verb: str) -> dict[str, Sequence[str] | str]:
    """Return the options of a verb that its parser does not know, with what their values can be: words, or a kind."""
    from hamdg.config.keys import known

    if verb in ("run", "data conflicts"):
        wanted = known()
    elif verb in _REPEATED:
        wanted = tuple(key for key in known() if key.startswith(_REPEATED[verb]))
    elif verb.startswith("data "):
        from hamdg.commands.data.verbs import recipe_keys

        own = recipe_keys(verb.removeprefix("data "))
        wanted = tuple(key for key in known() if key in own or key.startswith(tuple(f"{name}." for name in own)))
    else:
        wanted = ()
    found = {f"--{key}": _values(key) for key in wanted if key != _OPTIONS}
    if _OPTIONS in wanted:
        found |= {f"--{_OPTIONS}.{name}": choices for name, choices in all_options().items()}
    if verb == "run":
        found["--until"] = STEPS
    if verb == "merge":
        found |= {_flag(name): choices for name, choices in all_options().items()}
    return found | (_launcher_options() if verb in ("run", "sweep") else {})


def _flag(option: str) -> str:
    """Return how `hamdg merge --method` spells an option of a method."""
    return f"--{option.replace('_', '-')}"


def _values(key: str) -> Sequence[str] | str:
    from hamdg.config.keys import type_of
    from hamdg.values import choices, members

    if key in _PATHS:
        return _PATHS[key]
    kind, lists = type_of(key), _lists()
    if key in lists:
        return lists[key]()
    return choices(kind) or (("true", "false") if members(kind) == (bool,) else ())


def _lists() -> Mapping[str, Callable[[], Sequence[str]]]:
    """Return what gives the values of keys that are names of things."""
    from hamdg.config.algorithms import names as algorithms
    from hamdg.data.registry import benchmark, names

    return {
        "algorithm": algorithms,
        "benchmark": lambda: [*names(), "custom"],
        "held_out": lambda: list(dict.fromkeys(domain for name in names() for domain in benchmark(name).domains)),
        "merge.method": merge_methods,
        "model.name": lambda: ("mini-rn", "mini-vit", "ViT-B-16-quickgelu", "mini-resnet8", "timm/efficientnet_lite0"),
        "tracking.loggers": lambda: ("wandb", "tensorboard"),
    }


def _launcher_options() -> dict[str, Sequence[str] | str]:
    from hamdg.errors import ConfigError
    from hamdg.sweeps.launchers.choice import launcher_names, options_of
    from hamdg.values import choices

    found: dict[str, Sequence[str] | str] = {"--launcher": launcher_names()}
    for name in launcher_names():
        try:
            found |= {option.flag: choices(option.kind) for option in options_of(name)}
        except ConfigError:  # a broken package is reported where its launcher is used
            continue
    return found


def _add(parser: argparse.ArgumentParser, name: str, values: Sequence[str] | str) -> None:
    """Let an option complete to words, or to paths of a kind; it is added where the parser has none of that name."""
    action = next((one for one in parser._actions if name in one.option_strings), None)
    action = action or parser.add_argument(name, help=name)
    if isinstance(values, str):
        _complete(action, _paths(values))
    elif values:
        action.choices = list(values)


def _complete(action: argparse.Action, how: object) -> None:
    """Say to shtab what an argument completes to."""
    vars(action)["complete"] = how


def _paths(kind: str) -> object:
    import shtab

    return {_FILE: shtab.FILE, _FOLDER: shtab.DIRECTORY}[kind]


def _describe(verb: str, parser: argparse.ArgumentParser) -> None:
    """Let arguments whose values are files, folders or known names complete to them."""
    from hamdg.data.registry import names

    for action in parser._actions:
        metavar = str(action.metavar or "").removeprefix("[NAME=]")
        if (verb, metavar) == ("sweep", "FILE"):
            _complete(action, _SWEEP)
        elif metavar == "RECIPE":
            _complete(action, _RECIPE)
        elif metavar in _METAVARS:
            _complete(action, _paths(_METAVARS[metavar]))
        elif action.type is Path:
            _complete(action, _paths(_FILE))
        elif verb.startswith("data ") and action.dest == "benchmark":
            action.choices = [*names(), "custom"]
        elif verb == "merge" and {"--method", "--explain"} & set(action.option_strings):
            action.choices = merge_methods()
