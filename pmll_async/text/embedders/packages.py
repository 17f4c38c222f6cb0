"""What embedders read of installed packages, without running them."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path


def read_data(module: str, path: str, sha256: str) -> bytes:
    """The contents of a file beside a top-level module; `ImportError` if they are not those."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"{module} is not installed any more", name=module)
    file = Path(spec.origin).parent / path
    contents = file.read_bytes()
    # Other weights under the same id would make vectors that do not compare.
    if hashlib.sha256(contents).hexdigest() != sha256:
        raise ImportError(
            f"{file} is not the file that the vectors are named after: install the version of "
            f"{module} that pmll-async names",
            name=module,
        )
    return contents
