"""What is left of a run whose process is killed, after it is resumed in another."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from command import STARTED
from subjects import Subject

PLACES: Final = {
    "before-charge": "(a) in charge, before its effect",
    "after-charge": "(b) in charge, after its effect",
    "before-mail": "(c) in mail, before its effect",
    "after-mail": "(d) in mail, after its effect",
}
# At once: the step before returned a moment ago. Settled: long enough ago for any disk.
MOMENTS: Final = {"at once": {}, "settled": {"PAUSE": "0.05", "KILL_DELAY": "0.1"}}
RANDOM_PAUSE: Final = "0.02"


@dataclass(frozen=True)
class Left:
    """What became of a run: its effects, and why it was not resumed if it was not."""

    charges: int
    mails: int
    refusal: str | None

    @property
    def kind(self) -> str:
        """The outcome in a word or three."""
        if max(self.charges, self.mails) > 1:
            return "repeated"
        if self.charges and self.mails:
            return "once" if self.refusal is None else "once, refused"
        if self.refusal is None:
            return "lost"
        return "stuck halfway" if self.charges or self.mails else "stuck, nothing done"

    def __str__(self) -> str:
        verb = "resumes" if self.refusal is None else "refuses"
        return f"{verb}: {self.charges} charged, {self.mails} mailed"


class Victim:
    """A subject in one folder, with its store already made by a run that nobody kills."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._subject, self._folder = subject, folder
        self._effects = folder / "effects"
        self.seconds = self._lifetime()

    def killed_at(self, place: str, moment: str, run: str) -> Left:
        """Kills a new run at a place and resumes it."""
        process = self._started(run, KILL_AT=place, **MOMENTS[moment])
        process.communicate()
        return self._resumed(run)

    def killed_after(self, seconds: float, run: str) -> Left | None:
        """Kills a new run that long after it began, and resumes it; None if it was done by then."""
        process = self._started(run, PAUSE=RANDOM_PAUSE)
        time.sleep(seconds)
        process.kill()
        amount, _ = process.communicate()
        return None if amount else self._resumed(run)

    def _lifetime(self) -> float:
        """Seconds from the start of a run to its end, in a process of its own."""
        self._started("warm-up").communicate()
        process = self._started("lifetime", PAUSE=RANDOM_PAUSE)
        begun = time.perf_counter()
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - begun
        process.communicate()
        return seconds

    def _started(self, run: str, **settings: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._subject.agent("run", run, self._folder),
            env=self._subject.environment(EFFECTS=str(self._effects), **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == STARTED
        return process

    def _resumed(self, run: str) -> Left:
        done = subprocess.run(
            self._subject.agent("resume", run, self._folder),
            env=self._subject.environment(EFFECTS=str(self._effects)),
            check=False,
            capture_output=True,
            text=True,
        )
        lines = Counter(self._effects.read_text().splitlines())
        refusal = done.stderr.strip().splitlines()[-1] if done.returncode else None
        return Left(lines[f"charge {run}"], lines[f"mail {run}"], refusal)


def placed(victim: Victim, times: int) -> dict[str, dict[str, list[Left]]]:
    """Kills at every place and moment."""
    return {
        place: {
            moment: [
                victim.killed_at(place, moment, f"{place}-{moment.replace(' ', '-')}-{number}")
                for number in range(times)
            ]
            for moment in MOMENTS
        }
        for place in PLACES
    }


def at_random(victim: Victim, times: int, seed: int = 1) -> list[Left]:
    """Kills at times drawn over a run's length; runs that were done by then are drawn again."""
    draw = random.Random(seed)  # times, not secrets
    found: list[Left] = []
    for number in range(10 * times):
        left = victim.killed_after(draw.uniform(0, victim.seconds), f"random-{number}")
        if left is not None:
            found.append(left)
        if len(found) == times:
            break
    return found
