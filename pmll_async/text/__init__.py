"""Text: remember sentences and recall them; embedders that turn sentences into key vectors."""

from pmll_async.text.context import ReadyContext as ReadyContext
from pmll_async.text.embedders.hashing import FUNCTION_WORDS as FUNCTION_WORDS
from pmll_async.text.embedders.hashing import HashingEmbedder as HashingEmbedder
from pmll_async.text.embedders.hashing import stem as stem
from pmll_async.text.embedders.hashing import words as words
from pmll_async.text.facts import Consolidated as Consolidated
from pmll_async.text.facts import Fact as Fact
from pmll_async.text.facts import KeptBack as KeptBack
from pmll_async.text.facts import is_supported as is_supported
from pmll_async.text.memory import TextMemory as TextMemory
from pmll_async.text.memory import TextView as TextView
from pmll_async.text.memory import TextWriter as TextWriter
from pmll_async.text.presets import ASSISTANT as ASSISTANT
from pmll_async.text.presets import DIALOGUE as DIALOGUE
from pmll_async.text.presets import NOTES as NOTES
from pmll_async.text.presets import Part as Part
from pmll_async.text.presets import Preset as Preset
from pmll_async.text.results import Duplicate as Duplicate
from pmll_async.text.results import Recollection as Recollection
from pmll_async.text.results import Stored as Stored
from pmll_async.text.results import Utterance as Utterance
from pmll_async.text.scorers import Scorer as Scorer
from pmll_async.text.search import Search as Search

__all__ = [
    "ASSISTANT",
    "DIALOGUE",
    "FUNCTION_WORDS",
    "NOTES",
    "Consolidated",
    "Duplicate",
    "Fact",
    "HashingEmbedder",
    "KeptBack",
    "Part",
    "Preset",
    "ReadyContext",
    "Recollection",
    "Scorer",
    "Search",
    "Stored",
    "TextMemory",
    "TextView",
    "TextWriter",
    "Utterance",
    "is_supported",
    "stem",
    "words",
]
