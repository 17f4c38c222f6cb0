"""The agents that are compared, and how their processes are started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SETTINGS = ("EFFECTS", "PAUSE", "KILL_AT", "KILL_DELAY", "DURABILITY")


@dataclass(frozen=True)
class Subject:
    """One column: an agent's module in one setting. `killed` says whether it is worth killing."""

    name: str
    module: str
    settings: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    killed: bool = True

    def command(self, script: str, *arguments: str) -> list[str]:
        """The command line of a script of this folder in the subject's interpreter."""
        return [self.python, str(HERE / script), *arguments]

    def agent(self, verb: str, run: str, folder: Path) -> list[str]:
        """The command line of the agent itself."""
        return self.command(f"{self.module}.py", verb, run, str(folder))

    def environment(self, **settings: str) -> dict[str, str]:
        """This process's environment, with the subject's settings and these, and no others."""
        inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        return inherited | dict(self.settings) | settings


SUBJECTS = (
    Subject("pmll-async controllers", "agent_controllers"),
    Subject("LangGraph functional, sync", "agent_langgraph", {"DURABILITY": "sync"}),
    Subject("LangGraph functional, async (default)", "agent_langgraph", {"DURABILITY": "async"}),
    Subject("LangGraph StateGraph, sync", "agent_langgraph_graph", {"DURABILITY": "sync"}),
    Subject("LangGraph functional, exit", "agent_langgraph", {"DURABILITY": "exit"}, killed=False),
    Subject("pydantic-graph 1 + FileStatePersistence", "agent_pydantic_graph"),
    Subject("pydantic-graph 2 (no persistence)", "agent_pydantic_graph2", killed=False),
)


def output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the command prints; `CalledProcessError` if it fails."""
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout
