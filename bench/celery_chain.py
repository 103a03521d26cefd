"""The bare alternative: a Celery chain of two tasks that do nothing, on the same broker."""

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)


@app.task(queue="bench.generate")
def generate(n: int) -> int:
    """Stage A, doing nothing."""
    return n


@app.task(queue="bench.inspect")
def inspect(n: int) -> int:
    """Stage C, doing nothing."""
    return n
