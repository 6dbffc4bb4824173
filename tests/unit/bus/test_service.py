"""Declaring services: what is accepted, what is refused and how it says so."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import BaseModel

from headway import Context, DeclarationError, InvalidSubject, Retry, Service
from headway.bus.errors import ConfigError
from headway.bus.handlers import Kind


class Ask(BaseModel):
    n: int


class Settings(BaseModel):
    model_config = {"extra": "forbid"}

    speed: int = 1


@pytest.fixture
def service():
    return Service("demo")


def test_handlers_are_known_by_kind_and_name(service):
    @service.rpc("ask")
    async def ask(request: Ask, ctx: Context) -> int:
        """Doubles it."""
        return request.n * 2

    @service.job("work", retry=Retry(attempts=2), timeout=3)
    def work(request: Ask) -> None: ...

    @service.on("call.ended")
    async def ended(event: Ask) -> None: ...

    assert list(service.handlers_of(Kind.RPC)) == ["ask"]
    assert service.handlers_of(Kind.JOB)["work"].timeout == 3
    assert not service.handlers_of(Kind.JOB)["work"].is_async
    assert list(service.handlers_of(Kind.EVENT)) == ["call.ended"]
    assert service.handlers_of(Kind.RPC)["ask"].doc == "Doubles it."
    assert service.handlers_of(Kind.RPC)["ask"].takes_context


def test_the_same_operation_may_be_a_call_and_a_job_but_not_twice_the_same(service):
    @service.rpc("ask")
    async def ask(request: Ask) -> None: ...

    @service.job("ask")
    async def ask_later(request: Ask) -> None: ...

    with pytest.raises(DeclarationError, match="two handlers"):

        @service.rpc("ask")
        async def again(request: Ask) -> None: ...


@pytest.mark.parametrize("name", ["Send", "send.it", "", "send fax"])
def test_names_outside_the_grammar_are_refused(service, name):
    with pytest.raises(InvalidSubject):
        service.rpc(name)
    with pytest.raises(InvalidSubject):
        Service(name)


def no_request() -> None: ...
def untyped(request) -> None: ...
def three(a: int, b: int, c: int) -> None: ...
def keyword(request: int, *, ctx: int) -> None: ...
def star(*requests: int) -> None: ...
def unknown(request: "Nowhere") -> None: ...  # noqa: F821


@pytest.mark.parametrize("function", [no_request, untyped, three, keyword, star, unknown])
def test_signatures_that_cannot_work_are_refused_with_a_remedy(service, function):
    with pytest.raises(DeclarationError) as caught:
        service.rpc("ask")(function)
    assert function.__qualname__ in str(caught.value)
    assert caught.value.remedy


def test_nobody_receives_what_a_job_returns(service):
    with pytest.raises(DeclarationError, match="have no reply"):

        @service.job("work")
        async def work(request: Ask) -> int:
            return 1


def test_types_declared_beside_the_handler_are_found(service):
    class Local(BaseModel):
        x: int

    @service.rpc("ask")
    async def ask(request: "Local") -> "Local":
        return request

    assert service.handlers[0].input.decode(b'{"x":1}') == Local(x=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"max_inflight": 0},
        {"ack_wait": 0},
        {"queue_bytes": 0},
        {"queue_per_subject": -1},
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(DeclarationError, match=next(iter(wrong))):
        Service("demo", **wrong)


def test_a_timeout_is_above_zero(service):
    with pytest.raises(DeclarationError, match="timeout"):
        service.rpc("ask", timeout=0)(lambda request: None)


def test_configuration_is_validated_and_names_its_fields():
    service = Service("demo", config=Settings)
    assert service.configure({"speed": 3}) == Settings(speed=3)
    assert service.configure(None) == Settings()
    with pytest.raises(ConfigError, match=r"sped.*speed"):
        service.configure({"sped": 3})
    with pytest.raises(ConfigError, match="none"):
        Service("plain").configure({"x": 1})


async def test_plain_functions_run_in_threads_and_can_be_awaited(service):
    import threading

    @service.rpc("where")
    def where(request: None) -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:
        result, error = await service.handlers[0].bind(pool)(None, None)
        assert result.startswith("pool")
        assert error is None


async def test_hooks_and_resources_are_kept_in_order(service):
    @service.on_stop
    async def first(worker): ...

    @service.on_stop
    async def second(worker): ...

    assert list(service.stop_hooks) == [second, first]
    assert asyncio.iscoroutinefunction(first)
