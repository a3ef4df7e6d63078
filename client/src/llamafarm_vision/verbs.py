"""A verb is written once, as a flow, and is a method of the sync and of the async client."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from llamafarm_vision.steps import Flow, ItemFlow
from llamafarm_vision.transports import AsyncTransport, Transport

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Carrier = TypeVar("Carrier", bound=Transport | AsyncTransport)


class Group(Generic[Carrier]):
    """Verbs that share a transport."""

    def __init__(self, transport: Carrier) -> None:
        self._transport = transport


class Verb(Generic[P, R]):
    """A method with one result: `vision.classify(...)`, and `await vision.classify(...)` of the async client."""

    def __init__(self, flow: Callable[P, Flow[R]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, group: Group[Transport], kind: object) -> Callable[P, R]: ...
    @overload
    def __get__(self, group: Group[AsyncTransport], kind: object) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, group: Group[Any] | None, kind: object) -> Any:
        if group is None:
            return self

        def method(*args: P.args, **options: P.kwargs) -> Any:
            return group._transport.run(self._flow(*args, **options))

        return _describe_by(self._flow, method)


class Listing(Generic[P, T]):
    """A method whose results come one after the other: `for` of the sync client, `async for` of the async one."""

    def __init__(self, flow: Callable[P, ItemFlow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, group: Group[Transport], kind: object) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, group: Group[AsyncTransport], kind: object) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, group: Group[Any] | None, kind: object) -> Any:
        if group is None:
            return self

        def method(*args: P.args, **options: P.kwargs) -> Any:
            return group._transport.iterate(self._flow(*args, **options))

        return _describe_by(self._flow, method)


def _describe_by(flow: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    """The method with the flow's name, signature and help, and the result that it has for its caller."""
    method.__name__, method.__doc__, method.__module__ = flow.__name__, flow.__doc__, flow.__module__
    signature = inspect.signature(flow)
    result = str(signature.return_annotation).removeprefix("Item").removeprefix("Flow[").removesuffix("]")
    cast(Any, method).__signature__ = signature.replace(return_annotation=result)
    return method
