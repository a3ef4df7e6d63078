"""One established connection of a front end to an engine: loans, requests on their way, and the memory they share."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from app.errors import OverloadedError
from app.inference.engine import messages as wire
from app.inference.engine.arena import Arena, Ticket
from app.inference.engine.link import PREFIX, BrokenFrameError, Link
from app.inference.errors import EngineUnavailableError
from app.inference.sources import Kind
from app.settings import Settings

GREETING_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2


def engine_gone() -> EngineUnavailableError:
    """What requests get whose engine is not there."""
    return EngineUnavailableError(retry_after_s=RETRY_AFTER_SECONDS)


@dataclass(eq=False)
class Loan:
    """A model lent to this front end, shared by all of its requests that use it at the moment."""

    number: int
    key: tuple[Kind, str]
    card: asyncio.Future[wire.Card]
    users: int = 0


@dataclass(eq=False)
class _Request:
    reply: asyncio.Future[wire.Reply]
    tickets: Sequence[Ticket]
    on_text: Callable[[str], None] | None
    body: memoryview = wire.NOTHING


class Channel:
    """Everything that belongs to one connection, and ends with it."""

    def __init__(
        self,
        arena: Arena,
        settings: Settings,
        *,
        on_catalog: Callable[[wire.Catalog], None],
        on_lost: Callable[[Channel], None],
    ) -> None:
        self.arena = arena
        self._max_requests = settings.engine.engine_max_requests
        self._on_catalog = on_catalog
        self._on_lost = on_lost
        self._numbers = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._loans: dict[tuple[Kind, str], Loan] = {}
        self._by_number: dict[int, Loan] = {}
        self._cards: dict[tuple[Kind, str], wire.Card] = {}
        """Facts of models, until one comes or goes."""
        self.is_open = True
        self.lost_requests = 0
        """Those that ended with the connection."""
        self.preparing = 0
        """Images on their way into memory."""
        self.placing = asyncio.Lock()
        """Held by a request of several images on their way into memory: two that each held part of it while they
        waited for more would wait for each other.
        """
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done with the first catalog."""
        self.link: Link[wire.Reply] = Link(
            wire.Reply,
            max_body_bytes=settings.engine.engine_inline_mb << 20,
            on_frame=self._take,
            on_lost=self._lose,
        )

    @property
    def outstanding(self) -> int:
        """Requests that are not answered, those included that nobody waits for any more."""
        return len(self._requests) + self.preparing

    # --- loans

    def borrow(self, kind: Kind, name: str) -> Loan:
        """A loan of the model, asked for without waiting; `give_back` it."""
        if not self.is_open:
            raise engine_gone()
        loan = self._loans.get((kind, name))
        if loan is None:
            card: asyncio.Future[wire.Card] = asyncio.get_running_loop().create_future()
            loan = Loan(next(self._numbers), (kind, name), card)
            self.link.send(wire.Borrow(loan.number, kind, name))
            self._loans[kind, name] = self._by_number[loan.number] = loan
        loan.users += 1
        return loan

    async def card(self, loan: Loan) -> wire.Card:
        """The facts of the model; raises what loading it raises, and EngineUnavailableError."""
        known = self._cards.get(loan.key)
        return known if known is not None else await asyncio.shield(loan.card)

    def give_back(self, loan: Loan) -> None:
        """One user less; the last one ends the loan."""
        loan.users -= 1
        if not loan.users:
            # those that begin in this turn of the loop share it still
            asyncio.get_running_loop().call_soon(self._end_loan, loan)

    def _end_loan(self, loan: Loan) -> None:
        if loan.users or self._by_number.pop(loan.number, None) is None:
            return
        if self._loans.get(loan.key) is loan:
            del self._loans[loan.key]
        loan.card.cancel()
        self.link.send(wire.Return(loan.number))

    # --- requests

    async def call(
        self,
        make: Callable[[int], wire.Message],
        *,
        tickets: Sequence[Ticket] = (),
        parts: Sequence[memoryview] = (),
        on_text: Callable[[str], None] | None = None,
    ) -> tuple[wire.Reply, memoryview]:
        """Send a request, which `make` makes of its number, and wait for the answer and what it carries.

        `tickets` are closed when the engine has answered, even when nobody waits any more. Raises what the engine
        raised, OverloadedError for too many requests, EngineUnavailableError.
        """
        try:
            if parts:
                await self.link.writable.wait()
            if not self.is_open:
                raise engine_gone()
            if len(self._requests) >= self._max_requests:
                raise OverloadedError
            number = next(self._numbers)
            request = _Request(asyncio.get_running_loop().create_future(), tickets, on_text)
            self.link.send(make(number), *parts)
        except BaseException:
            for ticket in tickets:
                ticket.close()
            raise
        self._requests[number] = request
        try:
            return await request.reply, request.body
        finally:
            if number in self._requests:
                self.link.send(wire.Cancel(number))

    # --- what comes in

    def _take(self, received: Sequence[wire.Reply], data: memoryview) -> None:
        used = 0
        for message in received:
            match message:
                case wire.EmbedReply():
                    size = 4 * message.count * message.dim
                    if not 0 <= size <= len(data) - used:
                        raise BrokenFrameError("vectors are missing")
                    self._settle(message.request, message, data[used : used + size])
                    used += size
                case wire.WholeAnswer() | wire.Done() | wire.Stats():
                    self._settle(message.request, message)
                case wire.Piece():
                    request = self._requests.get(message.request)
                    if request is not None and request.on_text is not None and not request.reply.done():
                        # what it raises is not the connection's
                        asyncio.get_running_loop().call_soon(request.on_text, message.text)
                case wire.FailureReply():
                    self._fail(message)
                case wire.LoanReply():
                    self._take_loan(message)
                case wire.Catalog():
                    lent = {loan.key for loan in self._loans.values()}
                    self._cards = {key: card for key, card in self._cards.items() if key in lent}
                    self._on_catalog(message)
                    if not self.ready.done():
                        self.ready.set_result(None)
                case wire.Welcome():
                    if message.version != wire.PROTOCOL_VERSION:
                        raise BrokenFrameError(f"the engine speaks version {message.version}")

    def _settle(self, number: int, reply: wire.Reply, body: memoryview = wire.NOTHING) -> None:
        request = self._requests.pop(number, None)
        if request is None:
            raise BrokenFrameError("an answer to nothing")
        for ticket in request.tickets:
            ticket.close()
        if not request.reply.done():
            request.body = body
            request.reply.set_result(reply)

    def _fail(self, message: wire.FailureReply) -> None:
        loan = self._by_number.get(message.request)
        if loan is not None:
            if self._loans.get(loan.key) is loan:
                del self._loans[loan.key]  # who comes next tries again
            self._cards.pop(loan.key, None)
            _set_error(loan.card, wire.to_exception(message.failure))
        elif request := self._requests.pop(message.request, None):
            for ticket in request.tickets:
                ticket.close()
            _set_error(request.reply, wire.to_exception(message.failure))
        # else of a loan that was given back meanwhile

    def _take_loan(self, message: wire.LoanReply) -> None:
        loan = self._by_number.get(message.loan)
        if loan is not None:
            self._cards[loan.key] = message.card
            if not loan.card.done():
                loan.card.set_result(message.card)

    def _lose(self, error: Exception | None) -> None:
        self.is_open = False
        requests, self._requests = self._requests, {}
        self.lost_requests = len(requests)
        for request in requests.values():
            for ticket in request.tickets:
                ticket.close()
            _set_error(request.reply, engine_gone())
        for loan in self._by_number.values():
            _set_error(loan.card, engine_gone())
        self._by_number, self._loans = {}, {}
        if not self.ready.done():
            self.ready.set_exception(error or engine_gone())
            self.ready.exception()
        self.arena.close()
        self._on_lost(self)


