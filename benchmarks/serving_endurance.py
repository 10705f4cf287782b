"""Thousands of requests of which some leave, are malformed, or ask an adapter that is just loaded anew."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.serving_clients import HOST, STUCK, Connection, metrics, request
from benchmarks.serving_world import Rows, Zipf

SHARES = {"asks": 0.85, "leaves": 0.05, "malformed": 0.05, "half a body": 0.03, "loads anew": 0.02}
MALFORMED = (
    b"{", b"[]", b"{}", b'{"rows":[]}', b'{"rows":[{"question":1}]}', b'{"rows":[{"question":"?","image":"@@"}]}',
    b'{"rows":[{"question":"?","image":"aGVsbG8="}]}', b"\xff\xfe", b'{"rows":[{"question":"?","adapter_id":"none"}]}',
)  # fmt: skip
REFUSALS = (400, 404, 422)
SAMPLES = 20


@dataclass
class Endured:
    """wrong: answers other than AdaptedModel's. unexpected: statuses of whole requests that should have had another.
    rss: the server's megabytes, as the requests went on."""

    requests: int = 0
    wrong: int = 0
    stuck: int = 0
    did: dict[str, int] = field(default_factory=dict)
    unexpected: dict[str, int] = field(default_factory=dict)
    rss: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """Of the server's memory over the second half, as a fraction."""
        half = self.rss[len(self.rss) // 2 :]
        return half[-1] / half[0] - 1

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "growth": self.growth}


async def endure(
    port: int, number: int, clients: int, rows: Rows, wanted: Mapping[tuple[str, int], bytes], seed: int = 0
) -> Endured:
    """wanted: the right body by adapter and row. The adapters of its second half are deleted and loaded anew all the
    while, so their rows may find none (404)."""
    names: Sequence[str] = list(dict.fromkeys(name for name, _ in wanted))
    coming = set(names[len(names) // 2 :])
    found, left, zipf, unexpected = Endured(), iter(range(number)), Zipf(names), Counter()
    did, began = Counter(), time.perf_counter()

    async def one(connection: Connection, chosen: random.Random) -> None:
        does = chosen.choices(list(SHARES), list(SHARES.values()))[0]
        did[does] += 1
        name, place = zipf.draw(chosen), chosen.randrange(len(rows.rows))
        match does:
            case "asks":
                status, body = await connection.ask(rows.request(name, place))
                if status == 200:
                    found.wrong += body != wanted[name, place]
                elif not (status == 404 and name in coming):
                    unexpected[f"{does}: {status}"] += 1
            case "malformed":
                status, _ = await connection.ask(request("/v1/answer", chosen.choice(MALFORMED)))
                if status not in REFUSALS:
                    unexpected[f"{does}: {status}"] += 1
            case "loads anew":
                name = chosen.choice(sorted(coming))
                await connection.ask(request(f"/v1/adapters/{name}", b"", "DELETE"))
                body = json.dumps({"name": name, "folder": name}).encode()
                status, _ = await connection.ask(request("/v1/adapters", body))
                if status not in (201, 409):  # 409: another client was faster
                    unexpected[f"{does}: {status}"] += 1
            case _:
                whole = rows.request(name, place)
                _, writer = await asyncio.open_connection(HOST, port)
                writer.write(whole if does == "leaves" else whole[: len(whole) // 2])
                await writer.drain()
                await asyncio.sleep(chosen.random() * 0.05)
                writer.close()

    async def client(number: int) -> None:
        connection, chosen = Connection(port), random.Random(seed * 1000 + number)
        for place in left:
            if place % max(1, found_every) == 0:
                found.rss.append(await resident(port))
            try:
                await asyncio.wait_for(one(connection, chosen), STUCK)
            except TimeoutError:
                found.stuck += 1
                await connection.close()
        await connection.close()

    found_every = number // SAMPLES
    await asyncio.gather(*map(client, range(clients)))
    found.rss.append(await resident(port))
    found.requests, found.did, found.unexpected = number, dict(did), dict(unexpected)
    found.seconds = time.perf_counter() - began
    return found


async def resident(port: int) -> float:
    """Megabytes of the server's memory."""
    return (await metrics(port))["process_resident_memory_bytes"] / 2**20
