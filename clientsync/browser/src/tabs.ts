/**
 * One connection for all tabs of a store: a web lock says which tab has it, a broadcast channel serves the others.
 *
 * A tab that is closed loses the lock, and the next one in line gets it. A tab that the browser freezes gives it up.
 * One that hangs does not answer, and a visible tab that waits for it takes the lock away.
 */
import { asError, HeadwayError } from "./errors.js";
import type { Link } from "./connection.js";
import type { Entry, Outcome } from "./outbox.js";
import type { Session } from "./session.js";
import type { Beacon, Change, Presence, PullReply, PullRequest } from "./types.js";
import type { Operation } from "./wire.js";

/** Milliseconds between a visible follower's questions whether the leader is there. */
const PING = 1000;
/** Questions without an answer after which its lock is taken. */
const GONE = 4;
/** Milliseconds for the leader's answer, beside what the operation itself may take. */
const ANSWER = 15_000;

type Asked = { readonly pull: PullRequest } | { readonly perform: Operation };

export type Identity = Pick<Session, "tenant" | "user">;

type Message =
  | { t: "hello" }
  | { t: "leads"; up: Identity | null; stats: LeaderStats }
  | { t: "live"; changes: readonly (readonly [Change, number])[] }
  | { t: "beacon"; beacon: Beacon }
  | { t: "presence"; presence: Presence }
  | { t: "ask"; number: number; asked: Asked }
  | { t: "answer"; to: string; number: number; value?: unknown; error?: Outcome["error"] & { retryable: boolean } }
  | { t: "entry"; entry: Entry }
  | { t: "outcome"; outcome: Outcome };

/** What only the tab with the connection knows. */
export interface LeaderStats {
  readonly bytes: number;
  readonly latency: number | null;
  readonly connects: number;
}

export type Role = "alone" | "leader" | "follower" | "away";

export interface TabsHost {
  /** This tab has the connection from now on. */
  lead(): void;
  /** It must have none from now on. */
  yield(): Promise<void>;
  /** The leader's connection came up, or went. */
  up(identity: Identity): void;
  down(): void;
  live(change: Change, at: number): void;
  beacon(beacon: Beacon): void;
  presence(presence: Presence): void;
  entry(entry: Entry): void;
  outcome(outcome: Outcome): void;
  /** As the leader: do what a follower asks for. */
  link(): Link;
  stats(): LeaderStats;
}

export class Tabs implements Link {
  role: Role = "away";
  /** What the leader told last. */
  leader: LeaderStats = { bytes: 0, latency: null, connects: 0 };
  private readonly channel: BroadcastChannel | null;
  private readonly asked = new Map<number, { resolve: (value: unknown) => void; reject: (error: HeadwayError) => void }>();
  private numbers = 0;
  private up: Identity | null = null;
  /** As the leader: whether the connection is up, for those who ask. */
  private serving: Identity | null = null;
  private leaderName: string | null = null;
  private unanswered = 0;
  private membership: AbortController | null = null;
  private leaving: Promise<void> = Promise.resolve();
  private batch: (readonly [Change, number])[] = [];
  private readonly pinging: ReturnType<typeof setInterval> | undefined;

  /**
   * @param name what the tabs have in common
   * @param me this tab
   * @param shared whether to share a connection at all
   */
  constructor(
    private readonly name: string,
    private readonly me: string,
    private readonly host: TabsHost,
    shared: boolean,
  ) {
    if (!shared) {
      this.channel = null;
      return;
    }
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => this.receive(data as Message & { from: string });
    this.pinging = setInterval(() => this.watch(), PING);
  }

  /** Whether this browser lets tabs share: web locks need a secure context. */
  static get possible(): boolean {
    return typeof navigator !== "undefined" && navigator.locks !== undefined && typeof BroadcastChannel !== "undefined";
  }

  /** Take part: follow the tab that has the connection, or be it. */
  join(steal = false): void {
    if (this.role !== "away") return;
    if (this.channel === null) {
      this.role = "alone";
      this.host.lead();
      return;
    }
    this.role = "follower";
    this.unanswered = 0;
    const membership = (this.membership = new AbortController());
    const options: LockOptions = steal ? { steal: true } : { signal: membership.signal };
    navigator.locks.request(this.name, options, () => this.hold(membership)).catch(() => {
      // Aborted while waiting: we left. Aborted while holding: another tab took the lock away from us.
      if (this.membership === membership && this.role === "leader") void this.leave().then(() => this.join());
    });
    this.post({ t: "hello" });
  }

  /** Take no part: no connection, and none through another tab. */
  leave(): Promise<void> {
    const { role, membership } = this;
    if (role === "away") return this.leaving;
    this.role = "away";
    this.membership = null;
    this.lost();
    // The lock first, and at once: a page that is being frozen does nothing later. That two tabs have a connection for a
    // moment does no harm: changes are told apart by sequence, operations by key, and the disk knows its writer.
    membership?.abort();
    this.leaving = role === "follower" ? Promise.resolve() : this.host.yield();
    return this.leaving;
  }

