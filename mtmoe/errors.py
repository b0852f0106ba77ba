"""The one exception that a user reads."""

from __future__ import annotations

from typing import Any


class UserError(Exception):
    """Something that the user can put right: a path, a line of text, a setting.

    ``problem`` says what is wrong and where (file, line or key, and the value found);
    ``fix`` says what to do about it. Only the command line turns it into a message and
    an exit status; misuse of the Python API raises ``ValueError`` instead.
    """

    def __init__(self, problem: str, *, fix: str = "") -> None:
        super().__init__(f"{problem}\n{fix}" if fix else problem)
        self.problem = problem
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send their errors home pickled; the keyword argument must survive.
        return (_rebuild, (self.problem, self.fix))


class Unreachable(UserError):
    """What has to be fetched cannot be had from here: no network, or no such thing there."""


class Warned(UserWarning):
    """Something that the user should look at, but that stops no work. The command line shows its text as a warning."""


def _rebuild(problem: str, fix: str) -> UserError:
    return UserError(problem, fix=fix)
