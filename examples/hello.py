from headway import Context, Reject, Retry, Service
from pydantic import BaseModel

hello = Service("hello", description="Greets people, and writes to them.")


class Person(BaseModel):
    name: str


@hello.rpc("greet")
async def greet(person: Person, ctx: Context) -> str:
    return f"Hello {person.name}, says {ctx.worker} to {ctx.tenant}"


@hello.job("letter", retry=Retry(attempts=3, backoff=(1, 5)))
async def letter(person: Person, ctx: Context) -> None:
    if person.name == "Nobody":
        raise Reject("there is nobody to write to")
    await ctx.objects.put("letter", person.name, {"text": f"Dear {person.name}"})
