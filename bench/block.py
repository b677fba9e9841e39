"""A block: one or two fresh workers alive at once that take turns at bursts, and the records that come of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from bench import affinity
from bench.cell import Cell
from bench.member import Context, Ended, Member
from bench.plan import Block
from bench.record import Record

#: A process takes at least so many bursts, however slow: from them its median.
FEWEST_BURSTS = 3

#: How long the worker that had its turn needs to fall asleep. OpenMP's threads spin for up to 10 ms after their work
#: and, of torch with 16 threads, took 2.7 cores from the other side's burst of 50 ms (seen beside an H100).
SETTLE_S = 0.02


def run_block(block: Block, name: str, context: Context, processes: Sequence[int] | None = None) -> list[Record]:
    """Run one block to its records, one per cell; a member that fails costs the others nothing.

    ``name`` is the block's id in the records; ``processes`` numbers the members, by default all as the block's.
    """
    numbers = processes or [block.process] * len(block.cells)
    members = [Member(cell, name, number, context) for cell, number in zip(block.cells, numbers, strict=True)]
    order = random.Random(f"{context.seed}/{name}")
    try:
        # Nothing is timed yet: all import at once.
        _each(members, Member.spawn)
        _each(members, Member.open)
        cpu = _shared_cpu(block.cells, context, order)
        if cpu is not None:
            _each(members, partial(Member.stay_on, cpu=cpu))
        _each(members, Member.prepare)
        for number in range(context.profile.bursts):
            if number >= FEWEST_BURSTS and max(m.burst_ns for m in members) > context.profile.bursts_ns:
                break
            turn = list(members)
            order.shuffle(turn)
            if cpu is not None:
                _interleaved(turn, context.profile.turn)
            else:
                _each(turn, Member.turn if len(members) == 1 else _settled_turn)
        _each(members, Member.complete)
    finally:
        for member in members:
            member.close()
    return [member.record() for member in members]


def _shared_cpu(cells: Sequence[Cell], context: Context, order: random.Random) -> int | None:
    """The CPU for both sides of a comparison on one thread, a random one in each block; None: it is none."""
    alone = context.threads == 1 and all(cell.device == "cpu" for cell in cells)
    cpus = affinity.usable_cpus() if alone and len(cells) > 1 else []
    return order.choice(cpus) if cpus else None


def _interleaved(members: Sequence[Member], bursts: int) -> None:
    """A turn of every member, burst by burst in turn: whoever has one thread falls asleep at once.

    What a core is worth is another thing 50 ms later, so the other side's burst should be next, not six bursts away.
    """
    for taken in range(1, bursts + 1):
        _each(members, Member.burst)
        if all(member.turn_is_over(taken) for member in members if member.outcome is None):
            break


def _settled_turn(member: Member) -> None:
    time.sleep(SETTLE_S)
    member.turn()


def _each(members: Sequence[Member], action: Callable[[Member], object]) -> None:
    """Do ``action`` with every member that has no outcome yet."""
    for member in members:
        if member.outcome is None:
            try:
                action(member)
            except Ended:
                continue
