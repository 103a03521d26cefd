"""A fleet as an event loop: the real planner and leftovers rule over servers that only count down work.

Simulated are lanes that share their server, the gap between two chunks of a lane, shards that start one after
the other, rounds for what is left over, time budgets, and machines that change, die or come late.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from bench.simulated_world import ITEM_S, STAGE, Case, Job, Look, Outcome, Server, World, fluid_s
from darkroom.plans.planning import Params, shards, time_budget_s
from darkroom.views.forecast import forecast

LAST_ROUND_FOR_UNDONE = 5
"""So often what is undone is cut again."""
LOOKS = (0.1, 0.5, 0.9)
"""At these shares of the items a forecast is made."""


class Fleet:
    """One batch on one fleet, from its start to its last item."""

    def __init__(
        self, items: int, speeds: Sequence[float], case: Case, victim: int, params: Params,
        seed: int, world: World | None = None,
    ) -> None:  # fmt: skip
        """Take what `run` needs.

        Args:
            items: in the batch.
            speeds: of the machines.
            case: what happens.
            victim: to which machine.
            params: of the plan.
            seed: of everything random.
            world: what it runs in.
        """
        self.items, self.case, self.params, self.world = items, case, params, world or World()
        self.random = random.Random(seed)
        self.servers = [Server(str(n), speed, [None] * STAGE.lanes_per_server)
                        for n, speed in enumerate(speeds)]  # fmt: skip
        self.victim = self.servers[victim]
        self.victim.at_work = not case.comes_late
        self.capacity = [(0.0, sum(server.speed for server in self.servers if server.at_work))]
        self.ideal_s = items * ITEM_S / sum(speeds)
        self.now_s, self.next_start_s = 0.0, 0.0
        self.waiting: deque[Job] = deque()
        self.shards_left: deque[list[Job]] = deque()
        self.shard_starting = False
        self.idle: deque[tuple[Server, int]] = deque()
        self.open = self.left = self.finished = 0
        self.useful = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.looks = deque(LOOKS)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Until all items have an outcome, or no round is left for them."""
        self._begin_round(self.items)
        for server in self.servers:
            self._free_all(server)
        if self.case.has_victim:
            self._at(0.3 * self.ideal_s, self._join if self.case.comes_late else self._change)
        self._look()
        while not self.outcome.makespan_s:
            self.now_s, _, happen = heapq.heappop(self.events)
            happen()
        self.outcome.bound_s = fluid_s(self.useful, self.capacity)
        return self.outcome

    def _at(self, when_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when_s, next(self.order), happen))

    # Rounds and shards

    def _begin_round(self, items: int) -> None:
        params = self.params
        jobs = [self._cut(size) for size in params.sizes(items)]
        self.shards_left = deque([jobs[n] for n in run] for run in shards(len(jobs), params.shard_chunks))
        self.outcome.chunks += len(jobs)
        self.outcome.runs += len(self.shards_left)
        self.outcome.rounds += 1
        self.open, self.left = len(jobs), 0
        self._begin_shard()

    def _cut(self, items: int) -> Job:
        """A chunk: a sum of `items` gamma-distributed times; an item that fails is tried three times."""
        variance = self.world.cv**2
        work = self.random.gammavariate(items / variance, ITEM_S * variance)
        if self.case.failing:
            failing = sum(self.random.random() < self.case.failing for _ in range(items))
            work += 2 * failing * ITEM_S
        return Job(items, work, size=items)

    def _begin_shard(self) -> None:
        self.shard_starting = False
        self.waiting.extend(self.shards_left.popleft())
        self._wake()

    def _wake(self) -> None:
        idle, self.idle = self.idle, deque()
        for server, lane in idle:
            self._free(server, lane)

    def _next_chunk(self) -> Job:
        job = self.waiting.popleft()
        if self.shards_left and not self.shard_starting and not self.waiting:
            self.shard_starting = True
            self._at(self.now_s + self.world.shard_start_s, self._begin_shard)
        return job

    def _chunk_ended(self, job: Job) -> None:
        done = job.items_done()
        self.finished += done
        self.useful += done * job.unit
        self.left += job.items - done
        self.open -= 1
        if self.open:
            return
        items = self.left
        if items and self.outcome.rounds <= LAST_ROUND_FOR_UNDONE:
            self.outcome.left_over.append(items)
            self._at(self.now_s + self.world.round_s, lambda: self._begin_round(items))
        else:
            self.outcome.makespan_s, self.outcome.undone = self.now_s, items

    # Servers

    def _free_all(self, server: Server) -> None:
        for lane in range(len(server.lanes)):
            self._free(server, lane)

    def _free(self, server: Server, lane: int) -> None:
        """The lane takes the next chunk, as soon as the scheduler gets to it."""
        if not server.at_work or not server.speed:
            return
        if not self.waiting:
            self.idle.append((server, lane))
        elif self.now_s < self.next_start_s:
            self._at(self.next_start_s, lambda: self._free(server, lane))
        else:
            self.next_start_s = self.now_s + self.world.start_every_s
            job = self._next_chunk()
            self._advance(server)
            server.lanes[lane] = job
            self._foresee(server)
            budget_s = time_budget_s(
                job.size, self.params.seconds_per_item, len(server.lanes), STAGE.chunk_timeout_s
            )
            self._at(self.now_s + budget_s, lambda: self._spent(server, lane, job))

    def _advance(self, server: Server) -> None:
        server.advance(self.now_s, self.world.rate_window_s)

    def _foresee(self, server: Server) -> None:
        """Its next end of a chunk."""
        server.version += 1
        version = server.version
        if server.jobs and server.speed:
            seconds = min(job.to_do / pace for job, pace in server.paces())
            self._at(self.now_s + seconds, lambda: self._end(server, version))

    def _end(self, server: Server, version: int) -> None:
        if version != server.version:
            return
        self._advance(server)
        for lane, job in enumerate(server.lanes):
            if job and job.to_do < 1e-9 * job.work:
                server.lanes[lane] = None
                self._at(self.now_s + self.world.gap_s, partial(self._free, server, lane))
                self._chunk_ended(job)
        self._foresee(server)

    def _spent(self, server: Server, lane: int, job: Job) -> None:
        if server.lanes[lane] is job:
            self._advance(server)
            job.end_with_this_item()
            self._foresee(server)

    def _change(self) -> None:
        assert self.case.factor is not None
        self._advance(self.victim)
        before, self.victim.speed = self.victim.speed, self.victim.speed * self.case.factor
        self.capacity.append((self.now_s, self.capacity[-1][1] - before + self.victim.speed))
        self._foresee(self.victim)
        if not self.victim.speed:
            self._at(self.now_s + self.world.noticed_s, self._put_back)

    def _put_back(self) -> None:
        """What the dead one had goes to the head of the queue, less the items that exist."""
        self.victim.at_work = False
        for lane, job in enumerate(self.victim.lanes):
            if job is None:
                continue
            self.victim.lanes[lane] = None
            done = job.items_done()
            if done == job.items:
                self._chunk_ended(job)
                continue
            self.finished += done
            self.useful += done * job.unit
            left = job.items - done
            self.waiting.appendleft(Job(left, left * job.unit, size=job.size))
        self._wake()

    def _join(self) -> None:
        self.victim.at_work, self.victim.since_s = True, self.now_s
        self.capacity.append((self.now_s, self.capacity[-1][1] + self.victim.speed))
        self._free_all(self.victim)

    # What is said in the middle

    def _look(self) -> None:
        """Where a share of the items is done, say how long the rest will take."""
        for server in self.servers:
            self._advance(server)
        running = [job for server in self.servers for job in server.jobs]
        remaining = self.items - self.finished - sum(job.items_done() for job in running)
        if remaining <= (1 - self.looks[0]) * self.items:
            share = self.looks.popleft()
            paces = {server.name: self._measured(server) for server in self.servers
                     if server.at_work and server.items_seen > 0.1}  # fmt: skip
            said = forecast(remaining, paces, max((job.size for job in running), default=0))
            if said:
                self.outcome.looks.append(Look(share, self.now_s, said))
        if self.looks:
            self._at(self.now_s + self.ideal_s / 400, self._look)

    def _measured(self, server: Server) -> float:
        """Seconds per item as its last minutes show it: few items say little."""
        noise = self.world.cv / math.sqrt(max(1.0, server.items_seen))
        return server.busy_seen_s / server.items_seen * max(0.3, self.random.gauss(1.0, noise))
