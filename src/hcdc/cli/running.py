"""What `hcdc run` does: one file for condensing, searching and judging."""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

from hcdc.cli.answers import Answer
from hcdc.errors import FormatError, InputError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Command = Callable[..., Callable[[], Answer]]
"""A function of the command line: its flags in, the work that they ask for out, not yet done."""

FIRST = "condense"
ELSEWHERE = {"folder", "resume", "dry_run"}
"""Parameters that no section has: where the artefact is, which `out` says, and what is said of one run alone."""


def run(file: Path, commands: Mapping[str, Command], *, resume: bool = False, dry_run: bool = False) -> Callable[[], Answer]:
    """The work of the sections of `file`, each checked now, as far as that is possible without data.

    The first section makes the artefact in its `out`, the others work on it. Raises `FormatError` for a file that is not
    TOML, `InputError` naming the key for one that a section has not, or whose value the flag would not take.
    """
    sections = read(file, commands)
    out = sections[FIRST].get("out")
    if out is None:
        raise InputError(f"{FIRST}.out", None, "must be given", f"add a line out = ... below [{FIRST}]")
    work = {FIRST: commands[FIRST](**sections[FIRST], resume=resume, dry_run=dry_run)}
    for name in [section for section in sections if section != FIRST]:
        more = {"resume": resume} if "resume" in inspect.signature(commands[name]).parameters else {}
        work[name] = commands[name](folder=out, **sections[name], **more)
    return lambda: _done({FIRST: work[FIRST]} if dry_run else work)


def _done(work: Mapping[str, Callable[[], Answer]]) -> Answer:
    facts, lines = dict[str, Any](), list[str]()
    for name, do in work.items():
        answer = do()
        facts[name] = answer.facts
        lines += [f"[{name}]", *answer.lines]
    return Answer(facts, tuple(lines))


def read(file: Path, commands: Mapping[str, Command]) -> dict[str, dict[str, Any]]:
    """The arguments of every section of `file`, defaults left out: these stay with the commands.

    Keys are the flags without their dashes, the argument DATA is `data`. What all commands take may stand above the
    sections, for all of them.
    """
    document = _document(file)
    known = {name: set(names(command)) for name, command in commands.items()}
    common = set.intersection(*known.values())
    for key, value in document.items():
        if key not in commands and key not in common:
            _unknown(key, value, "the file", [*commands, *sorted(common)])
        if key in commands and not isinstance(value, dict):
            raise InputError(key, value, "must be a section", f"write [{key}], and its keys below")
    if FIRST not in document:
        raise InputError("FILE", str(file), f"must have a section [{FIRST}]", f"write [{FIRST}] with data, size and out below")
    above = {key: value for key, value in document.items() if key in common}
    return {name: _checked(name, commands[name], above, document[name]) for name in commands if name in document}


def names(command: Command) -> dict[str, inspect.Parameter]:
    """The parameters of `command` by the keys that a file has for them."""
    parameters = inspect.signature(command).parameters.values()
    return {each.name.replace("_", "-"): each for each in parameters if each.name not in ELSEWHERE}


def _document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError("FILE", str(file), f"cannot be read: {error.strerror}", "give the path of a TOML file") from error
    except ValueError as error:
        raise FormatError(f"{file} is not TOML ({error}); see https://toml.io") from error


def _checked(name: str, command: Command, above: Mapping[str, Any], section: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are given, converted; types are those of the command's own parameters."""
    from pydantic import ValidationError

    try:
        # JSON, in whose strict mode a path is a string and nothing else is taken for another type.
        found = _schema(name, command).model_validate_json(json.dumps({**above, **section}, default=str))
    except ValidationError as error:
        _refuse(error, name, section, list(names(command)))
    return {field: getattr(found, field) for field in found.model_fields_set}


def _schema(name: str, command: Command) -> type[BaseModel]:
    from pydantic import ConfigDict, Field, create_model

    hints = get_type_hints(command)
    fields: dict[str, Any] = {}
    for key, each in names(command).items():
        fields[each.name] = (hints[each.name], Field(... if each.default is each.empty else each.default, alias=key))
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _refuse(error: ValidationError, name: str, section: Mapping[str, Any], known: list[str]) -> NoReturn:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join([name, *path] if path[0] in section or first["type"] == "missing" else path)
    if first["type"] == "extra_forbidden":
        _unknown(key, first["input"], f"[{name}]", known)
    if first["type"] == "missing":
        raise InputError(key, None, "must be given", f"add a line {path[0]} = ... below [{name}]") from error
    raise InputError(key, first["input"], first["msg"].replace("Input should be", "must be"), f"see `hcdc {name} --help`") from error


def _unknown(key: str, value: Any, where: str, known: list[str]) -> NoReturn:
    near = get_close_matches(key.rpartition(".")[2], known, 1)
    remedy = f"did you mean {near[0]}?" if near else "leave it out"
    raise InputError(key, value, f"is no key of {where}, which has {', '.join(known)}", remedy) from None
