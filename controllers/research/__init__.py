"""Questions over text memory: look-ups are planned and raced, and reflected on, until they rest."""

from .controller import ResearchController as ResearchController
from .controller import ResearchStoppedError as ResearchStoppedError
from .evidence import Evidence as Evidence
from .evidence import Finding as Finding
from .evidence import Found as Found
from .lookups import LookUps as LookUps

__all__ = ["Evidence", "Finding", "Found", "LookUps", "ResearchController", "ResearchStoppedError"]
