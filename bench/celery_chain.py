"""The bare alternative: a Celery chain of two tasks that do nothing, on the same broker.

`BENCH_BROKER=redis://... python -m bench.celery_chain ITEMS` prints the chains per second. It is a process of
its own because Celery's results unsubscribe themselves when it ends, which must be while the broker is up.
"""

import os
import subprocess
import sys
import time

from celery import Celery, chain

app = Celery("bench.celery_chain", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)


@app.task(name="generate", queue="bench.generate")
def generate(n: int) -> int:
    """Stage A, doing nothing."""
    return n


@app.task(name="inspect", queue="bench.inspect")
def inspect(n: int) -> int:
    """Stage C, doing nothing."""
    return n


def main(items: int) -> float:
    """Start two workers of two processes each, send the chains, wait for all; chains per second."""
    command = [sys.executable, "-m", "celery", "-A", "bench.celery_chain", "worker", "-c", "2"]
    workers = [
        subprocess.Popen([*command, "-Q", f"bench.{stage}", "-n", f"{stage}@bench"], stdout=sys.stderr)
        for stage in ("generate", "inspect")
    ]
    try:
        until = time.monotonic() + 60
        while len(app.control.ping(timeout=1)) < len(workers):
            if time.monotonic() > until:
                raise SystemExit("the Celery workers did not start")
        chain(generate.s(0), inspect.s()).apply_async().get(timeout=60)
        begun = time.monotonic()
        results = [chain(generate.s(n), inspect.s()).apply_async() for n in range(items)]
        for result in results:
            result.get(timeout=300)
        return items / (time.monotonic() - begun)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(timeout=30)


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
