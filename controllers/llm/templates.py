"""The prompts: one Markdown file each in the folder `prompts`, where ``$name`` is a field."""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import Final

_FILES: Final = files(__package__).joinpath("prompts")
# They are read with the module, because steps run on an event loop, which must not wait for a disk.
_PROMPTS: Final = {
    file.name.removesuffix(".md"): Template(file.read_text(encoding="utf-8").strip())
    for file in _FILES.iterdir()
    if file.name.endswith(".md")
}


def prompt(name: str, **fields: object) -> str:
    """The prompt of that name with its fields filled in; what is filled in is not looked into.

    `LookupError` for a prompt that there is not, or a field that it needs.
    """
    if name not in _PROMPTS:
        raise LookupError(f"there is no prompt {name!r}; there are {', '.join(sorted(_PROMPTS))}")
    return _PROMPTS[name].substitute({key: str(field) for key, field in fields.items()})
