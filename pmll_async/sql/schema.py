"""The tables and views that a state of a lattice is asked by."""

from __future__ import annotations

from typing import Final

_LINES: Final = """
create table lines (
    anchor varchar not null,
    prev_anchor varchar not null,
    position bigint,
    kind varchar not null,
    status varchar not null,
    "time" timestamptz,
    committed_at timestamptz,
    context json,
    run varchar,
    stage varchar,
    source varchar,
    novelty double,
    similarity double,
    strength double not null,
    record bigint not null,
    place integer not null{vectors}
)
"""
_VECTORS: Final = """,
    key float[{dim}],
    value {value}"""

FILL_LINES: Final = """
insert into lines
select
    anchor, prev_anchor, position, kind, status, to_timestamp("time"), to_timestamp(committed_at),
    context::json,
    context::json -> 'pmll' ->> 'run',
    context::json -> 'pmll' ->> 'stage',
    context::json -> 'pmll' -> 'source' ->> 'principal',
    novelty, similarity, strength, record, place{vectors}
from batch
"""
VECTORS_OF_BATCH: Final = ", key, value"

FILL_SCORES: Final = "insert into scores select * from batch"

_OTHERS: Final = (
    """
create table scores (
    record bigint not null,
    name varchar not null,
    outcome varchar not null,
    score double,
    anchor varchar,
    error varchar,
    message varchar
)
""",
    """
create table state (
    revision bigint not null, now timestamptz not null, tau double not null, dim bigint not null
)
""",
    """
create view chain as
select * from lines where position is not null order by position
""",
    # Novelty wanders from line to line; of 32 together it shows whether there is anything new.
    """
create view freshness as
select
    position, anchor, "time", strength, similarity, novelty,
    avg(novelty) over (
        order by position rows between 31 preceding and current row
    ) as rolling_novelty,
    least(1.0, exp(-(epoch(now) - epoch("time")) / tau)) as recency
from lines, state
where kind = 'line' and position is not null and status <> 'erased'
order by position
""",
    """
create view topics_by_hour as
select
    context ->> 'topic' as topic, date_trunc('hour', "time") as hour,
    count(*) as lines, avg(novelty) as novelty, avg(strength) as strength
from lines
where position is not null and context ->> 'topic' is not null
group by all
order by hour, topic
""",
    """
create view races as
select
    won.record, won.committed_at,
    won.anchor as winner, won_score.name as winner_name, won_score.score as winner_score,
    won.context as winner_context, won.strength as winner_strength,
    lost.anchor as loser, lost_score.name as loser_name, lost_score.score as loser_score,
    lost.context as loser_context, lost.strength as loser_strength
from (select distinct record from scores) as race
join lines as won on won.record = race.record and won.place = 0
left join lines as lost on lost.record = race.record and lost.place > 0
left join scores as won_score on won_score.record = won.record and won_score.anchor = won.anchor
left join scores as lost_score
    on lost_score.record = lost.record and lost_score.anchor = lost.anchor
order by won.record, lost.place
""",
)


def schema_of(dim: int, value_dim: int, *, vectors: bool) -> list[str]:
    """The statements that make everything, for keys and values of these dimensions."""
    # There is no array of no numbers.
    value = f"float[{value_dim}]" if value_dim else "float[]"
    columns = _VECTORS.format(dim=dim, value=value) if vectors else ""
    return [_LINES.format(vectors=columns), *_OTHERS]