def _set_error(future: asyncio.Future[wire.Card] | asyncio.Future[wire.Reply], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen, even when nobody waits


async def open_channel(
    endpoint: str,
    token: str,
    settings: Settings,
    sender: str,
    *,
    on_catalog: Callable[[wire.Catalog], None],
    on_lost: Callable[[Channel], None],
) -> Channel:
    """Connect to an engine; raises OSError, TimeoutError, and EngineUnavailableError where it closes the connection."""
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    arena: Arena | None = None
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            await loop.sock_connect(connection, endpoint)
            limits = settings.engine
            arena = Arena(limits.engine_arena_mb << 20, limits.engine_inline_mb << 20, Path(endpoint).parent)
            hello = wire.Hello(wire.PROTOCOL_VERSION, token, arena.size, sender)
            header = wire.encode([hello])
            socket.send_fds(connection, [PREFIX.pack(len(header), 0) + header], [arena.fd])
            channel = Channel(arena, settings, on_catalog=on_catalog, on_lost=on_lost)
            await loop.create_unix_connection(lambda: cast(asyncio.Protocol, channel.link), sock=connection)
    except BaseException:
        connection.close()
        if arena is not None:
            arena.close()
        raise
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            await asyncio.shield(channel.ready)
    except BaseException:
        channel.link.abort()
        raise
    return channel
