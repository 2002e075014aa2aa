"""A process of the service: its HTTP part, and the bus with its workers, groups and side lanes."""

from collections import deque

import simpy

from bench.simulation.costs import BEGIN, COMMIT, LOCK, NAMES, OUTCOMES, READ, WRITE, Step, Work
from bench.simulation.model import Installation, Request
from bench.simulation.resources import Process, Steps

GROUP_LIMIT = 256
LANES = 4
HTTP_BATCH = 16
"""How many requests a process reads from its sockets in one turn of the event loop."""


class Pod:
    """A process of the service with its bus."""

    def __init__(self, whole: Installation, process: Process, http: float) -> None:
        self._whole, self._process, self._http = whole, process, http
        self._env = whole.env
        self._sockets: deque[Request] = deque()
        workers = whole.layout.workers + whole.layout.across_workers
        self._ready: list[dict[object, deque[Request]]] = [{} for _ in range(workers)]
        self._idle: dict[object, simpy.Event] = {}
        self._lanes: dict[int, deque[Request]] = {}
        self._lane_slots = simpy.Resource(self._env, LANES)
        self._env.process(self._read_sockets())
        for worker in range(workers):
            self._env.process(self._work(worker))

    def receive(self, request: Request) -> None:
        """A request arrives."""
        self._sockets.append(request)
        self._wake("sockets")

    def _wake(self, who: object) -> None:
        event = self._idle.pop(who, None)
        if event is not None:
            event.succeed()

    def _sleep(self, who: object) -> simpy.Event:
        return self._idle.setdefault(who, self._env.event())

    def _read_sockets(self) -> Steps:
        while True:
            if not self._sockets:
                yield self._sleep("sockets")
            batch = [self._sockets.popleft() for _ in range(min(HTTP_BATCH, len(self._sockets)))]
            yield from self._process.use(self._http_of(batch) / 2)
            for request in batch:
                self._put(request)

    def _put(self, request: Request) -> None:
        if request.key in self._lanes:
            self._lanes[request.key].append(request)
            return
        layout = self._whole.layout
        # Multiplied, so that the worker does not depend on the cell.
        spread = request.key * 2654435761 >> 16
        # Orders over cells are groups of their own.
        crosses = layout.cells > 1 and len({sku % layout.cells for sku in request.skus}) > 1
        worker = (
            layout.workers + spread % layout.across_workers
            if crosses and layout.across_workers
            else spread % layout.workers
        )
        queues = self._ready[worker]
        cell = request if crosses else request.key % layout.cells
        queues.setdefault(cell, deque()).append(request)
        self._wake(worker)

    def _work(self, worker: int) -> Steps:
        queues = self._ready[worker]
        while True:
            if not queues:
                yield self._sleep(worker)
            cell = next(iter(queues))
            waiting = queues.pop(cell)
            group, size = [], 0
            while waiting and size < GROUP_LIMIT:
                group.append(waiting.popleft())
                size += len(group[-1].skus)
            if waiting:
                queues[cell] = waiting
            yield from self._run(group, apart=False)

    def _run(self, group: list[Request], *, apart: bool) -> Steps:
        whole = self._whole
        skus = sorted({sku for each in group for sku in each.skus})
        nodes = tuple(dict.fromkeys(whole.node_of(sku) for sku in skus))
        entry = nodes[0] if whole.layout.right_entry else whole.random.randrange(whole.layout.nodes)
        work = self._work_of(group)
        yield from self._python(BEGIN, work)
        yield from whole.statement(BEGIN, work.postgresql, nodes[:1], entry)
        if whole.layout.messages or any(len(each.skus) > 1 for each in group):
            yield from self._python(NAMES, work)
            yield from whole.statement(NAMES, work.postgresql, nodes[:1], entry)
        yield from self._python(LOCK, work)
        yield from whole.statement(LOCK, work.postgresql, nodes, entry)
        if apart:
            for sku in skus:
                yield from whole.locks.lock(sku)
        else:
            locked = {sku for sku in skus if whole.locks.lock_if_free(sku)}
            if len(locked) < len(skus):
                group, skus = self._defer(group, locked)
                if not group:
                    return
                work = self._work_of(group)
        for step in (READ, WRITE):
            yield from self._python(step, work)
            yield from whole.statement(step, work.postgresql, nodes, entry)
        yield from self._python(COMMIT, work)
        yield from whole.statement(COMMIT, work.postgresql, nodes[:1], entry)
        yield from whole.commit(sum(len(each.skus) for each in group), nodes)
        for sku in skus:
            whole.release(sku)
        whole.tally.groups += whole.env.now >= whole.tally.begin
        whole.nodes[nodes[0]].unpublished += sum(len(each.skus) for each in group)
        yield from self._python(OUTCOMES, work)
        self._env.process(self._respond(group))

    def _http_of(self, requests: list[Request]) -> float:
        """The time to read these requests and to answer them."""
        costs = self._whole.costs
        orders = [len(each.skus) for each in requests if len(each.skus) > 1]
        further = costs.order_http * len(orders) + costs.further_line_http * (sum(orders) - len(orders))
        return self._http * len(requests) + further

    def _work_of(self, group: list[Request]) -> Work:
        skus = len({sku for each in group for sku in each.skus})
        orders = [len(each.skus) for each in group if len(each.skus) > 1]
        lines = sum(len(each.skus) for each in group)
        return self._whole.costs.work(lines, skus, orders=len(orders), further_lines=sum(orders) - len(orders))

    def _python(self, step: Step, work: Work) -> Steps:
        return self._process.use(step.python * self._whole.costs.group_python + step.python_lines * work.python)

    def _defer(self, group: list[Request], locked: set[int]) -> tuple[list[Request], list[int]]:
        """Move the requests on locked products into the lanes of these; returns the others, and their products."""
        kept = []
        for request in group:
            held = [sku for sku in request.skus if sku not in locked]
            if not held:
                kept.append(request)
                continue
            self._whole.tally.deferred += self._env.now >= self._whole.tally.begin
            if held[0] not in self._lanes:
                self._lanes[held[0]] = deque()
                self._env.process(self._run_lane(held[0]))
            self._lanes[held[0]].append(request)
        used = {sku for each in kept for sku in each.skus}
        for sku in locked - used:
            self._whole.release(sku)
        return kept, sorted(used)

    def _run_lane(self, sku: int) -> Steps:
        lane = self._lanes[sku]
        with self._lane_slots.request() as slot:
            yield slot
            while lane:
                yield from self._run([lane.popleft() for _ in range(min(GROUP_LIMIT, len(lane)))], apart=True)
            del self._lanes[sku]

    def _respond(self, group: list[Request]) -> Steps:
        yield from self._process.use(self._http_of(group) / 2)
        self._whole.answered(group)
        yield from self._whole.on_answer(group)
