"""The rows of the table: what is done, to whom, at which size, and what must be reached."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.data import DIM, TOPICS, Where
from benchmarks.plan import Bound, Plan, Sizes, Spec, spaced
from benchmarks.subjects import (
    AIOSQLITE,
    BARE_FAISS,
    BARE_INT8,
    FTS5,
    IDLE,
    LANGGRAPH,
    LMDB_COMMIT,
    NUMPY,
    OUR_FAISS,
    OUR_IMPORTS,
    OUR_LMDB,
    OUR_MAPPED,
    OUR_RACE,
    OUR_RUNS,
    OUR_TEXTS,
    OUR_WINDOW,
    OURS,
    PEERS,
    TASK_GROUP,
    WRITE,
)
from benchmarks.workloads import Params

PUTS = "benchmarks.workloads.puts"
QUERIES = "benchmarks.workloads.queries"
LOOP = "benchmarks.workloads.loop"
TEXTS = "benchmarks.workloads.texts"
RUNS = "benchmarks.workloads.runs"
PROCESSES = "benchmarks.workloads.processes"
STORES = (OURS, OUR_LMDB)
EXACT = (OURS, OUR_WINDOW)


def plans(sizes: Sizes) -> list[Plan]:
    """Every plan at these sizes, in the order of the table."""
    scales = sizes.scales.items()
    return [
        *(lone_puts(sizes, name, lines) for name, lines in scales),
        task_puts(sizes),
        many_task_puts(sizes),
        busy_puts(sizes),
        growing_puts(sizes),
        bulk_puts(sizes),
        *(warm_queries(sizes, name, lines) for name, lines in scales),
        cold_queries(sizes),
        *filters(sizes),
        concurrent(sizes),
        reopen(sizes),
        reopen_killed(sizes),
        reopen_uncached(sizes),
        reopen_huge(sizes),
        ticker(sizes),
        imports(sizes),
        remembering(sizes),
        recalling(sizes),
        race(sizes),
        *runs(sizes),
    ]


def at_most(times: float, against: str, *of: str) -> Bound:
    """A figure in parts of another subject's."""
    return Bound(f"≤ {times:g} × {against}", times, of or (OURS,), (against,))


def at_least(times: float, against: str, *of: str) -> Bound:
    """A rate in parts of another subject's."""
    return Bound(f"≥ {times:g} × {against}", times, of or (OURS,), (against,), at_least=True)


def within(seconds: float, *of: str) -> Bound:
    """Seconds at most."""
    text = f"≤ {seconds:g} s" if seconds >= 1 else f"≤ {seconds * 1_000:g} ms"
    return Bound(text, seconds, of or (OURS,))


def rate(calls: float, *of: str) -> Bound:
    """Calls a second at least."""
    return Bound(f"≥ {spaced(calls)} /s", calls, of or (OURS,), at_least=True)


def lone_puts(sizes: Sizes, name: str, lines: int) -> Plan:
    """Puts of one caller into a filled store, beside what their bytes and their novelty take."""
    floor = Bound("≤ 1.3 × write+fdatasync + 200 µs", 1.3, (OURS,), (WRITE,), allowance=200e-6)
    grown = Bound(
        f"≤ 1.3 × (write+fdatasync + {BARE_INT8}) + 200 µs",
        1.3,
        EXACT,
        (WRITE, BARE_INT8),
        allowance=200e-6,
    )
    bounds = {
        "1k": (at_most(0.9, AIOSQLITE), floor, at_most(1.5, LMDB_COMMIT, OUR_LMDB)),
        "10k": (at_most(0.9, AIOSQLITE), floor, at_most(1.5, LMDB_COMMIT, OUR_LMDB)),
    }.get(name, (grown,))
    spec = Spec(f"put-{name}", f"durable put, {spaced(lines)} lines", "seconds", "s", bounds)
    params = Params(lines=lines, operations=sizes.puts, budget=sizes.budget)
    subjects = (*STORES, OUR_WINDOW, WRITE, LMDB_COMMIT, BARE_INT8, *PEERS)
    return Plan(f"{PUTS}:SerialPuts", params, subjects, (spec,), sizes.rounds, filled=True)


