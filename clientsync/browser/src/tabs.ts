/**
 * One connection for all tabs of a store: a web lock elects the tab that has it, a broadcast channel serves the others.
 *
 * A tab that is closed loses the lock, and the next one in the queue gets it. A tab that the browser freezes gives it up.
 * One that hangs does not answer, and a visible tab that waits for it takes the lock away. One that cannot connect, as
 * with a token that is refused, hands over to a tab that waits: to lead is to be connected, not to hold a lock.
 */
import type { Link } from "./connection.js";
import { asError, HeadwayError } from "./errors.js";
import type { ConflictReport, Entry, OutcomeError, Outcome } from "./operations.js";
import type { Identity } from "./ownership.js";
import { monotonic } from "./timers.js";
import type { Beacon, Change, ConflictNotice, Presence, PullReply, PullRequest } from "./types.js";
import type { Operation } from "./wire.js";

/** Milliseconds between two checks: is the leader there, and is it connected? */
const CHECK = 1000;
/** Unanswered questions after which a follower takes the leader's lock. */
const UNANSWERED = 4;
/** Milliseconds for the leader's answer, in addition to what the operation itself may take. */
const ANSWER = 15_000;
/** Milliseconds that a leader may be without a connection while others wait; doubled each time, at most PATIENCE_MAX. */
const PATIENCE = 5000;
const PATIENCE_MAX = 120_000;

type LinkRequest = { readonly pull: PullRequest } | { readonly perform: Operation };

type Message =
  | { t: "hello" }
  | { t: "leads"; up: Identity | null; stats: LeaderStats; time: number }
  | { t: "live"; changes: readonly (readonly [Change, number])[] }
  | { t: "beacon"; beacon: Beacon }
  | { t: "presence"; presence: Presence }
  | { t: "notice"; notice: ConflictNotice }
  | { t: "request"; number: number; request: LinkRequest }
  | { t: "answer"; to: string; number: number; value?: unknown; error?: OutcomeError & { retryable: boolean } }
  | { t: "entry"; entry: Entry }
  | { t: "outcome"; outcome: Outcome }
  | { t: "failed"; id: string; error: OutcomeError; attempts: number }
  | { t: "conflict"; report: ConflictReport };

/** What a tab tells the others of its own accord. */
type Announcement = Extract<Message, { t: "beacon" | "presence" | "notice" | "entry" | "outcome" | "failed" | "conflict" }>;

/** What only the tab with the connection knows. */
export interface LeaderStats {
  readonly bytes: number;
  readonly latency: number | null;
  readonly connects: number;
}

/** `alone` and `leader` have the connection, a `follower` uses the leader's, and `away` has none. */
export type Role = "alone" | "leader" | "follower" | "away";

export interface TabsHost {
  /** This tab has the connection from now on. */
  lead(): void;
  /** This tab must have no connection from now on. */
  yield(): Promise<void>;
  /** The leader's connection came up, or went down. */
  up(identity: Identity): void;
  down(): void;
  live(change: Change, at: number): void;
  beacon(beacon: Beacon): void;
  presence(presence: Presence): void;
  notice(notice: ConflictNotice): void;
  entry(entry: Entry): void;
  outcome(outcome: Outcome): void;
  failed(id: string, error: OutcomeError, attempts: number): void;
  conflict(report: ConflictReport): void;
  /** The leader's connection, for the requests of followers. */
  link(): Link;
  stats(): LeaderStats;
  /** The server's time in Unix milliseconds. */
  time(): number;
  /** The server's time, as the leader knows it. */
  setTime(time: number): void;
}

/**
 * Return whether a leader without a connection should hand over.
 *
 * @param down milliseconds since it leads or has lost its connection
 * @param handovers how often it has handed over since it was last connected
 * @param refused whether its token was refused, which the next attempt would not change
 */
export function handsOver(down: number, handovers: number, refused: boolean): boolean {
  return down >= (refused && handovers === 0 ? 0 : Math.min(PATIENCE_MAX, PATIENCE * 2 ** handovers));
}