  async close(): Promise<void> {
    clearInterval(this.pinging);
    await this.leave();
    this.channel?.close();
  }

  /** As the leader: tell the others what the connection brings. */
  share(change: Change, at: number): void {
    if (this.channel === null) return;
    if (this.batch.push([change, at]) > 1) return;
    queueMicrotask(() => {
      const changes = this.batch;
      this.batch = [];
      this.post({ t: "live", changes });
    });
  }

  announce(message: { t: "beacon"; beacon: Beacon } | { t: "presence"; presence: Presence }): void {
    this.post(message);
  }

  /** As the leader: the connection is up, or not. */
  serve(identity: Identity | null): void {
    this.serving = identity;
    this.tell();
  }

  /** To all tabs, this one excepted. */
  entry(entry: Entry): void {
    this.post({ t: "entry", entry });
  }

  outcome(outcome: Outcome): void {
    this.post({ t: "outcome", outcome });
  }

  pull(request: PullRequest): Promise<PullReply> {
    return this.ask({ pull: request }, ANSWER) as Promise<PullReply>;
  }

  perform(operation: Operation): Promise<unknown> {
    return this.ask({ perform: operation }, ANSWER + operation.timeout);
  }

  /** Hold the lock until we leave. */
  private hold(membership: AbortController): Promise<void> {
    if (membership.signal.aborted || this.membership !== membership) return Promise.resolve();
    this.lost();
    this.role = "leader";
    this.serving = null;
    const left = new Promise<void>((resolve) => membership.signal.addEventListener("abort", () => resolve()));
    this.tell();
    this.host.lead();
    return left;
  }

  private ask(asked: Asked, timeout: number): Promise<unknown> {
    if (this.up === null) {
      return Promise.reject(new HeadwayError("offline", "no tab has a connection", true, "", 503));
    }
    const number = ++this.numbers;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.asked.delete(number);
        reject(new HeadwayError("timeout", "the tab with the connection does not answer", true, "", 504));
      }, timeout);
      const done = <T>(then: (value: T) => void) => (value: T): void => {
        clearTimeout(timer);
        this.asked.delete(number);
        then(value);
      };
      this.asked.set(number, { resolve: done(resolve), reject: done<HeadwayError>(reject) });
      this.post({ t: "ask", number, asked });
    });
  }

  private receive(message: Message & { from: string }): void {
    if (this.role === "away") return;
    if (this.role === "leader") this.lead(message);
    else this.follow(message);
    if (message.t === "entry") this.host.entry(message.entry);
    else if (message.t === "outcome") this.host.outcome(message.outcome);
  }

  private lead(message: Message & { from: string }): void {
    if (message.t === "hello") this.tell();
    else if (message.t === "ask") void this.answer(message.from, message.number, message.asked);
  }

  private follow(message: Message & { from: string }): void {
    switch (message.t) {
      case "leads":
        this.unanswered = 0;
        this.leader = message.stats;
        if (this.leaderName !== message.from) this.lost();
        this.leaderName = message.from;
        if (message.up === null) this.lost();
        else if (this.up === null) {
          this.up = message.up;
          this.host.up(message.up);
        }
        break;
      case "live":
        if (message.from !== this.leaderName) return;
        this.unanswered = 0;
        for (const [change, at] of message.changes) this.host.live(change, at);
        break;
      case "beacon":
        if (message.from === this.leaderName) this.host.beacon(message.beacon);
        break;
      case "presence":
        this.host.presence(message.presence);
        break;
      case "answer": {
        if (message.to !== this.me) return;
        const waiting = this.asked.get(message.number);
        const { error } = message;
        if (error === undefined) waiting?.resolve(message.value);
        else waiting?.reject(new HeadwayError(error.code, error.message, error.retryable, "", error.status));
      }
    }
  }

  private async answer(to: string, number: number, asked: Asked): Promise<void> {
    try {
      const link = this.host.link();
      const value = await ("pull" in asked ? link.pull(asked.pull) : link.perform(asked.perform));
      this.post({ t: "answer", to, number, value });
    } catch (thrown) {
      const { code, message, status, retryable } = asError(thrown);
      this.post({ t: "answer", to, number, error: { code, message, status, retryable } });
    }
  }

  /** Whether there is a leader that answers; a hidden tab's timers are slow, so it does not judge. */
  private watch(): void {
    if (this.role !== "follower" || document.visibilityState !== "visible") return;
    if (this.unanswered++ < GONE) this.post({ t: "hello" });
    else void this.leave().then(() => this.join(true));
  }

  private tell(): void {
    this.post({ t: "leads", up: this.serving, stats: this.host.stats() });
  }

  /** As a follower: there is no connection to ask any more. */
  private lost(): void {
    const was = this.up;
    this.up = null;
    for (const { reject } of [...this.asked.values()]) {
      reject(new HeadwayError("offline", "the tab with the connection is gone", true, "", 503));
    }
    if (was !== null) this.host.down();
  }

  private post(message: Message): void {
    this.channel?.postMessage({ ...message, from: this.me });
  }
}