def task_puts(sizes: Sizes) -> Plan:
    """Puts of 64 tasks on a filled store."""
    what = f"64 tasks, {spaced(sizes.store)} lines"
    once = Bound("≤ 1", 1.0, (OURS,))
    budget = Bound("≤ 65 µs", 65e-6, (OURS,))
    fastest, ours = at_least(0.8, LANGGRAPH, *STORES), at_least(0.55, LANGGRAPH)
    specs = (
        Spec("tasks-10k", f"durable puts, {what}", "rate", "/s", (fastest, ours)),
        Spec("python", f"processor time a line, {what}", "processor", "s", (budget,)),
        Spec("syncs", f"fdatasync calls a batch, {what}", "syncs per batch", "", (once,)),
    )
    params = Params(lines=sizes.store, operations=sizes.task_puts, budget=sizes.budget)
    subjects = (*STORES, *PEERS)
    return Plan(f"{PUTS}:TaskPuts", params, subjects, specs, sizes.rounds, filled=True)


def many_task_puts(sizes: Sizes) -> Plan:
    """The same where novelty is the most of the work."""
    operation = f"durable puts, 64 tasks, {spaced(sizes.large)} lines"
    bounds = (rate(2_000, *STORES), rate(5_500, OUR_WINDOW))
    spec = Spec("tasks-100k", operation, "rate", "/s", bounds)
    params = replace(of_large(sizes), operations=sizes.task_puts)
    subjects = (*STORES, OUR_WINDOW, *PEERS)
    return Plan(f"{PUTS}:TaskPuts", params, subjects, (spec,), sizes.rounds, filled=True)


def busy_puts(sizes: Sizes) -> Plan:
    """The same while another process keeps a core busy: half of what must be reached without."""
    operation = f"the same, {spaced(sizes.store)} lines, beside a busy process"
    bounds = (at_least(0.4, LANGGRAPH, *STORES), at_least(0.275, LANGGRAPH))
    spec = Spec("tasks-busy", operation, "rate", "/s", bounds)
    params = Params(lines=sizes.store, operations=sizes.task_puts, budget=sizes.budget)
    subjects = (*STORES, LANGGRAPH)
    return Plan(f"{PUTS}:BusyTaskPuts", params, subjects, (spec,), sizes.rounds, filled=True)


def growing_puts(sizes: Sizes) -> Plan:
    """Puts of 64 tasks into an empty store."""
    operation = f"durable puts, 64 tasks, empty growing to {spaced(sizes.growing)}"
    bounds = (at_least(1.0, LANGGRAPH, *STORES), at_least(0.8, LANGGRAPH))
    spec = Spec("tasks-growing", operation, "rate", "/s", bounds)
    params = Params(operations=sizes.growing, budget=sizes.budget)
    subjects = (*STORES, *PEERS)
    return Plan(f"{PUTS}:GrowingPuts", params, subjects, (spec,), sizes.rounds)


def bulk_puts(sizes: Sizes) -> Plan:
    """The bulk way in, beside 64 tasks on the same store in the same round."""
    operation = f"many lines in one call, durable, {spaced(sizes.store)} lines"
    bound = Bound("≥ 2 × the 64 tasks", 2.0, STORES, figure="tasks", at_least=True)
    spec = Spec("put-many", operation, "rate", "/s", (bound,))
    params = Params(lines=sizes.store, operations=sizes.bulk, budget=sizes.budget)
    subjects = (*STORES, *PEERS)
    return Plan(f"{PUTS}:BulkPuts", params, subjects, (spec,), sizes.rounds, filled=True)


def warm_queries(sizes: Sizes, name: str, lines: int) -> Plan:
    """Queries of one task, whose lines were returned before, beside the bare products."""
    exact, near = (NUMPY,), (OUR_FAISS, BARE_FAISS)
    bounds: dict[str, tuple[Bound, ...]] = {
        "10k": (at_most(1.3, NUMPY),),
        "100k": (
            at_most(0.4, NUMPY),
            at_most(1.6, BARE_INT8),
            at_most(0.125, NUMPY, OUR_FAISS),
            at_most(1.6, BARE_FAISS, OUR_FAISS),
        ),
        "1m": (within(0.025, *EXACT), within(0.010, OUR_FAISS)),
    }
    # With fewer lines there are no codes yet.
    large = (OUR_WINDOW, OUR_MAPPED, *near) if lines >= sizes.store else ()
    operation = f"query p50, {spaced(lines)} lines, warm"
    spec = Spec(f"query-{name}", operation, "seconds", "s", bounds.get(name, ()))
    params = Params(lines=lines, operations=sizes.queries, budget=sizes.budget)
    subjects = (OURS, OUR_LMDB, *large, *exact, BARE_INT8, *PEERS)
    return Plan(f"{QUERIES}:WarmQueries", params, subjects, (spec,), sizes.rounds, filled=True)


