"""Each example runs by itself, in an empty folder, and prints what its reader should see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_support import ROOT, script, script_from_nothing

OUTPUTS = {
    "quickstart": r"""
Anchor A: [0-9a-f]{16}
Queried 1 memory lines\.
Bias Vector: \[-?\d\.\d{3}(, -?\d\.\d{3}){3}, \.\.\.\]
""",
    "race": r"""
short_answer: 0\.\d{3}
full_answer: 0\.\d{3}
Winner: water boils at 100 degrees Celsius at sea level
Branch of strength 0\.5: water boils at 100 degrees
Lines on the chain: 1
""",
    "own_steps": r"""
done after \d cycles: it is 37
planned: between \d+ and \d+
(planned: between \d+ and \d+
)*planned: between 1 and 100
""",
    "crash_and_resume": r"""
the first process ended with -9
order-17 was interrupted
done: 4200 cents; \['charged', 'mailed'\]
""",
    "time_travel": r"""
Now: Ada drinks coffee now
At [0-9a-f]{16}: Ada drinks tea
After the rollback: Ada drinks tea
Off the chain: Ada drinks coffee now, position None
""",
    "sealed_memory": r"""
Seal 1 of 1 record, ed25519
Seal 2: that Ada may not is proven to who has it: True
Every byte is what was written: clean
It is what was sealed: False
  the log has 1 records where 2 were sealed: it was cut off or replaced by an older one
""",
    "erased_memory": r"""
Files that have her number: [1-9]
To be erased: 1 line
Files that have her number: 0
Asked for it: the content of line [0-9a-f]{16} was erased
Before, it knew: \['I take the late train on Fridays\.'\]
As it was sealed: True; erased: True
""",
    "encrypted_memory": r"""
The files say so: False
The old passphrase opens nothing any more
Recalled: The door code is 4711
""",
    "chat_memory": r"""
(Monday, Ann: .*
Monday, agent: I will remember that\.
){3}Tuesday, Ann: When does the train to Oslo leave\?
Tuesday, agent: You told me: The train to Oslo leaves on Friday at nine\.
Tuesday, Ann: What does my sister Judith play\?
Tuesday, agent: You told me: My sister Judith plays the cello in an orchestra in Leipzig\.
Tuesday, Ann: What did the dentist say about my sister\?
Tuesday, agent: You have not told me\.
""",
    "dated_notes": r"""
Now: Ben lives in Tromsø, in a house\.
Before: Ben lives in Bergen, in a flat\.
In March: Ben had his knee operated on\.
The newest notes:
  01 June: Ben lives in Tromsø, in a house\.
  12 May: The van passed its inspection\.
4 notes, of which [0-9a-f]{16} replaced [0-9a-f]{16}
""",
    "from_mem0": r"""
2 lines after 2 records
2 lines after 2 records
3 lines after 3 records
Recalled: Gave up the accordion and is learning to play the cello
""",
    "from_zep": r"""
2 new messages, 3 records
0 new messages, 3 records
Recalled: Maya works at Northlight
Recalled: I started at Northlight yesterday, and the commute is only ten minutes\.
""",
    "research": r"""
Ann: I borrowed a book by Sigrid Undset\.
  in as_asked, .*said_by_the_named.*
Ann: Hi! I have read Middlemarch at last\.
  in as_asked, .*said_by_the_named.*
done after 2 cycles: Middlemarch and one by Sigrid Undset\.
planned: looking for [a-z, ]+
planned: looking for books, reading; Ann named
""",
    "tool_agent": r"""
done after 3 turns: Five packets of tea are ordered; there is sugar, and nobody knows of rum\.
remembered: order\(count=5, item="tea"\) → "5 ordered"
journaled:  \{'arguments': \{'count': 5, 'item': 'tea'\}, 'tool': 'order', 'value': '5 ordered'\}
""",
    "many_lines": r"""
Stored 10000 lines\.
Their topics: \[21\]
Codes found (9|10) of the best 10\.
""",
    "quarantined_page": r"""
While it is held back: the owner
Once it is released: (the owner, )?example\.org \(trust 0\.2\)(, the owner)?
For whom it is not enough: the owner
With the agent's note: .*agent \(trust 0\.2\).*
  agent \(trust 0\.2\): shown
  example\.org \(trust 0\.2\): shown
Marks that the page has in it: 0
Once the site is revoked: the owner
Still on the chain: The number of the help desk is 555-0199\.
""",
    "two_agents": r"""
planner found: the key is under the mat
scout came too late: the head is [0-9a-f]{16}
""",
}


EXTRAS = {"many_lines": {"lmdb": "lmdb", "faiss": "faiss"}}


# They need torch, and so are run by tests/models.
WITH_MODELS = {"logits_bias", "nano_gpt", "overlay", "trm_puzzles", "whole_loop"}


def test_every_example_is_known() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(OUTPUTS) | WITH_MODELS


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    for package, extra in EXTRAS.get(name, {}).items():
        pytest.importorskip(package, reason=f"{package} missing: pip install 'pmll-async[{extra}]'")
    program = ROOT / "examples" / f"{name}.py"
    assert len(program.read_text(encoding="utf-8").splitlines()) < 60
    run = script_from_nothing if name == "quickstart" else script
    done = run(program, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(OUTPUTS[name].lstrip(), done.stdout), done.stdout
    assert list(tmp_path.iterdir()) == []
