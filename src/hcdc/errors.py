"""Every error that `hcdc` raises on purpose.

```
HcdcError
├── InputError          an argument breaks a rule: names it, its value, the rule and the remedy
│   ├── DataError       the data given cannot be condensed as it is
│   └── SpaceError      a configuration or a search space does not fit
├── FormatError         a file is not what it claims to be (truncated, edited, foreign)
├── RunExistsError      the output directory already holds a run
├── MissingExtraError   an optional dependency is needed and absent
├── ModelError          a model or loss of the user's own raised; the original, traceback included, is its cause
└── ConvergenceError    a solver stopped before its answer could be trusted
```
"""

from __future__ import annotations

import pathlib
import traceback


class HcdcError(Exception):
    """Root of all errors raised by `hcdc`; the command line turns it into one line and exit code 2."""


class InputError(HcdcError, ValueError):
    """An argument breaks a rule.

    The message reads "`argument` = value: rule; remedy", so that one line is enough to mend the call.
    """

    def __init__(self, argument: str, value: object, rule: str, remedy: str) -> None:
        self.argument, self.value, self.rule, self.remedy = argument, value, rule, remedy
        super().__init__(f"`{argument}` = {_short(value)}: {rule}; {remedy}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str, str]]:
        return type(self), (self.argument, self.value, self.rule, self.remedy)


class DataError(InputError):
    """The data given cannot be condensed as it is."""


class SpaceError(InputError):
    """A configuration or a search space does not fit."""


class FormatError(HcdcError):
    """A file is not what it claims to be: truncated, edited or written by something else.

    What a damaged file makes a reader say can be as long as the file: the middle of a long message is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= 800 else f"{message[:500]} … {message[-250:]}")


class RunExistsError(HcdcError):
    """The output directory already holds a run; nothing was overwritten."""


class MissingExtraError(HcdcError, ImportError):
    """An optional dependency is absent; the message holds the pip line that adds it."""

    def __init__(self, module: str, extra: str) -> None:
        self.module, self.extra = module, extra
        super().__init__(f"`{module}` is needed here and is not installed: in the folder of hcdc, pip install -e '.[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.module, self.extra)


class ModelError(HcdcError):
    """A model or loss of the user's own raised; the original is kept, with its traceback, as `__cause__`."""

    @classmethod
    def of(cls, what: str, error: BaseException, called: str = "") -> ModelError:
        """Of the user's `what`, naming the innermost line outside of libraries, and how it was `called` where it does not take that."""
        how = f"; it is called as {called}" if called and isinstance(error, TypeError) else ""
        return cls(f"your `{what}` raised {type(error).__name__}{_place(error)}: {error}{how}")


class ConvergenceError(HcdcError):
    """A solver stopped before its answer could be trusted; the message states cause and remedy."""


PACKAGE = pathlib.Path(__file__).parent
"""Where our own lines are; a user's folder may have the same name."""


def _place(error: BaseException) -> str:
    """The innermost line outside of libraries, where there is one."""
    places = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and not pathlib.Path(frame.filename).is_relative_to(PACKAGE)
    ]
    return f" at {pathlib.Path(places[-1].filename).name}, line {places[-1].lineno}" if places else ""


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
