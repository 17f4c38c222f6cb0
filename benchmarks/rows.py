"""The rows of the table: what is done, to whom, at which size, and what must be reached."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.data import TOPICS, Where
from benchmarks.subjects import (
    BARE_FAISS,
    FTS5,
    OUR_FAISS,
    OUR_LMDB,
    OUR_RACE,
    OUR_RUNS,
    OUR_TEXTS,
    OURS,
    PEERS,
)
from benchmarks.workloads import Params

ITSELF = "itself"
PUTS = "benchmarks.workloads.puts"
QUERIES = "benchmarks.workloads.queries"
LOOP = "benchmarks.workloads.loop"
TEXTS = "benchmarks.workloads.texts"
RUNS = "benchmarks.workloads.runs"
PROCESSES = "benchmarks.workloads.processes"
LIBRARIES = tuple(name for name in PEERS if name != "json file")


@dataclass(frozen=True)
class Sizes:
    """How much of everything: the full sizes are the ones that the requirements name."""

    store: int = 10_000
    large: int = 100_000
    growing: int = 2_000
    puts: int = 200
    task_puts: int = 1_280
    queries: int = 200
    concurrent: int = 256
    races: int = 50
    killed: int = 1_000
    cycles: int = 200
    phases: int = 10_000
    runs: int = 1_000
    hits: int = 200_000
    ticking: float = 1.0
    budget: float = 2.0
    rounds: int = 5
    imports: int = 11


QUICK = Sizes(
    store=500,
    large=1_000,
    growing=128,
    puts=20,
    task_puts=128,
    queries=20,
    concurrent=64,
    races=10,
    killed=100,
    cycles=10,
    phases=60,
    runs=10,
    hits=1_000,
    ticking=0.2,
    budget=0.1,
    rounds=1,
    imports=1,
)


@dataclass(frozen=True)
class Requirement:
    """A bound on the ratio, or on the figure itself where nothing is compared.

    `allowance` is taken off our figure before it is divided: what may be added to the floor.
    """

    text: str
    limit: float
    at_least: bool = False
    allowance: float = 0.0

    def met(self, score: float) -> bool:
        """Whether a score is within the bound."""
        return score >= self.limit if self.at_least else score <= self.limit


@dataclass(frozen=True)
class Spec:
    """One line of the table for every subject of a plan: a figure, and what it is divided by."""

    operation: str
    figure: str
    unit: str
    requirement: Requirement
    against: str | None = None
    divisor: str | None = None


@dataclass(frozen=True)
class Plan:
    """One workload on several subjects, interleaved round by round; the first subject is ours."""

    name: str
    workload: str
    params: Params
    subjects: tuple[str, ...]
    specs: tuple[Spec, ...]
    rounds: int
    filled: bool = False


def at_most(times: float) -> Requirement:
    return Requirement(f"≤ {times:g} ×", times)


def at_least(times: float) -> Requirement:
    return Requirement(f"≥ {times:g} ×", times, at_least=True)


def within(seconds: float) -> Requirement:
    return Requirement(f"≤ {seconds * 1_000:g} ms", seconds)


def spaced(number: int) -> str:
    """A number in groups of three digits, as in "10 000"."""
    return f"{number:,}".replace(",", " ")


def plans(sizes: Sizes) -> list[Plan]:
    """Every plan at these sizes, in the order of the table."""
    return [
        durable_put(sizes),
        task_puts(sizes),
        growing_puts(sizes),
        *lmdb(sizes),
        *queries(sizes),
        *large_queries(sizes),
        *filters(sizes),
        concurrent(sizes),
        race(sizes),
        reopen(sizes),
        reopen_killed(sizes),
        imports(sizes),
        ticker(sizes),
        remembering(sizes),
        recalling(sizes),
        *runs(sizes),
    ]


def durable_put(sizes: Sizes) -> Plan:
    """Puts of one caller beside the bare write and sync of their bytes."""
    total = spaced(sizes.puts * sizes.rounds)
    bound = Requirement("≤ 1.3 × + 150 µs", 1.3, allowance=150e-6)
    spec = Spec(f"durable put, one caller, {total} lines", "seconds", "s", bound, "write+fdatasync")
    params = Params(operations=sizes.puts, budget=sizes.budget)
    subjects = (OURS, "write+fdatasync", *PEERS)
    return Plan("durable-put", f"{PUTS}:SerialPuts", params, subjects, (spec,), sizes.rounds)


def lmdb(sizes: Sizes) -> list[Plan]:
    """The LMDB store beside a bare commit of as many bytes, and beside the JSONL store."""
    put, tasks, reopening = (
        Spec("durable put into LMDB", "seconds", "s", at_most(1.5), "lmdb commit"),
        Spec("durable puts into LMDB, 64 tasks", "rate", "/s", at_least(0.5), OURS),
        Spec("reopen an LMDB store to the first answer", "seconds", "s", at_most(2), OURS),
    )
    one = Params(operations=sizes.puts, budget=sizes.budget)
    many = Params(lines=sizes.store, operations=sizes.task_puts, budget=sizes.budget)
    floor, both = (OUR_LMDB, "lmdb commit"), (OUR_LMDB, OURS)
    path = f"{PROCESSES}:Reopen"
    return [
        Plan("lmdb-put", f"{PUTS}:SerialPuts", one, floor, (put,), sizes.rounds),
        Plan("lmdb-tasks", f"{PUTS}:TaskPuts", many, both, (tasks,), sizes.rounds, filled=True),
        Plan("lmdb-reopen", path, of_large(sizes), both, (reopening,), sizes.rounds, filled=True),
    ]


def task_puts(sizes: Sizes) -> Plan:
    """Puts of 64 tasks on a filled store; the JSON file would take minutes a round."""
    what = f"64 tasks, {spaced(sizes.store)} lines"
    once = Requirement("≤ 1 a batch", 1.0)
    specs = (
        Spec(f"durable puts, {what}", "rate", "/s", at_least(0.5), "langgraph"),
        Spec(f"fdatasync calls a batch, {what}", "syncs per batch", "", once),
    )
    params = Params(lines=sizes.store, operations=sizes.task_puts, budget=sizes.budget)
    return Plan(
        "task-puts",
        f"{PUTS}:TaskPuts",
        params,
        (OURS, *LIBRARIES),
        specs,
        sizes.rounds,
        filled=True,
    )


def growing_puts(sizes: Sizes) -> Plan:
    """Puts of 64 tasks into an empty store."""
    operation = f"durable puts, 64 tasks, empty growing to {spaced(sizes.growing)}"
    spec = Spec(operation, "rate", "/s", at_least(1.5), "langgraph")
    params = Params(operations=sizes.growing, budget=sizes.budget)
    return Plan(
        "growing-puts", f"{PUTS}:GrowingPuts", params, (OURS, *PEERS), (spec,), sizes.rounds
    )


def queries(sizes: Sizes) -> list[Plan]:
    """Queries of one task, warm and cold, beside the bare product."""
    params = Params(lines=sizes.store, operations=sizes.queries, budget=sizes.budget)
    cases = [
        ("query-warm", "WarmQueries", "warm", at_most(1.7), (OURS, "numpy", *PEERS)),
        ("query-cold", "ColdQueries", "cold", at_most(3), (OURS, "numpy")),
    ]
    made = []
    for name, workload, state, bound, subjects in cases:
        operation = f"query p50, {spaced(sizes.store)} lines, {state}"
        specs = (Spec(operation, "seconds", "s", bound, "numpy"),)
        path = f"{QUERIES}:{workload}"
        made.append(Plan(name, path, params, subjects, specs, sizes.rounds, filled=True))
    return made


def large_queries(sizes: Sizes) -> list[Plan]:
    """Queries of one task over many lines: exact, and with an approximate index."""
    params = replace(of_large(sizes), operations=sizes.queries)
    cases = [
        ("query-large", "exact", at_most(0.4), (OURS, "numpy")),
        ("query-approximate", "approximate", at_most(0.125), (OUR_FAISS, "numpy", BARE_FAISS)),
    ]
    made = []
    for name, kind, bound, subjects in cases:
        operation = f"query p50, {spaced(sizes.large)} lines, warm, {kind}"
        specs = (Spec(operation, "seconds", "s", bound, "numpy"),)
        path = f"{QUERIES}:WarmQueries"
        made.append(Plan(name, path, params, subjects, specs, sizes.rounds, filled=True))
    return made


def filters(sizes: Sizes) -> list[Plan]:
    """Filtered queries: an equality for 1 line in `TOPICS`, and a range that half of them meet."""
    equal = Where("topic", "eq", "topic-7")
    beyond = Where("step", "gte", sizes.large // 2)
    cases = [
        ("filter-equal", equal, f"equality filter matching {100 // TOPICS} %", within(0.005)),
        ("filter-range", beyond, "range filter matching 50 %", within(0.050)),
    ]
    made = []
    for name, where, words, bound in cases:
        params = replace(of_large(sizes), operations=sizes.queries, where=where)
        operation = f"query p50, {words}, {spaced(sizes.large)} lines"
        specs = (Spec(operation, "seconds", "s", bound),)
        path = f"{QUERIES}:WarmQueries"
        made.append(Plan(name, path, params, (OURS, *PEERS), specs, sizes.rounds, filled=True))
    return made


def concurrent(sizes: Sizes) -> Plan:
    """Many queries at once against the same queries one by one."""
    operation = f"64 concurrent queries, {spaced(sizes.large)} lines"
    specs = (Spec(operation, "rate", "/s", at_least(5), ITSELF, "one by one"),)
    params = replace(of_large(sizes), operations=sizes.concurrent)
    path = f"{QUERIES}:ConcurrentQueries"
    return Plan(
        "concurrent-queries", path, params, (OURS, *PEERS), specs, sizes.rounds, filled=True
    )


def race(sizes: Sizes) -> Plan:
    """What a race costs beside the task group that it needs."""
    operation = "race of 8 trivial candidates, without the commit"
    specs = (Spec(operation, "seconds", "s", at_most(2.5), "anyio task group"),)
    params = Params(operations=sizes.races, tasks=8, budget=sizes.budget)
    subjects = (OUR_RACE, "anyio task group")
    return Plan("race", f"{LOOP}:Races", params, subjects, specs, sizes.rounds)


def reopen(sizes: Sizes) -> Plan:
    """Opening a large store that was closed, in a fresh process."""
    operation = f"reopen {spaced(sizes.large)} lines to the first answer, after a clean close"
    specs = (
        Spec(operation, "seconds", "s", within(0.35)),
        Spec("resident memory after that, over the float32 keys", "memory", "×", at_most(1.15)),
    )
    path = f"{PROCESSES}:Reopen"
    return Plan("reopen", path, of_large(sizes), (OURS, *PEERS), specs, sizes.rounds, filled=True)


def reopen_killed(sizes: Sizes) -> Plan:
    """Opening a large store whose writer was killed, in a fresh process."""
    operation = f"reopen {spaced(sizes.large)} lines to the first answer, after kill -9"
    specs = (Spec(operation, "seconds", "s", within(0.35)),)
    params = replace(of_large(sizes), operations=sizes.killed)
    path = f"{PROCESSES}:ReopenKilled"
    return Plan("reopen-killed", path, params, (OURS,), specs, sizes.rounds, filled=True)


def imports(sizes: Sizes) -> Plan:
    """Importing the package beside importing what it stands on."""
    specs = (Spec("import", "seconds", "s", at_most(1.15), "its imports"),)
    subjects = (OURS, "its imports", *LIBRARIES)
    rounds = max(sizes.imports, sizes.rounds)
    return Plan("import", f"{PROCESSES}:ImportTime", Params(), subjects, specs, rounds)


def ticker(sizes: Sizes) -> Plan:
    """How late a 1 ms ticker comes while 64 tasks work."""
    operation = f"lateness of a 1 ms ticker, 64 tasks put and query, {spaced(sizes.store)} lines"
    specs = (Spec(operation, "seconds", "s", within(0.005)),)
    # More lines than a subject puts in that time.
    lines = int(8_000 * sizes.ticking)
    params = Params(lines=sizes.store, operations=lines, seconds=sizes.ticking)
    subjects = (OURS, "idle loop", *LIBRARIES)
    return Plan("ticker", f"{LOOP}:Ticker", params, subjects, specs, sizes.rounds, filled=True)


def remembering(sizes: Sizes) -> Plan:
    """Sentences remembered, vectors included, beside a full-text index that syncs once."""
    bound = Requirement("≥ 2 000 /s", 2_000, at_least=True)
    specs = (Spec(f"remember {spaced(sizes.store)} sentences, durably", "rate", "/s", bound),)
    params = Params(operations=sizes.store)
    subjects = (OUR_TEXTS, FTS5)
    return Plan("remember", f"{TEXTS}:Remembering", params, subjects, specs, sizes.rounds)


def recalling(sizes: Sizes) -> Plan:
    """Questions about sentences, by words and by what stands around them."""
    specs = (Spec(f"recall p50, {spaced(sizes.large)} sentences", "seconds", "s", within(0.005)),)
    params = replace(of_large(sizes), operations=sizes.queries)
    subjects = (OUR_TEXTS, FTS5)
    return Plan("recall", f"{TEXTS}:Recalling", params, subjects, specs, sizes.rounds)


def runs(sizes: Sizes) -> list[Plan]:
    """Runs of a controller with trivial steps."""
    cycle = Spec(
        "a cycle of trivial steps, over its 3 durable commits alone",
        "cycle",
        "s",
        at_most(3),
        ITSELF,
        "commits",
    )
    many = f"lateness of a 1 ms ticker, {spaced(sizes.runs)} runs at once, "
    late = [
        Spec(f"{many}without the garbage collector", "late", "s", within(0.01)),
        Spec(f"{many}with it", "gc", "s", within(0.01)),
    ]
    resume = Spec(f"resume a run of {spaced(sizes.phases)} phases", "seconds", "s", within(1))
    hit = Requirement("≥ 100 000 /s", 100_000, at_least=True)
    once = Spec("hits of `once`", "rate", "/s", hit)
    subjects = (OUR_RUNS,)
    at_once = Params(tasks=sizes.runs)
    return [
        Plan("cycle", f"{RUNS}:Cycles", of(sizes.cycles), subjects, (cycle,), sizes.rounds),
        Plan("many-runs", f"{RUNS}:ManyRuns", at_once, subjects, (*late,), sizes.rounds),
        Plan("resume", f"{RUNS}:Resume", of(sizes.phases), subjects, (resume,), sizes.rounds),
        Plan("once", f"{RUNS}:Hits", of(sizes.hits), subjects, (once,), sizes.rounds),
    ]


def of(operations: int) -> Params:
    """The parameters of a workload of that many operations."""
    return Params(operations=operations)


def of_large(sizes: Sizes) -> Params:
    """The parameters that all workloads on the large store share."""
    return Params(lines=sizes.large, budget=sizes.budget)
