"""Text: embedders that turn sentences into key vectors."""

from pmll_async.text.hashing import FUNCTION_WORDS as FUNCTION_WORDS
from pmll_async.text.hashing import HashingEmbedder as HashingEmbedder
from pmll_async.text.hashing import stem as stem
from pmll_async.text.hashing import words as words

__all__ = ["FUNCTION_WORDS", "HashingEmbedder", "stem", "words"]
