import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ServerClock } from "../src/clock.js";
import { type HeldSession, refreshAfter, renewalDelay, SessionRefused, Sessions } from "../src/session.js";
import { Backoff } from "../src/timers.js";

const session = (more: Partial<HeldSession> = {}): HeldSession =>
  ({ jwt: "", url: "", tenant: "acme", user: "ada", inbox: "", expires_in: 600, refresh_in: 480, now: 0, requestedAt: 1000, ...more });

/** A machine in which time passes as the test says: the monotonic clock, the timers, and a wall clock that is wrong. */
class Machine {
  now = 0;
  requests: number[] = [];
  answer: () => Response = () => Response.json(session());
  private due: { at: number; run: () => void }[] = [];
  private readonly real = { setTimeout, clearTimeout, fetch, now: performance.now, date: Date.now };

  constructor(wallClockOffset: number) {
    performance.now = () => this.now;
    Date.now = () => 1_800_000_000_000 + this.now + wallClockOffset;
    globalThis.setTimeout = ((run: () => void, ms = 0) => {
      const timer = { at: this.now + ms, run };
      this.due.push(timer);
      return timer;
    }) as unknown as typeof setTimeout;
    globalThis.clearTimeout = ((timer: { at: number; run: () => void }) => { this.due = this.due.filter((one) => one !== timer); }) as unknown as typeof clearTimeout;
    globalThis.fetch = (() => { this.requests.push(this.now); return Promise.resolve(this.answer()); }) as typeof fetch;
  }

  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      for (let n = 0; n < 50; n++) await Promise.resolve();
      await new Promise((resolve) => setImmediate(resolve));
      const [next] = this.due.sort((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) break;
      this.now = Math.max(this.now, next.at);
      this.due.shift();
      next.run();
    }
    this.now = end;
  }

  restore(): void {
    globalThis.setTimeout = this.real.setTimeout;
    globalThis.clearTimeout = this.real.clearTimeout;
    globalThis.fetch = this.real.fetch;
    performance.now = this.real.now;
    Date.now = this.real.date;
  }
}

async function on(offset: number, work: (machine: Machine, sessions: Sessions, clock: ServerClock) => Promise<void>): Promise<void> {
  const machine = new Machine(offset);
  try {
    const clock = new ServerClock();
    await work(machine, new Sessions({ url: "session", token: () => "token" }, clock), clock);
  } finally {
    machine.restore();
  }
}

test("a renewal is due a duration after the request, spread over half of the time that is left", () => {
  assert.equal(renewalDelay(session(), 1000, 0), 480_000);
  assert.equal(renewalDelay(session(), 1000, 1), 540_000);
  assert.equal(renewalDelay(session(), 400_000, 0), 81_000);
  assert.equal(renewalDelay(session(), 1e9, 0), 0);
});

test("no answer makes a renewal due within a second", () => {
  fc.assert(
    fc.property(fc.double(), fc.double(), fc.double({ min: 0, max: 1, noNaN: true }), (refresh_in, expires_in, random) => {
      assert.ok(renewalDelay(session({ refresh_in, expires_in }), 1000, random) >= 1000);
    }),
  );
  assert.equal(refreshAfter({ refresh_in: undefined as unknown as number }), 60_000, "an older server says nothing");
});

for (const minutes of [-60, -11, 0, 11, 60]) {
  test(`with a wall clock that is ${minutes} minutes off, a session is asked for once and used until it is due`, async () => {
    await on(minutes * 60_000, async (machine, sessions) => {
      const { signal } = new AbortController();
      for (let n = 0; n < 100; n++) {
        void sessions.get(signal);
        await machine.pass(4000);
      }
      assert.equal(machine.requests.length, 1);
      await machine.pass(90_000);
      void sessions.get(signal);
      await machine.pass(10);
      assert.equal(machine.requests.length, 2);
    });
  });

  test(`with a wall clock that is ${minutes} minutes off, the server's time is known`, async () => {
    await on(minutes * 60_000, async (machine, sessions, clock) => {
      machine.answer = () => Response.json(session({ now: 5_000 + machine.now / 1000 }));
      void sessions.get(new AbortController().signal);
      await machine.pass(60_000);
      assert.equal(clock.now(), 5_000_000 + 60_000);
    });
  });
}

test("sessions that are of no use are asked for later and later: six in a minute, not seventy in twenty seconds", async () => {
  await on(0, async (machine, sessions) => {
    const { signal } = new AbortController();
    const use = async (): Promise<void> => {
      for (;;) {
        await sessions.renew(signal);
        sessions.drop();
      }
    };
    void use();
    await machine.pass(60_000);
    assert.ok(machine.requests.length >= 5 && machine.requests.length <= 8, `${machine.requests.length}`);
    await machine.pass(3_600_000);
    assert.ok(machine.requests.length <= 8 + 120, `${machine.requests.length}`);
  });
});

test("a refusal says when to come back", async () => {
  await on(0, async (machine, sessions) => {
    machine.answer = () => Response.json({ error: { code: "rate_limited", message: "too many" } }, { status: 429, headers: { "Retry-After": "7" } });
    const refused = sessions.get(new AbortController().signal).catch((error: unknown) => error);
    await machine.pass(10);
    const error = (await refused) as SessionRefused;
    assert.deepEqual([error.code, error.after, error.retryable], ["rate_limited", 7000, true]);
  });
});

test("the server's time is corrected when the machine has slept, and never set back by what is late", () => {
  const clock = new ServerClock();
  clock.set(1_000_000, performance.now());
  clock.atLeast(2_000_000);
  assert.ok(Math.abs(clock.now() - 2_000_000) < 50);
  clock.atLeast(1_500_000);
  assert.ok(Math.abs(clock.now() - 2_000_000) < 50);
});

test("back-off doubles up to its limit, with jitter, and begins anew after a success", () => {
  const backoff = new Backoff(100, 1000, () => 1);
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [100, 200, 400, 800, 1000, 1000]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
  assert.equal(new Backoff(100, 1000, () => 0).next(), 50);
});
