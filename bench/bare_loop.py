"""The bare alternative to batches through a server: the shapes model in a loop, no server and no client.

`python -m bench.bare_loop` says `ready`; then each line `BATCH_SIZE BATCHES` on its input is answered with
the seconds that it took.
"""

import sys
import time

from bench.prompts import request
from darkroom.stages.generate import Generate


def main() -> None:
    """Answer until the input ends."""
    model = Generate()
    model.load()
    model.run([model.sample()])
    print("ready", flush=True)
    n = 0
    for line in sys.stdin:
        size, batches = map(int, line.split())
        begun = time.perf_counter()
        for _ in range(batches):
            model.run([request(n + i) for i in range(size)])
            n += size
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
