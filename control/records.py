"""The control records: desired and observed state, in the key-value bucket `CONTROL`.

    service.<service>              ServiceRecord   how it is scaled; written by `headway up` and the deployer
    version.<service>.<version>    VersionRecord   what a worker of it is started from; written likewise
    scale.<service>.<version>      ScaleRecord     how many workers, and why; written by the scaler alone
    rollout.<service>              RolloutRecord   how far a release is; written by the deployer and by requests to it
    schedule.<service>             ScheduleRecord  its periodic jobs; written by the scheduler, and to pause one
    evidence.<service>             EvidenceRecord  what a release is judged by; written by the deployer alone
    lease.<controller>             LeaseRecord     which replica of a controller acts; expires by itself
    owner.<service>                OwnerRecord     which `headway up` runs it (headway/ownership.py)
    code.<digest>, operator.<digest>               access to the console (headway/console/access.py); expire

The scaler and the deployer communicate only through these records.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from headway.bus.wire.periodic import PeriodicJob

HISTORY: Final = 50
"""Decisions that a scale record remembers."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES: Final = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _seconds(value: Any) -> Any:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)", value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and found is None:
        raise ValueError(f"{value!r} is not a duration: write 50ms, 10s, 5m or a number of seconds")
    return float(found[1]) * _UNITS[found[2]] if found else value


def _share(value: Any) -> Any:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and found is None:
        raise ValueError(f"{value!r} is not a share: write 70% or 0.7")
    return float(found[1]) / 100 if found else value


def _size(value: Any) -> Any:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)", value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and found is None:
        raise ValueError(f"{value!r} is not a size: write 512MB, 1GiB or a number of bytes")
    return int(float(found[1]) * _SIZES[found[2]]) if found else value


def _or_text(number: dict[str, Any], pattern: str) -> WithJsonSchema:
    """Describe a number that may be written as text with a unit, for editors."""
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": pattern}]})


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0, le=86_400),
    _or_text({"type": "number", "exclusiveMinimum": 0, "maximum": 86_400}, r"^\s*\d+(\.\d+)?\s*(ms|s|m|h)\s*$"),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    Field(gt=0, le=1),
    _or_text({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, r"^\s*\d+(\.\d+)?\s*%\s*$"),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0),
    _or_text({"type": "integer", "exclusiveMinimum": 0}, r"^\s*\d+(\.\d+)?\s*[KMG]i?B\s*$"),
]
Priority = Literal["high", "low"]


