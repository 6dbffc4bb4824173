"""The rules of other autoscalers, from their public documentation.

Each gets favourable conditions: no warm-up, no lost metric, and workers that start as quickly as Headway's.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from headway.scaler.simulate.model import Contender, FleetView, Workload


def peers(load: Workload) -> list[Contender]:
    """Return all peers for a workload; KEDA twice, with a threshold that suits the deadline and its default."""
    fair = max(1, math.floor(load.rate * load.within))
    return [Keda(load, fair, f"keda-{fair}"), Keda(load, 10, "keda-10"), Knative(load), Aws(load)]


def _within(load: Workload, workers: int, minimum: int = 0) -> int:
    return max(load.minimum, minimum, min(load.maximum, workers))


@dataclass(slots=True)
class Keda:
    """KEDA's nats-jetstream scaler with the HPA that it makes.

    - Metric: num_pending + num_ack_pending, as an average per worker; `lagThreshold` is its target (default 10).
      The HPA asks for it at each sync; `pollingInterval` (30 s) and `cooldownPeriod` (300 s) are for 0 <-> 1 alone.
      https://keda.sh/docs/latest/scalers/nats-jetstream/, https://keda.sh/docs/latest/reference/scaledobject-spec/
    - HPA, every 15 s: ceil(total / target), unless total / (target x workers) is within 10 % of 1. Up by no more than
      the larger of 100 % and 4 workers per 15 s; down to the highest recommendation of the last 300 s.
      https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
    """

    load: Workload
    threshold: int
    name: str
    interval: float = 15.0
    _recommended: deque[tuple[float, int]] = field(default_factory=deque)
    _active_at: float = 0.0

    def decide(self, view: FleetView) -> int:
        """Do one sync of the HPA, or one poll of KEDA while there is no worker."""
        total, current = view.waiting + view.in_hand, view.desired
        if total:
            self._active_at = view.at
        if current == 0:
            return _within(self.load, int(total > 0 and view.at % 30 == 0))
        if self.load.minimum == 0 and view.at - self._active_at >= 300:
            self._recommended.clear()
            return 0
        ratio = total / (self.threshold * current)
        wanted = current if abs(ratio - 1) <= 0.1 else math.ceil(total / self.threshold)
        wanted = _within(self.load, wanted, 1)
        self._recommended.append((view.at, wanted))
        while self._recommended[0][0] <= view.at - 300:
            self._recommended.popleft()
        if wanted > current:
            return min(wanted, max(2 * current, current + 4))
        return min(current, max(count for _, count in self._recommended))


@dataclass(slots=True)
class Knative:
    """The Knative Pod Autoscaler on concurrency, at its defaults.

    Every 2 s: ceil(average concurrency / target) over the stable window (60 s) and the panic window (6 s); the target
    is 70 % of what a worker may have in hand. Panic when the panic window wants twice what is ready, until that has not
    been so for a stable window: the larger of both, and never down. Up to 1000 times, down to half of what is ready.
    Concurrency counts what is queued too. To zero once the stable window is empty.
    https://knative.dev/docs/serving/autoscaling/kpa-specific/
    https://github.com/knative/serving/blob/main/docs/scaling/SYSTEM.md
    """

    load: Workload
    name: str = "knative"
    interval: float = 1.0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _panic_since: float | None = None
    _most: int = 0

    def decide(self, view: FleetView) -> int:
        """Take one sample, and decide at every second one."""
        self._samples.append((view.at, view.waiting + view.in_hand))
        while self._samples[0][0] <= view.at - 60:
            self._samples.popleft()
        if round(view.at) % 2:
            return view.desired
        target = 0.7 * self.load.slots
        stable = self._average(view.at - 60) / target
        panic = self._average(view.at - 6) / target
        ready = max(1, view.serving)
        over = math.ceil(panic) / ready >= 2.0
        if over:
            self._panic_since = view.at
        elif self._panic_since is not None and view.at - self._panic_since > 60:
            self._panic_since, self._most = None, 0
        low, high = ready // 2, 1000 * ready
        wanted = min(high, max(low, math.ceil(stable)))
        if self._panic_since is not None:
            self._most = max(self._most, wanted, min(high, max(low, math.ceil(panic))))
            wanted = self._most
        return _within(self.load, wanted)

    def _average(self, since: float) -> float:
        counts = [count for at, count in self._samples if at > since]
        return sum(counts) / len(counts)


@dataclass(slots=True)
class Aws:
    """EC2 Auto Scaling: target tracking of the backlog per instance.

    - Backlog per instance = messages waiting / running workers, a metric every 60 s; its target is the latency wanted
      over the time that one message takes.
      https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-using-sqs-queue.html
    - Out, in proportion, while the metric has been above its target for 3 points; in while it has been below 90 % of it
      for 15, "more gradually": halved at most here. Without data, nothing changes.
      https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-target-tracking.html
    """

    load: Workload
    name: str = "aws"
    interval: float = 60.0
    _points: deque[float] = field(default_factory=lambda: deque(maxlen=15))

    def decide(self, view: FleetView) -> int:
        """Take one point of the metric, and decide."""
        if not view.serving:
            self._points.clear()
            return _within(self.load, view.desired, 1)
        target = self.load.rate * self.load.within
        value = view.waiting / view.serving
        self._points.append(value)
        last = list(self._points)
        wanted = view.desired
        if len(last) >= 3 and min(last[-3:]) > target:
            wanted = math.ceil(view.desired * value / target)
        elif len(last) == 15 and max(last) < 0.9 * target:
            wanted = max(math.ceil(view.desired / 2), math.ceil(view.desired * value / target))
        return _within(self.load, wanted, 1)