export class Tabs implements Link {
  role: Role = "away";
  /** What the leader said last about its connection. */
  leader: LeaderStats = { bytes: 0, latency: null, connects: 0 };
  private readonly channel: BroadcastChannel | null;
  private readonly requests = new Map<number, { resolve: (value: unknown) => void; reject: (error: HeadwayError) => void }>();
  private numbers = 0;
  private up: Identity | null = null;
  /** As the leader: who is connected. */
  private serving: Identity | null = null;
  /** As the leader: since when there is no connection, on the monotonic clock. */
  private downSince = 0;
  private refused = false;
  private handovers = 0;
  /** Whether the store wants this tab to take part. */
  private wanted = false;
  private leaderName: string | null = null;
  private unanswered = 0;
  private membership: AbortController | null = null;
  private leaving: Promise<void> = Promise.resolve();
  private batch: (readonly [Change, number])[] = [];
  private readonly checking: ReturnType<typeof setInterval> | undefined;

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
    this.checking = setInterval(() => this.check(), CHECK);
  }

  /** Whether tabs can share in this browser: web locks need a secure context. */
  static get possible(): boolean {
    return typeof navigator !== "undefined" && navigator.locks !== undefined && typeof BroadcastChannel !== "undefined";
  }

  /** Take part: follow the tab that has the connection, or be it. */
  join(): void {
    this.wanted = true;
    this.enter();
  }

  private enter(steal = false): void {
    if (this.role !== "away" || !this.wanted) return;
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
      // Aborted while waiting: this tab left. Aborted while holding: another tab took the lock away.
      if (this.membership === membership && this.role === "leader") void this.rejoin();
    });
    this.post({ t: "hello" });
  }

  /** Take no part: no connection, and none through another tab. */
  leave(): Promise<void> {
    this.wanted = false;
    return this.depart();
  }

  private depart(): Promise<void> {
    const { role, membership } = this;
    if (role === "away") return this.leaving;
    this.role = "away";
    this.membership = null;
    this.lost();
    // The lock goes first, and at once: a page that is being frozen does nothing later. It does no harm if two tabs have
    // a connection for a moment: changes are told apart by sequence, operations by key, and the disk knows its writer.
    membership?.abort();
    this.leaving = role === "follower" ? Promise.resolve() : this.host.yield();
    return this.leaving;
  }

  async close(): Promise<void> {
    clearInterval(this.checking);
    await this.leave();
    this.channel?.close();
  }

  /** As the leader: pass a change on to the others. */
  share(change: Change, at: number): void {
    if (this.channel === null) return;
    if (this.batch.push([change, at]) > 1) return;
    queueMicrotask(() => {
      const changes = this.batch;
      this.batch = [];
      this.post({ t: "live", changes });
    });
  }

  /** Tell all other tabs something. */
  announce(message: Announcement): void {
    this.post(message);
  }

  /** As the leader: the connection is up, or it is not, and why. */
  serve(identity: Identity | null, cause: HeadwayError | null = null): void {
    if (identity !== null) this.handovers = 0;
    else if (this.serving !== null) this.downSince = monotonic();
    this.serving = identity;
    this.refused = identity === null && cause !== null && !cause.retryable;
    this.tell();
    this.checkHealth();
  }

  pull(request: PullRequest): Promise<PullReply> {
    return this.request({ pull: request }, ANSWER) as Promise<PullReply>;
  }

  perform(operation: Operation): Promise<unknown> {
    return this.request({ perform: operation }, ANSWER + operation.timeout);
  }

  /** Hold the lock until this tab leaves. */
  private hold(membership: AbortController): Promise<void> {
    if (membership.signal.aborted || this.membership !== membership) return Promise.resolve();
    this.lost();
    this.role = "leader";
    this.serving = null;
    this.downSince = monotonic();
    const left = new Promise<void>((resolve) => membership.signal.addEventListener("abort", () => resolve()));
    this.tell();
    this.host.lead();
    return left;
  }

  private request(request: LinkRequest, timeout: number): Promise<unknown> {
    if (this.up === null) {
      return Promise.reject(new HeadwayError("offline", "no tab has a connection", true, "", 503));
    }
    const number = ++this.numbers;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.requests.delete(number);
        reject(new HeadwayError("timeout", "the tab with the connection does not answer", true, "", 504));
      }, timeout);
      const done = <T>(then: (value: T) => void) => (value: T): void => {
        clearTimeout(timer);
        this.requests.delete(number);
        then(value);
      };
      this.requests.set(number, { resolve: done(resolve), reject: done<HeadwayError>(reject) });
      this.post({ t: "request", number, request });
    });
  }

  private receive(message: Message & { from: string }): void {
    if (this.role === "away") return;
    if (this.role === "leader") this.receiveAsLeader(message);
    else this.receiveAsFollower(message);
    switch (message.t) {
      case "entry": return this.host.entry(message.entry);
      case "outcome": return this.host.outcome(message.outcome);
      case "failed": return this.host.failed(message.id, message.error, message.attempts);
      case "conflict": return this.host.conflict(message.report);
    }
  }

  private receiveAsLeader(message: Message & { from: string }): void {
    if (message.t === "request") void this.answer(message.from, message.number, message.request);
    if (message.t !== "hello") return;
    this.tell();
    this.checkHealth(); // timers of hidden tabs are slow, messages are not
  }

  private receiveAsFollower(message: Message & { from: string }): void {
    switch (message.t) {
      case "leads":
        this.unanswered = 0;
        this.leader = message.stats;
        this.host.setTime(message.time);
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
      case "notice":
        this.host.notice(message.notice);
        break;
      case "answer": {
        if (message.to !== this.me) return;
        const waiting = this.requests.get(message.number);
        const { error } = message;
        if (error === undefined) waiting?.resolve(message.value);
        else waiting?.reject(new HeadwayError(error.code, error.message, error.retryable, "", error.status));
      }
    }
  }

  private async answer(to: string, number: number, request: LinkRequest): Promise<void> {
    try {
      const link = this.host.link();
      const value = await ("pull" in request ? link.pull(request.pull) : link.perform(request.perform));
      this.post({ t: "answer", to, number, value });
    } catch (thrown) {
      const { code, message, status, retryable } = asError(thrown);
      this.post({ t: "answer", to, number, error: { code, message, status, retryable } });
    }
  }

  /** As a follower, see whether the leader answers. A hidden tab does not judge, since its timers are slow. */
  private check(): void {
    this.checkHealth();
    if (this.role !== "follower" || document.visibilityState !== "visible") return;
    if (this.unanswered++ < UNANSWERED) this.post({ t: "hello" });
    else void this.rejoin(true);
  }

  /** As the leader, hand over if there is no connection and another tab waits. */
  private checkHealth(): void {
    if (this.role !== "leader" || this.serving !== null) return;
    if (handsOver(monotonic() - this.downSince, this.handovers, this.refused)) void this.handOver();
  }

  private async handOver(): Promise<void> {
    const { membership } = this;
    const { pending = [] } = await navigator.locks.query();
    if (this.membership !== membership || this.serving !== null) return;
    if (!pending.some(({ name }) => name === this.name)) return;
    this.handovers++;
    await this.rejoin(); // behind the others that wait
  }

  /** Leave and come back, unless somebody had this tab leave for good meanwhile. */
  private async rejoin(steal = false): Promise<void> {
    await this.depart();
    this.enter(steal);
  }

  private tell(): void {
    this.post({ t: "leads", up: this.serving, stats: this.host.stats(), time: this.host.time() });
  }

  /** As a follower: there is no connection to use any more. */
  private lost(): void {
    const was = this.up;
    this.up = null;
    for (const { reject } of [...this.requests.values()]) {
      reject(new HeadwayError("offline", "the tab with the connection is gone", true, "", 503));
    }
    if (was !== null) this.host.down();
  }

  private post(message: Message): void {
    this.channel?.postMessage({ ...message, from: this.me });
  }
}