class Record(BaseModel):
    """Base of all records: immutable, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Lag(Record):
    """For jobs and events: enough workers to drain the backlog within some seconds.

    Attributes:
        drain_within: those seconds.
        count: whose backlog counts: of all tenants, or "fair", without the moved jobs of sidelined tenants.
    """

    drain_within: Seconds = 10.0
    count: Literal["all", "fair"] = "all"


class Cpu(Record):
    """Enough workers to keep each at this share of a core."""

    target: Share = 0.7


class Latency(Record):
    """For calls: enough workers to keep the mean or the 95th percentile below a bound."""

    mean: Seconds | None = None
    p95: Seconds | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Latency:
        if self.mean is None and self.p95 is None:
            raise ValueError("give mean, p95 or both")
        return self


class Inflight(Record):
    """For calls: enough workers to keep each at this share of its in-flight limit."""

    target: Share = 0.7


class Floor(Record):
    """A minimum of workers from each time `start` fires until `end` fires next (five-field cron expressions)."""

    start: str
    end: str
    workers: int = Field(ge=1, le=256)
    timezone: str = "UTC"

    @field_validator("start", "end")
    @classmethod
    def _fires(cls, value: str) -> str:
        from cronsim import CronSim, CronSimError  # cron runs in the control plane; workers do not read floors

        try:
            next(CronSim(value, datetime(2024, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration):
            raise ValueError(f"{value!r} is not a time: write five cron fields, such as 0 8 * * mon-fri") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"there is no timezone {value!r}: write one such as Europe/Berlin") from None
        return value


class Scale(Record):
    """How a service is scaled: by the policy that asks for the most workers, between `min` and `max`.

    Attributes:
        min, max: workers. with 0 the last one stops when idle, and the first message starts one.
        step: most workers that one decision adds; None is unlimited.
        down_after: seconds for which fewer workers must suffice before one is stopped.
        lag, cpu, latency, inflight: policies; None switches one off.
        floors: more than `min` at certain times.
        memory: resident bytes above which a worker is replaced; None never does.
    """

    min: int = Field(default=1, ge=0, le=256)
    max: int = Field(default=10, ge=1, le=256)
    step: int | None = Field(default=None, ge=1)
    down_after: Seconds = 10.0
    lag: Lag | None = Lag()
    cpu: Cpu | None = Cpu()
    latency: Latency | None = None
    inflight: Inflight | None = Inflight()
    floors: tuple[Floor, ...] = ()
    memory: Size | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Scale:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self

    @classmethod
    def fixed(cls, workers: int) -> Scale:
        """Return a scale that always has the same number of workers."""
        return cls(min=workers, max=max(1, workers), lag=None, cpu=None, inflight=None)


class ServiceRecord(Record):
    """What all versions of a service share.

    Attributes:
        calls: whether it serves calls; then at least one worker runs, since a call cannot start one.
        suspended: no worker of any version runs; set by `headway up` when it exits.
        orphans: event types that it has a consumer for and no deployed version handles; set by the deployer.
    """

    service: str
    scale: Scale = Scale()
    calls: bool = False
    suspended: bool = False
    orphans: tuple[str, ...] = ()


class VersionRecord(Record):
    """One version of a service, and what its workers are started from.

    Attributes:
        app: `module:variable`.
        root: directory it is imported from.
        pool: where its workers run: the scalers and the driver of one place. "" where there is only one.
        config: its frozen configuration.
        image: digest of its image, once it is run from one.
        revision: of a working tree: changes with each edit that `headway dev` reloads. Workers of another revision
            are replaced.
        weight: its share of new traffic in percent.
        minimum: workers that it has at any load; a rollout raises it before it shifts traffic.
        phase: "live" is scaled by load; "draining" too, down to none; "retired" has no workers.
        grace: seconds that work in hand has to finish when a worker is stopped; None allows as long as its jobs may
            take.
        priority: "low" yields the processor of its machine to "high".
    """

    service: str
    version: str
    app: str
    root: str
    pool: str = ""
    config: dict[str, Any] = {}
    image: str | None = None
    revision: str = ""
    weight: int = Field(default=0, ge=0, le=100)
    minimum: int = Field(default=0, ge=0, le=256)
    phase: Literal["live", "draining", "retired"] = "live"
    grace: float | None = Field(default=None, ge=0)
    priority: Priority = "high"


class Decided(Record):
    """One decision: at (unix seconds), from how many workers to how many, and the reason in one sentence."""

    at: float
    before: int
    desired: int
    reason: str


class ScaleRecord(Record):
    """The scaler's desired workers for a version, and the health of its workers.

    Attributes:
        desired: workers.
        health: "ok"; "restarting" after deaths; "crash-loop" when its restart intensity is exceeded.
        deaths: in the window of the restart intensity.
        last_exit: how the last one died, in words.
        stderr: the last lines it wrote.
        retry_at: unix seconds at which the next one is started while it backs off.
        history: the last decisions, newest last.
    """

    service: str
    version: str
    desired: int = 0
    health: Literal["ok", "restarting", "crash-loop"] = "ok"
    deaths: int = 0
    last_exit: str = ""
    stderr: tuple[str, ...] = ()
    retry_at: float | None = None
    history: tuple[Decided, ...] = ()


class PeriodicState(Record):
    """A periodic job and how far it is.

    Attributes:
        job: when it runs.
        last: the time in unix seconds of the last run that was submitted; at first, when it became known.
        paused: whether it does not run by itself.
    """

    job: PeriodicJob
    last: float
    paused: bool = False


class ScheduleRecord(Record):
    """The periodic jobs of a service, as the version with the most traffic declares them; written by the scheduler."""

    service: str
    version: str
    jobs: dict[str, PeriodicState] = {}


class LeaseRecord(Record):
    """The holder of a lease. `epoch` grows with each holder; commands with an older one are refused."""

    holder: str
    epoch: int
    at: float


class Margin(Record):
    """How much worse a canary may be. A step is passed once it is shown to be no worse than that.

    Attributes:
        odds: the factor on the odds of failing.
        points: the difference in the share of failures (0.007 is 0.7 points). The larger of the two counts.
        latency: the factor on the 95th percentile.
        seconds: the allowed increase in seconds. The larger of the two counts.
    """

    odds: float = Field(default=1.7, gt=1, le=100)
    points: float = Field(default=0.007, gt=0, lt=1)
    latency: float = Field(default=1.25, gt=1)
    seconds: Seconds = 0.01


Thin = Literal["hold", "promote", "back"]
"""What happens to a step whose traffic is too thin to prove anything."""


class Criteria(Record):
    """When a canary is worse than its baseline, and when it is shown not to be.

    Attributes:
        alpha: the chance that an equal canary is aborted, over the whole rollout.
        requests: calls, jobs and events that each side needs before a step is passed.
        errors: how much higher the canary's share of errors may be (0.005 is half a point).
        latency: by which factor its latency may be higher.
        margin: how much worse the canary may be, as a proof must show.
        confidence: the confidence of that proof.
        patience: seconds of observation that a step has for the proof.
        thin: what happens after that: hold for a person, promote, or roll back.
        ceiling: the highest share of failures where no other version has traffic to compare with.
    """

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    requests: int = Field(default=50, ge=1)
    errors: float = Field(default=0.005, ge=0, lt=1)
    latency: float = Field(default=1.25, ge=1)
    margin: Margin = Margin()
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    patience: Seconds = 600.0
    thin: Thin = "hold"
    ceiling: Share = 0.1


class CallCheck(Record):
    """A call to the new version alone, and what its reply must have: each field of `expect`, with that value."""

    kind: Literal["call"] = "call"
    tenant: str
    operation: str
    request: Any = None
    expect: Any = None
    timeout: Seconds = 2.0


class QueryCheck(Record):
    """A Prometheus query, and the bound that each of its values must keep. `{version}` stands for the version."""

    kind: Literal["query"] = "query"
    url: str
    query: str
    sense: Literal["<", "<=", ">", ">="] = "<"
    bound: float
    timeout: Seconds = 5.0

    @property
    def text(self) -> str:
        """Where `{version}` may appear."""
        return self.query


class HttpCheck(Record):
    """A page that must answer, with a certain status or with any of 200 to 299. `{version}` stands for the version."""

    kind: Literal["http"] = "http"
    url: str
    status: int | None = Field(default=None, ge=100, le=599)
    timeout: Seconds = 5.0

    @property
    def text(self) -> str:
        """Where `{version}` may appear."""
        return self.url


Check = Annotated[CallCheck | QueryCheck | HttpCheck, Field(discriminator="kind")]


class P95(Record):
    """A 95th percentile of one kind of work, in seconds.

    Attributes:
        kind: "rpc", "job" or "on" (events).
        at: the estimate.
        low, high: its 95% confidence interval; None with too few measurements.
    """

    kind: str
    at: float
    low: float | None = None
    high: float | None = None


class Measured(Record):
    """The work of one side in a step.

    Attributes:
        tries: calls, jobs and events that ended, of which `errors` failed.
        dead: dead letters; `shed`: calls refused under load, not included in tries.
    """

    version: str
    tries: int
    errors: int
    dead: int = 0
    shed: int = 0
    p95: tuple[P95, ...] = ()


class Point(Record):
    """The evidence at one moment.

    Attributes:
        at: seconds of observation since the rollout's first step began.
        against: how far the evidence against the canary has come, from 0 to 1, where the release is stopped.
        shown: how far the proof that it is not worse has come, from 0 to 1, where the step is passed.
    """

    at: float
    against: float
    shown: float


class Verdict(Record):
    """The judge's verdict.

    Attributes:
        outcome: `pass`, `fail`, or `waiting` for data.
        reasons: the reasons, in sentences.
        measured: the numbers it used: the canary's, then the baseline's.
        needed: estimate of the canary requests until a decision; None if unknown.
        within: seconds until then at the present rate; None if unknown.
        evidence: how it grew, oldest first.
    """

    outcome: Literal["pass", "fail", "waiting"]
    reasons: tuple[str, ...] = ()
    measured: tuple[Measured, ...] = ()
    needed: int | None = None
    within: float | None = None
    evidence: tuple[Point, ...] = ()


Phase = Literal[
    "verify", "warm-up", "shift", "judge", "drain", "standby", "done", "back", "take-over", "rolled-back", "refused"
]
"""Where a rollout is.

    verify -> warm-up -> shift -> judge -> (shift -> judge)* -> drain -> standby -> done
       |         |         |       |                              |         |
    refused      +---------+-------+------------ back ------------+---------+        back -> take-over -> rolled-back
