"""A parser that says what is wrong in one line, and which word may have been meant."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from ..base.process import report_problem

__all__ = ["CommandParser"]


class CommandParser(argparse.ArgumentParser):
    """The parser of the command or, made by it, of one of its commands."""

    given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments of this command alone, all of which it has to know."""
        self.given = sys.argv[1:] if args is None else list(args)
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Exit with one line instead of the usage, which is long."""
        meant = "".join(f"; did you mean {word}?" for word in self._meant(message))
        report_problem("error", f"{message}{meant} ({self.prog} --help shows more)")
        self.exit(2)

    def _meant(self, message: str) -> Iterator[str]:
        """Yield what is nearest to options that there are not, and to a choice that is refused."""
        options = [option for action in self._actions for option in action.option_strings]
        choices = [str(choice) for action in self._actions for choice in action.choices or ()]
        for word in self.given:
            name = word.partition("=")[0]
            if word.startswith("--") and not any(o.startswith(name) for o in options):
                yield from difflib.get_close_matches(name, options, 1)
            elif repr(word) in message:
                yield from difflib.get_close_matches(word, choices, 1)
