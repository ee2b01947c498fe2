"""The options of the library's merge methods, read off their files: importing them needs torch, which takes seconds."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import hamdg

_ROOT = Path(hamdg.__file__).parent.parent
_METHODS = _ROOT / "hamdg" / "merge" / "methods"
_SWITCH = ("true", "false")

# What each option of a method can be; nothing where that is not one of a few words.
Options = Mapping[str, tuple[str, ...]]


def merge_methods() -> list[str]:
    """Return the names of the library's merge methods, each of which is a file."""
    return sorted(path.stem for path in _METHODS.glob("[!_]*.py"))


def options_of(method: str) -> Options:
    """Return the options of a method: the keyword-only parameters of the function that has its name."""
    path = _METHODS / f"{method}.py"
    (function,) = (one for one in _parsed(path).body if isinstance(one, ast.FunctionDef) and one.name == method)
    arguments = function.args.kwonlyargs
    return {one.arg: tuple(_choices(path, one.annotation)) for one in arguments if one.annotation is not None}


def all_options() -> Options:
    """Return the options of all methods; one that several have can be what it can be for any of them."""
    found: dict[str, dict[str, None]] = {}
    for method in merge_methods():
        for name, choices in options_of(method).items():
            found.setdefault(name, {}).update(dict.fromkeys(choices))
    return {name: tuple(choices) for name, choices in sorted(found.items())}


def _choices(path: Path, annotation: ast.expr) -> Iterator[str]:
    """Yield the words that an annotation of a file allows."""
    match annotation:
        case ast.Name("bool"):
            yield from _SWITCH
        case ast.Name(name):
            yield from _named(path, name)
        case ast.Subscript(ast.Name("Literal"), inner):
            words = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            yield from (str(one.value) for one in words if isinstance(one, ast.Constant))
        case ast.BinOp(left, ast.BitOr(), right):
            for one in (left, right):
                yield from _choices(path, one)


def _named(path: Path, name: str) -> Iterator[str]:
    """Yield the words that a type allows which a file defines, or imports from another of hamdg's."""
    for statement in _parsed(path).body:
        match statement:
            case ast.Assign([ast.Name(target)], value) if target == name:
                yield from _choices(path, value)
            case ast.ImportFrom(str(module), names) if any((one.asname or one.name) == name for one in names):
                if (file := (_ROOT / module.replace(".", "/")).with_suffix(".py")).is_file():
                    yield from _named(file, name)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