def cold_queries(sizes: Sizes) -> Plan:
    """Queries whose lines were never read."""
    operation = f"query p50, {spaced(sizes.store)} lines, cold"
    spec = Spec("query-cold", operation, "seconds", "s", (at_most(3, NUMPY),))
    params = Params(lines=sizes.store, operations=sizes.queries, budget=sizes.budget)
    subjects = (*STORES, NUMPY, *PEERS)
    return Plan(f"{QUERIES}:ColdQueries", params, subjects, (spec,), sizes.rounds, filled=True)


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
        specs = (Spec(name, operation, "seconds", "s", (bound,)),)
        subjects = (OURS, OUR_FAISS, *PEERS)
        path = f"{QUERIES}:WarmQueries"
        made.append(Plan(path, params, subjects, specs, sizes.rounds, filled=True))
    return made


def concurrent(sizes: Sizes) -> Plan:
    """Many queries at once."""
    operation = f"64 concurrent queries, {spaced(sizes.large)} lines"
    bounds = (rate(2_000), rate(5_000, OUR_FAISS))
    spec = Spec("concurrent-queries", operation, "rate", "/s", bounds)
    params = replace(of_large(sizes), operations=sizes.concurrent)
    subjects = (OURS, OUR_FAISS, *PEERS)
    path = f"{QUERIES}:ConcurrentQueries"
    return Plan(path, params, subjects, (spec,), sizes.rounds, filled=True)


def reopen(sizes: Sizes) -> Plan:
    """Opening a large store that was closed, in a fresh process."""
    operation = f"reopen {spaced(sizes.large)} lines to the first answer, after a clean close"
    held = Bound(f"≤ 1.15 × the {4 * DIM} of the key", 1.15 * 4 * DIM, (OURS,))
    mapped = Bound(f"≤ {DIM + 180} B", DIM + 180, (OUR_MAPPED,))
    specs = (
        Spec("reopen", operation, "seconds", "s", (within(0.25),)),
        Spec("memory", "resident bytes a line after that", "memory", "B", (held, mapped)),
    )
    subjects = (*STORES, OUR_MAPPED, *PEERS)
    path = f"{PROCESSES}:Reopen"
    return Plan(path, of_large(sizes), subjects, specs, sizes.rounds, filled=True)


def reopen_killed(sizes: Sizes) -> Plan:
    """Opening a large store whose writer was killed, in a fresh process."""
    operation = f"reopen {spaced(sizes.large)} lines, after kill -9"
    spec = Spec("reopen-killed", operation, "seconds", "s", (within(0.35),))
    params = replace(of_large(sizes), operations=sizes.killed)
    path = f"{PROCESSES}:ReopenKilled"
    return Plan(path, params, (OURS,), (spec,), sizes.rounds, filled=True)


def reopen_uncached(sizes: Sizes) -> Plan:
    """Opening a large store without what can be made again from its records."""
    operation = f"reopen {spaced(sizes.large)} lines, without a cache"
    bounds = (within(3), within(1.5, OUR_LMDB))
    spec = Spec("reopen-uncached", operation, "seconds", "s", bounds)
    path = f"{PROCESSES}:ReopenUncached"
    return Plan(path, of_large(sizes), STORES, (spec,), sizes.rounds, filled=True)


def reopen_huge(sizes: Sizes) -> Plan:
    """Opening as many lines as a process is meant for."""
    operation = f"reopen {spaced(sizes.huge)} lines, after a clean close"
    spec = Spec("reopen-1m", operation, "seconds", "s", (within(2, *EXACT),))
    params = Params(lines=sizes.huge, budget=sizes.budget)
    path = f"{PROCESSES}:Reopen"
    return Plan(path, params, (*EXACT, *PEERS), (spec,), sizes.rounds, filled=True)


