"""The commands with their options and exit statuses, from the command line itself."""

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from cyclopts import App

from experiments.cli import app
from tests.pages.text import head, item, paragraph, plain

_SAYS = """`pinlab COMMAND --help` prints the same. Results go to stdout, all else to stderr.
`--json` prints one JSON document and nothing else; `--quiet` keeps stderr free of all but
errors; `--seed` decides every random draw."""

_STATUS_SAYS = """The exit status tells a script what came of a command."""

_STATUSES = {
    0: "The command has done what was asked, and nothing came out otherwise than expected.",
    1: "The answer is no: an outcome is not the expected one, something differs, fails or is "
    "missing. Each command below says what.",
    2: "The input cannot be used. One line on stderr says what is wrong and what would be right.",
    130: "The command was interrupted by Ctrl-C.",
}
_COMMON = ("--json", "--quiet", "--seed")


def commands_page() -> str:
    """The page, as docs/reference/commands.md has it."""
    return "\n".join([head("Commands", _SAYS, "the command line"), *_commands()])


def exit_status_page() -> str:
    """The page, as docs/reference/exit-status.md has it."""
    lines = [head("Exit status", _STATUS_SAYS, "the command line")]
    lines += [item(f"{status}: {meaning}") for status, meaning in _STATUSES.items()]
    lines.append("\n## By command\n")
    for name, command in _named():
        does, *others = _text(command).removesuffix(".").split(". ")
        told = [sentence for sentence in others if "exit status" in sentence] or [_ALWAYS]
        lines.append(item(f"`pinlab {name}`: {'. '.join([does, *told])}."))
    return "\n".join([*lines, ""])


_ALWAYS = "The exit status is 0 once that is done, whatever came out"


def _named() -> Iterator[tuple[str, App]]:
    for name in sorted(name for name in app if not name.startswith("-")):
        yield name, app[name]


def _text(command: App) -> str:
    """What the command does, without its parameters."""
    documented = inspect.getdoc(command.default_command) or ""
    return " ".join(plain(documented.partition("\nParameters\n")[0]).split())


def _commands() -> Iterator[str]:
    for name, command in _named():
        shown = [a for a in command.assemble_argument_collection(parse_docstring=True) if a.show]
        places = " ".join(_placed(a) for a in shown if a.index is not None)
        yield f"## `pinlab {name} {places}`\n"
        yield paragraph(_text(command)) + "\n"
        for argument in shown:
            if argument.name not in _COMMON or argument.name == "--seed":
                yield item(_told(argument))
        yield ""


def _placed(argument: Any) -> str:
    name = argument.parameter.metavar or argument.name
    optional = argument.field_info.default is not inspect.Parameter.empty
    many = argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL
    return f"[{name}]" if optional else f"{name}..." if many else str(name)


def _told(argument: Any) -> str:
    default = argument.field_info.default
    has = default not in (inspect.Parameter.empty, None, False, ())
    by_default = f" By default {default}." if has else ""
    if argument.index is not None:
        return f"`{_placed(argument)}`: {plain(argument.parameter.help or '')}{by_default}"
    takes = argument.parameter.metavar or _taken(argument.hint)
    written = f"{argument.name} {takes}".strip()
    return f"`{written}`: {plain(argument.parameter.help or '')}{by_default}"


def _taken(hint: Any) -> str:
    words = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
    if words:
        return "|".join(get_args(words[0]))
    named = {"bool": "", "Path": "PATH", "int": "N", "float": "NUMBER"}
    parts = [hint, *get_args(hint)]
    return next((named[p.__name__] for p in parts if getattr(p, "__name__", "") in named), "TEXT")
