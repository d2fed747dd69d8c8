"""Many calls of one compiled function, whose programs are compiled in parallel."""

import os
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax


def call_each(jitted: Any, static: int, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The results of calls in order, while the programs of later ones are compiled.

    Args:
        jitted: a function under `jax.jit`.
        static: how many arguments, the first ones, are static.
        calls: arguments of each call.

    Returns:
        A result for each.

    >>> import jax
    >>> call_each(jax.jit(jax.numpy.negative), 0, [(1.0,), (2.0,)])[1].item()
    -2.0
    """
    if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves([c[static:] for c in calls])):
        return [jitted(*arguments) for arguments in calls]
    # XLA compiles without the interpreter's lock; what is compiled ahead, the call finds.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        programs: dict[Hashable, Future[Any]] = {}
        pending = []
        for arguments in calls:
            kind = (*arguments[:static], *map(jax.typeof, jax.tree.leaves(arguments[static:])))
            if kind not in programs:
                programs[kind] = pool.submit(jitted.lower(*arguments).compile)
            pending.append(programs[kind])
        results = []
        for arguments, program in zip(calls, pending, strict=True):
            program.result()
            results.append(jitted(*arguments))
        return results
    finally:
        pool.shutdown(cancel_futures=True)