def ticker(sizes: Sizes) -> Plan:
    """How late a 1 ms ticker comes while 64 tasks work."""
    operation = f"latest tick of a 1 ms ticker, 64 tasks put and query, {spaced(sizes.store)} lines"
    spec = Spec("ticker", operation, "seconds", "s", (within(0.005), at_most(1.5, LANGGRAPH)))
    # More lines than a subject puts in that time.
    lines = int(8_000 * sizes.ticking)
    params = Params(lines=sizes.store, operations=lines, seconds=sizes.ticking)
    subjects = (OURS, IDLE, *PEERS)
    return Plan(f"{LOOP}:Ticker", params, subjects, (spec,), sizes.rounds, filled=True)


def imports(sizes: Sizes) -> Plan:
    """Importing the package beside importing what it stands on."""
    spec = Spec("import", "import", "seconds", "s", (at_most(1.3, OUR_IMPORTS),))
    subjects = (OURS, OUR_IMPORTS, *PEERS)
    rounds = max(sizes.imports, sizes.rounds)
    return Plan(f"{PROCESSES}:ImportTime", Params(), subjects, (spec,), rounds)


def remembering(sizes: Sizes) -> Plan:
    """Sentences remembered, vectors included, beside a full-text index that syncs once."""
    operation = f"remember {spaced(sizes.store)} sentences, durably"
    spec = Spec("remember", operation, "rate", "/s", (rate(2_000),))
    params = Params(operations=sizes.store)
    return Plan(f"{TEXTS}:Remembering", params, (OUR_TEXTS, FTS5), (spec,), sizes.rounds)


def recalling(sizes: Sizes) -> Plan:
    """Questions about sentences, by words and by what stands around them."""
    operation = f"recall p50, {spaced(sizes.large)} sentences, no model"
    spec = Spec("recall", operation, "seconds", "s", (within(0.004),))
    params = replace(of_large(sizes), operations=sizes.queries)
    return Plan(f"{TEXTS}:Recalling", params, (OUR_TEXTS, FTS5), (spec,), sizes.rounds)


def race(sizes: Sizes) -> Plan:
    """What a race costs beside the task group that it needs."""
    operation = "race of 8 trivial candidates, without the commit"
    spec = Spec("race", operation, "seconds", "s", (at_most(2.5, TASK_GROUP),))
    params = Params(operations=sizes.races, tasks=8, budget=sizes.budget)
    return Plan(f"{LOOP}:Races", params, (OUR_RACE, TASK_GROUP), (spec,), sizes.rounds)


def runs(sizes: Sizes) -> list[Plan]:
    """Runs of a controller with trivial steps."""
    commits = Bound("≤ 3 × its commits", 3.0, (OURS,), figure="commits")
    bare = Bound("≤ 1.5 × bare tasks", 1.5, (OURS,), figure="bare")
    many = f"latest tick of a 1 ms ticker, {spaced(sizes.runs)} runs at once"
    resumed = f"resume a run of {spaced(sizes.phases)} phases"
    cases = [
        ("Cycles", of(sizes.cycles), [
            Spec("cycle", "a cycle of trivial steps, durable", "cycle", "s", (commits,)),
        ]),
        ("ManyRuns", Params(tasks=sizes.runs), [
            Spec("many-runs", f"{many}, gc.freeze()", "frozen", "s", (within(0.010),)),
            Spec("many-runs-gc", many, "gc", "s", (bare,)),
        ]),
        ("Resume", of(sizes.phases), [
            Spec("resume", resumed, "seconds", "s", (within(1),)),
        ]),
        ("Hits", of(sizes.hits), [
            Spec("once", "hits of `once`", "rate", "/s", (rate(100_000),)),
        ]),
    ]  # fmt: skip
    return [
        Plan(f"{RUNS}:{workload}", params, (OUR_RUNS,), tuple(specs), sizes.rounds)
        for workload, params, specs in cases
    ]


def of(operations: int) -> Params:
    """The parameters of a workload of that many operations."""
    return Params(operations=operations)


def of_large(sizes: Sizes) -> Params:
    """The parameters that all workloads on the large store share."""
    return Params(lines=sizes.large, budget=sizes.budget)
