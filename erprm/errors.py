"""The two kinds of error that a user can put right.

The command line prints either as one line and exits with code 2; anything else is a bug and keeps its traceback.
"""

import importlib
import reprlib
from types import ModuleType


class InputError(ValueError):
    """Bad input: the message is one line that names the file, row or argument, what was expected and what came."""


class MissingExtraError(ImportError):
    """An optional package is not installed: the message is one line with the command that installs it."""


def shown(value: object) -> str:
    """The beginning of a value, for a message: of one that a few lines of YAML make without end, too."""
    return _SHORT.repr(value)[:80]


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def import_extra(module: str, extra: str) -> ModuleType:
    """Import `module`, which belongs to the optional dependency set `extra`.

    Raises:
        MissingExtraError: naming the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(f"{module} is not installed; install it with: pip install 'erprm[{extra}]'") from error
