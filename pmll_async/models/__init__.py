"""Models: memory that changes what a language model says, and a small model to see it with.

Takes lattices and text memories by their public names, and never the engine. Needs
``pip install 'pmll-async[models]'``. What computes does so in worker threads.
"""

from typing import TYPE_CHECKING

from pmll_async.lazy import lazily
from pmll_async.values.extras import require

require("models", "torch", "transformers")

if TYPE_CHECKING:
    from pmll_async.models.adapters import AdapterRecord as AdapterRecord
    from pmll_async.models.adapters import AdapterReport as AdapterReport
    from pmll_async.models.adapters import Overlay as Overlay
    from pmll_async.models.adapters import load_overlay as load_overlay
    from pmll_async.models.adapters import verify_adapter as verify_adapter
    from pmll_async.models.bias import Alpha as Alpha
    from pmll_async.models.bias import Bias as Bias
    from pmll_async.models.bias import LogitsBias as LogitsBias
    from pmll_async.models.bias import hidden_bias as hidden_bias
    from pmll_async.models.bias import token_bias as token_bias
    from pmll_async.models.bias import vocabulary_bias as vocabulary_bias
    from pmll_async.models.fitting import fit_overlay as fit_overlay
    from pmll_async.models.generation import generate as generate
    from pmll_async.models.generation import sample as sample
    from pmll_async.models.knn import KnnMemory as KnnMemory
    from pmll_async.models.knn import KnnScores as KnnScores
    from pmll_async.models.nano import Characters as Characters
    from pmll_async.models.nano import NanoConfig as NanoConfig
    from pmll_async.models.nano import NanoGPT as NanoGPT
    from pmll_async.models.nano import library_text as library_text
    from pmll_async.models.nano import train as train
    from pmll_async.models.overlay import overlay_from_bias as overlay_from_bias
    from pmll_async.models.recalled import HiddenRefresh as HiddenRefresh
    from pmll_async.models.recalled import TokenCounts as TokenCounts
    from pmll_async.models.recalled import bias_for as bias_for
    from pmll_async.models.recalled import corrections as corrections
    from pmll_async.models.recalled import token_counts as token_counts
    from pmll_async.models.targets import untie as untie
    from pmll_async.models.trm import TRM as TRM
    from pmll_async.models.trm import Thought as Thought
    from pmll_async.models.trm import TRMConfig as TRMConfig
    from pmll_async.models.trm import load_trm as load_trm
    from pmll_async.models.trm import save_trm as save_trm
    from pmll_async.models.trm import train_trm as train_trm
else:
    _HOMES = {
        "adapters": "AdapterRecord AdapterReport Overlay load_overlay verify_adapter",
        "bias": "Alpha Bias LogitsBias hidden_bias token_bias vocabulary_bias",
        "fitting": "fit_overlay",
        "generation": "generate sample",
        "knn": "KnnMemory KnnScores",
        "nano": "Characters NanoConfig NanoGPT library_text train",
        "overlay": "overlay_from_bias",
        "recalled": "HiddenRefresh TokenCounts bias_for corrections token_counts",
        "targets": "untie",
        "trm": "TRM Thought TRMConfig load_trm save_trm train_trm",
    }
    __getattr__ = lazily(
        __name__,
        {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names.split()},
    )
