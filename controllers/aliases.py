"""One set of modules under two names: `controllers`, and `pmll_controllers`, which is ours alone.

The modules bear the second name, for an application may have a `controllers` of its own, which must
find its place free whenever it comes. Where `controllers` is ours, it and all below it are aliases.
Both are folders of what is installed, a link in a checkout, so that type checkers find either.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final

_ALIAS: Final = "controllers"
_NAME: Final = "pmll_controllers"


class _Aliases(MetaPathFinder, Loader):
    """Finds ``controllers.x`` to be ``pmll_controllers.x``, while `controllers` is ours."""

    def find_spec(self, fullname: str, *_path_and_target: object) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        is_ours = sys.modules.get(_ALIAS) is sys.modules.get(_NAME, self)
        # `python -m` runs a file, and wants no module of it.
        if package != _ALIAS or not is_ours or rest.endswith("__main__"):
            return None
        found = find_spec(f"{_NAME}.{rest}")
        return None if found is None else ModuleSpec(fullname, self, origin=found.origin)

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's own, which is replaced at once."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = import_module(_NAME + name.removeprefix(_ALIAS))


ALIASES: Final = _Aliases()


def share() -> None:
    """Make `controllers` another name of `pmll_controllers`, if that is the one installed with it.

    A copy of the folder alone keeps its name, and its classes to itself.
    """
    spec = find_spec(_NAME)
    if spec is None or spec.origin is None or _home(spec.origin) != _home(__file__):
        return
    ours = sys.modules[_ALIAS] = import_module(_NAME)
    # This very module was loaded under the alias, before there was one.
    del sys.modules[__name__]
    aliases = import_module(f"{ours.__name__}.aliases").ALIASES
    if aliases not in sys.meta_path:
        sys.meta_path.insert(0, aliases)


def _home(file: str) -> Path:
    return Path(file).parent.parent.resolve()