"""

OVER: Final[frozenset[Phase]] = frozenset({"done", "rolled-back", "refused"})
"""Final phases."""


class Transition(Record):
    """A step of a rollout: when (unix seconds) it went from one phase to another, and why.

    Attributes:
        weight: the new version's share of the traffic before, in percent.
        measured: the judge's measurements at that time.
    """

    at: float
    before: Phase
    after: Phase
    reason: str
    weight: int = 0
    measured: tuple[Measured, ...] = ()


Request = Literal["deploy", "promote", "pause", "resume", "abort", "rollback"]
"""What can be requested of a rollout."""


class Asked(Record):
    """A request to a rollout: at (unix seconds), `what`, and by whom."""

    at: float
    what: Request
    by: str


class Past(Record):
    """A rollout that has ended, or was superseded by the next one.

    Attributes:
        number, version, before: as of the rollout.
        outcome: its last phase, or that it was superseded before that.
        began, ended: unix seconds.
        reason: of its last transition.
    """

    number: int
    version: str
    before: str | None
    outcome: Phase | Literal["superseded"]
    began: float
    ended: float
    reason: str


class RolloutRecord(Record):
    """A release of one service: the request and its progress.

    Attributes:
        number: counts the service's rollouts.
        version: the version that is rolled out.
        before: the version that had the traffic; None for a service's first release.
        remains: versions of a rollout that this one has superseded: they lose their traffic, workers and jobs.
        steps: shares of the traffic in percent, ascending to 100.
        bake: seconds that each step is judged for.
        window: seconds for which the old version is kept warm once the new one has all the traffic.
        manual: each step waits for `promote`.
        breaking: schemas may differ in ways that break callers or queued jobs.
        cluster: shift traffic only there; elsewhere the old version keeps all traffic.
        urgent: a rollback: no steps and no judging, and the jobs queued for `before` are taken over.
        holdback: percent of the traffic that `before` keeps at the last step, as a baseline for the judge; released
            once that step is passed.
        full: whether it has been released.
        rechecks: how often the old version got traffic back to compare, since the new one failed more than before.
        workers: of the old version at the beginning: the capacity that the new one gets.
        phase: its current phase.
        step: index into `steps`.
        since: unix seconds at which the phase or step began.
        watched: seconds of the phase in which a deployer observed it and it was not paused, as last recorded.
            Deadlines count these.
        promoted: steps before this index go on without a verdict.
        paused: it does not go forward, but can roll back.
        abort: why it has to roll back, once that is decided.
        note: what it waits for, or the last problem.
        verdict: the judge's last.
        took_over: messages taken over so far.
        asked: requests to it, oldest first.
        history: the last transitions, oldest first.
        past: the service's earlier rollouts, oldest first.
    """

    service: str
    number: int = 1
    version: str
    before: str | None = None
    remains: tuple[str, ...] = ()
    steps: tuple[int, ...] = (5, 25, 50, 100)
    bake: float = Field(default=30.0, ge=0, le=86_400)
    window: float = Field(default=600.0, ge=0, le=7 * 86_400)
    manual: bool = False
    breaking: bool = False
    cluster: str | None = None
    urgent: bool = False
    holdback: int = Field(default=0, ge=0, le=50)
    full: bool = False
    rechecks: int = Field(default=0, ge=0)
    criteria: Criteria = Criteria()
    checks: tuple[Check, ...] = ()
    workers: int = 1
    phase: Phase = "verify"
    step: int = 0
    began: float = 0.0
    since: float = 0.0
    watched: float = 0.0
    promoted: int = 0
    paused: bool = False
    abort: str | None = None
    note: str = ""
    verdict: Verdict | None = None
    took_over: int = 0
    asked: tuple[Asked, ...] = ()
    history: tuple[Transition, ...] = ()
    past: tuple[Past, ...] = ()

    @model_validator(mode="after")
    def _ascending(self) -> RolloutRecord:
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rising or self.steps[0] < 1 or self.steps[-1] != 100:
            raise ValueError(f"steps {list(self.steps)} do not ascend from at least 1 to 100")
        if self.version == self.before:
            raise ValueError(f"{self.version} cannot replace itself")
        return self

    @property
    def over(self) -> bool:
        """Return whether the rollout has ended."""
        return self.phase in OVER

    @property
    def weight(self) -> int:
        """Return the share of traffic at the current step, without the holdback."""
        return self.steps[self.step] - self.held_back

    @property
    def held_back(self) -> int:
        """Return the percentage that the old version keeps at the last step; less if the step before leaves less."""
        if self.full or self.urgent or self.before is None or self.step + 1 < len(self.steps):
            return 0
        before = self.steps[-2] if len(self.steps) > 1 else 0
        return min(self.holdback, 99 - before)


class EvidenceRecord(Record):
    """The evidence on a rollout, for a deployer that takes over; written by the deployer alone.

    Attributes:
        number: of the rollout.
        rechecks: of the rollout; each begins anew.
        analysis: what `headway.deployer.analysis.analysis.Analysis.state` returned.
        bound: what `headway.deployer.analysis.bound.Above.state` returned; None until it is needed.
        points: how the evidence grew.
    """

    service: str
    number: int
    rechecks: int = 0
    analysis: dict[str, Any]
    bound: list[float] | None = None
    points: tuple[Point, ...] = ()
