"""Find a class or a function by its name `module:Class`, in the package or among the user's own modules."""

import sys
from importlib import import_module
from typing import Any

from darkroom.errors import BadRequest
from darkroom.settings import settings


def load_class(name: str, field: str) -> type[Any]:
    """The class `name`, found as by `load`.

    Raises:
        BadRequest: as `load`, or it is no class.
    """
    found = load(name, field, "class")
    if not isinstance(found, type):
        raise BadRequest(f"{field}: {name} is not a class")
    return found


def load(name: str, field: str, kind: str) -> Any:
    """What `name` names; the folder `DARKROOM_CODE` is looked through last, so it hides nothing.

    Raises:
        BadRequest: there is no such module or name in it, or it is no Python; the message names `field`.
    """
    folder = str(settings().code)
    if folder not in sys.path:
        sys.path.append(folder)
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name not in (module, module.partition(".")[0]):
            raise BadRequest(f"{field}: {module} needs {error.name}, which is not installed") from error
        raise BadRequest(f"{field}: no module {module!r}, neither installed nor in {folder}") from error
    except SyntaxError as error:
        raise BadRequest(f"{field}: {error.filename}, line {error.lineno}: {error.msg}") from error
    except AttributeError as error:
        where = getattr(sys.modules.get(module), "__file__", None)
        raise BadRequest(f"{field}: no {kind} {attribute!r} in {where or module}") from error
