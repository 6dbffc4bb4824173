/**
 * Operations on their way: kept until the server has answered, and repeated with the same key until then.
 *
 * Operations that change the same object, or name the same `order`, are sent one after the other; all others pass each
 * other, so that one that cannot be done holds up nothing else. One that is older than its limit is parked: it stays in
 * the list, but is sent again only when the page says so.
 */
import { asError, type HeadwayError } from "./errors.js";
import type { Entry, Outcome, OutcomeError } from "./operations.js";
import { Backoff, monotonic } from "./timers.js";
import { nameOf } from "./types.js";

/** Milliseconds before the first repetition; doubled each time, at most RETRY_MAX. */
const RETRY = 500;
const RETRY_MAX = 30_000;
/** Operations that are under way at the same time. */
const AT_A_TIME = 8;

/** What is known of an operation that waits. */
export interface PendingOperation extends Entry {
  /** `waiting` for a connection, its turn or its next attempt; `sending`; or `parked`, given up until it is retried. */
  readonly state: "waiting" | "sending" | "parked";
  /** Attempts since the page was opened that failed. */
  readonly attempts: number;
  /** Why the last attempt failed. */
  readonly error: OutcomeError | null;
}

export interface OutboxHost {
  /** Bring an operation up to date before it is sent; null if it was settled instead. Throws a HeadwayError. */
  prepare(entry: Entry): Promise<Entry | null>;
  /** Perform an operation now. Throws a HeadwayError. */
  perform(entry: Entry): Promise<unknown>;
  /** An operation was answered: forget it everywhere, and tell the page. */
  settled(outcome: Outcome): void;
  /** An attempt failed and will be repeated, or, if `parked`, was the last one. */
  failed(entry: Entry, error: HeadwayError, parked: boolean): void;
}

interface Sending {
  entry: Entry;
  state: PendingOperation["state"];
  attempts: number;
  error: OutcomeError | null;
  /** No attempt before this time, on the monotonic clock; Infinity waits for the next connection. */
  notBefore: number;
  readonly backoff: Backoff;
}

export class Outbox {
  private readonly entries = new Map<string, Sending>();
  private started = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: OutboxHost) {}

  /** What waits for an answer, oldest first. */
  get pending(): readonly PendingOperation[] {
    return [...this.entries.values()].map(({ entry, state, attempts, error }) =>
      ({ ...entry, state, attempts, error: error ?? entry.parked ?? null }));
  }

  get size(): number {
    return this.entries.size;
  }

  get(id: string): Entry | undefined {
    return this.entries.get(id)?.entry;
  }

  /** Take an operation, this tab's or another's. One that is known already is replaced. */
  put(entry: Entry): void {
    const known = this.entries.get(entry.id);
    if (known === undefined) {
      this.entries.set(entry.id, {
        entry, state: entry.parked === undefined ? "waiting" : "parked", attempts: 0, error: null, notBefore: -Infinity,
        backoff: new Backoff(RETRY, RETRY_MAX),
      });
    } else {
      known.entry = entry;
      if (known.state !== "sending") known.state = entry.parked === undefined ? "waiting" : "parked";
      known.notBefore = -Infinity;
    }
    this.pump();
  }

  /** Remember what another tab found out about an operation. */
  note(id: string, error: OutcomeError, attempts: number): void {
    const known = this.entries.get(id);
    if (known === undefined) return;
    known.error = error;
    known.attempts = attempts;
  }

  /** Forget an operation. Returns it if it was known. */
  take(id: string): Entry | undefined {
    const entry = this.entries.get(id)?.entry;
    this.entries.delete(id);
    this.pump();
    return entry;
  }

  /** Send from now on. Only the tab with the connection does. */
  start(): void {
    this.started = true;
    for (const one of this.entries.values()) if (one.notBefore === Infinity) one.notBefore = -Infinity;
    this.pump();
  }

  /** Send nothing more for now. What is under way stays so. */
  stop(): void {
    this.started = false;
    clearTimeout(this.timer);
  }

  /** Send what may be sent now, oldest first, and come back when the next one is due. */
  private pump(): void {
    clearTimeout(this.timer);
    if (!this.started) return;
    const now = monotonic();
    let sending = 0;
    for (const { state } of this.entries.values()) sending += Number(state === "sending");
    let next = Infinity;
    const taken = new Set<string>();
    for (const one of this.entries.values()) {
      if (one.state === "parked") continue;
      const orders = ordersOf(one.entry);
      const free = !orders.some((order) => taken.has(order));
      for (const order of orders) taken.add(order);
      if (one.state === "sending" || !free) continue;
      if (one.notBefore > now) next = Math.min(next, one.notBefore);
      else if (sending < AT_A_TIME) {
        sending++;
        void this.send(one);
      }
    }
    if (next < Infinity) this.timer = setTimeout(() => this.pump(), next - now + 1);
  }

  private async send(one: Sending): Promise<void> {
    one.state = "sending";
    try {
      const entry = await this.host.prepare(one.entry);
      if (entry === null) return;
      one.entry = entry;
      this.host.settled({ id: entry.id, answer: await this.host.perform(entry) });
    } catch (thrown) {
      this.fail(one, asError(thrown));
    }
    if (one.state === "sending") one.state = "waiting";
    this.pump();
  }

  private fail(one: Sending, error: HeadwayError): void {
    const { entry } = one;
    const { code, message, status } = error;
    if (!this.entries.has(entry.id)) return; // cancelled meanwhile
    if (!error.retryable) {
      this.host.settled({ id: entry.id, error: { code, message, status } });
      return;
    }
    if (error.code === "offline") {
      one.notBefore = Infinity; // until the next connection
      return;
    }
    one.attempts++;
    one.error = { code, message, status };
    one.notBefore = monotonic() + one.backoff.next();
    // A clock that was set back makes an operation young, not old.
    const parked = Date.now() - entry.at > entry.maxAge;
    if (parked) {
      one.state = "parked";
      one.entry = { ...entry, parked: one.error };
    }
    this.host.failed(one.entry, error, parked);
  }
}

/** The names within which an operation keeps its place: the objects that it changes, and what the page has named. */
const ordersOf = ({ order, optimistic }: Entry): readonly string[] => [
  ...order.map((name) => `order ${name}`), ...optimistic.map(nameOf),
];
