"""Clients of `dept-vl serve` over plain sockets: many of them take little of the processor that the server needs."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CPU = "process_cpu_seconds_total"
STUCK = 60.0  # seconds without an answer, after which a request counts as stuck
IDLE = 2.0  # seconds after which a kept connection is not used again: the server ends it after 5


@dataclass
class Load:
    """What a load found. seconds: of each answered request; wrong: answers that were others than wanted; cpu: seconds
    of the processor that the server took."""

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    took: float = 0.0
    cpu: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)

    def note(self, status: int, began: float, right: bool) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.seconds.append(time.perf_counter() - began)
            self.wrong += not right


Draw = Callable[[random.Random], tuple[bytes, bytes]]
"""A request and the body that its answer must have."""


async def metrics(port: int) -> dict[str, float]:
    """What /metrics says, by name and labels."""
    _, body = await ask_once(port, request("/metrics", b"", "GET"))
    lines = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


class Connection:
    """A kept-alive connection that asks one thing at a time."""

    def __init__(self, port: int) -> None:
        self.port, self.reader, self.writer, self.used = port, None, None, 0.0

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        if time.monotonic() - self.used > IDLE:
            await self.close()
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(HOST, self.port)
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        body = await self.reader.readexactly(length)
        self.used = time.monotonic()
        if b"connection: close" in lines:
            await self.close()
        return int(head[9:12]), body

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def request(path: str, body: bytes, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def closed_loop(port: int, clients: int, seconds: float, draw: Draw, seed: int = 0) -> Load:
    """Each client asks again as soon as it has its answer."""
    load, before, began = Load(), await metrics(port), time.perf_counter()

    async def client(number: int) -> None:
        connection, chosen = Connection(port), random.Random(seed * 1000 + number)
        while time.perf_counter() - began < seconds:
            asked, wanted = draw(chosen)
            start = time.perf_counter()
            status, body = await asyncio.wait_for(connection.ask(asked), STUCK)
            load.note(status, start, body == wanted)
        await connection.close()

    await asyncio.gather(*map(client, range(clients)))
    load.took = time.perf_counter() - began
    load.cpu = (await metrics(port))[CPU] - before[CPU]
    return load


async def open_loop(port: int, rate: float, seconds: float, draw: Draw, seed: int = 0) -> Load:
    """Requests come at random, `rate` a second, whether or not others have their answers."""
    load, chosen, free, began = Load(), random.Random(seed), [], time.perf_counter()

    async def one(asked: bytes, wanted: bytes) -> None:
        connection = free.pop() if free else Connection(port)
        start = time.perf_counter()
        status, body = await asyncio.wait_for(connection.ask(asked), STUCK)
        load.note(status, start, body == wanted)
        free.append(connection)

    due, tasks = began, set()
    while due < began + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.add(asyncio.create_task(one(*draw(chosen))))
        due += chosen.expovariate(rate)
    await asyncio.gather(*tasks)
    load.took = time.perf_counter() - began
    for connection in free:
        await connection.close()
    return load


async def ask_once(port: int, asked: bytes) -> tuple[int, bytes]:
    connection = Connection(port)
    try:
        return await asyncio.wait_for(connection.ask(asked), STUCK)
    finally:
        await connection.close()
