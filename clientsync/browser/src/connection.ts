/**
 * Stays connected: a session, a wire, another one when it is lost, the next token before the last one expires.
 *
 * A token is renewed make-before-break: the new wire is subscribed before the old one lets go, so nothing falls between.
 */
import { asError, HeadwayError } from "./errors.js";
import { type Session, SessionRefused, Sessions, type SessionOptions } from "./session.js";
import type { PullReply, PullRequest } from "./types.js";
import { type Listener, type Operation, Wire } from "./wire.js";

/** Milliseconds before the first try to reconnect; doubled each time, at most BACKOFF_MAX, jittered. */
const BACKOFF = 250;
const BACKOFF_MAX = 15_000;
/** Milliseconds after which a connection counts as good, and the next loss starts with a short wait again. */
const GOOD = 5000;
/** Milliseconds between two looks whether a connection is alive; balancers close what is idle for longer. */
const LOOK = 15_000;
/** Milliseconds that it has to answer. */
const PROBE = 5000;
/** Milliseconds before an application whose token is refused is asked for another one. */
const REFUSED = 30_000;
/** Milliseconds that setTimeout can hold. */
const LONGEST = 2 ** 31 - 1;

export interface ConnectionListener extends Listener {
  /** Subscribed: from now on nothing is missed. Comes again after each new wire. */
  up(session: Session): void;
  down(cause: HeadwayError | null): void;
}

/** What a tab needs of whoever holds the connection, which may be another tab. */
export interface Link {
  pull(request: PullRequest): Promise<PullReply>;
  perform(operation: Operation): Promise<unknown>;
}

export class Connection implements Link {
  private readonly sessions: Sessions;
  private readonly stopped = new AbortController();
  private wire: Wire | null = null;
  private running: Promise<void> | null = null;
  private wake: (() => void) | null = null;
  private past = 0;
  /** Milliseconds to the server and back, when last measured; null before. */
  latency: number | null = null;
  /** How many wires there were. */
  connects = 0;

  constructor(
    options: SessionOptions,
    private readonly listener: ConnectionListener,
  ) {
    this.sessions = new Sessions(options);
  }

  start(): void {
    this.running ??= this.run();
  }

  /** Let go of everything. */
  async stop(): Promise<void> {
    this.stopped.abort();
    this.wake?.();
    const { wire } = this;
    this.wire = null;
    await wire?.abort();
    await this.running;
  }

  get bytes(): number {
    return this.past + (this.wire?.bytes ?? 0);
  }

  /** The network is said to be back, or the page was hidden for a while: do not wait, and do not trust. */
  nudge(): void {
    this.wake?.();
    void this.probe();
  }

  async pull(request: PullRequest): Promise<PullReply> {
    return await this.up().pull(request);
  }

  async perform(operation: Operation): Promise<unknown> {
    return await this.up().perform(operation);
  }

  /** Measure the way to the server; a wire that does not answer is given up. */
  async probe(): Promise<void> {
    const { wire } = this;
    if (wire === null) return;
    try {
      this.latency = await wire.ping(PROBE);
    } catch {
      await wire.abort();
    }
  }

  private up(): Wire {
    if (this.wire === null) throw new HeadwayError("offline", "there is no connection", true, "", 503);
    return this.wire;
  }

  private async run(): Promise<void> {
    let failures = 0;
    while (!this.stopped.signal.aborted) {
      const began = Date.now();
      let wait = 0;
      let cause: HeadwayError | null = null;
      try {
        const wire = await this.open(await this.sessions.get(this.stopped.signal));
        this.take(wire);
        const looking = setInterval(() => void this.probe(), LOOK);
        cause = await this.lost(wire).finally(() => clearInterval(looking));
      } catch (error) {
        cause = asError(error);
        if (error instanceof SessionRefused) wait = error.retryable ? error.after : REFUSED;
        // The bus says no more than that: a token that was revoked, or one that its server does not know.
        else if (/authorization|authentication/i.test(cause.message)) this.sessions.drop();
      }
      if (this.stopped.signal.aborted) break;
      this.listener.down(cause);
      if (this.stopped.signal.aborted) break; // whoever heard of it may have closed the store
      failures = Date.now() - began > GOOD ? 0 : failures + 1;
      const backoff = Math.min(BACKOFF_MAX, BACKOFF * 2 ** Math.max(0, failures - 1));
      await this.sleep(Math.max(wait, backoff * (0.5 + Math.random() / 2)));
    }
  }

  private async open(session: Session): Promise<Wire> {
    const wire = await Wire.open(session, this.listener);
    if (!this.stopped.signal.aborted) return wire;
    await wire.abort();
    throw new HeadwayError("closed", "the store was closed");
  }

  private take(wire: Wire): void {
    this.wire = wire;
    this.connects++;
    this.listener.up(wire.session);
    void this.probe();
  }

  /** Wait until there is no wire any more, renewing it in time. Returns why it was lost. */
  private async lost(first: Wire): Promise<HeadwayError | null> {
    let wire = first;
    for (;;) {
      const next = this.renewed(wire);
      const outcome = await Promise.race([wire.closed(), next.wire]);
      next.cancel();
      if (outcome instanceof Wire) {
        this.past += wire.bytes;
        const old = wire;
        wire = outcome;
        this.take(wire);
        await old.close();
        continue;
      }
      this.past += wire.bytes;
      this.wire = null;
      if (outcome !== null && /authorization|authentication/i.test(outcome.message)) this.sessions.drop();
      return outcome === null ? null : asError(outcome);
    }
  }

  /** The wire that follows this one, some time after 80% of its token's life; spread, so that not all clients come at once. */
  private renewed(wire: Wire): { wire: Promise<Wire>; cancel: () => void } {
    const over = new AbortController();
    const { refresh_at, expires } = wire.session;
    const spread = Math.max(0, (expires - refresh_at) / 2) * 1000 * Math.random();
    const made = async (): Promise<Wire> => {
      let wait = refresh_at * 1000 + spread - Date.now();
      for (;;) {
        await pause(Math.max(0, wait), over.signal);
        try {
          const session = await this.sessions.renew(AbortSignal.any([over.signal, this.stopped.signal]));
          const next = await this.open(session);
          if (!over.signal.aborted) return next;
          await next.abort();
        } catch {
          wait = 1000 + 4000 * Math.random(); // until it works, or the token expires
        }
        if (over.signal.aborted || this.stopped.signal.aborted) return await new Promise<never>(() => {});
      }
    };
    return { wire: made(), cancel: () => over.abort() };
  }

  private async sleep(ms: number): Promise<void> {
    const woken = new AbortController();
    this.wake = () => woken.abort();
    await pause(ms, woken.signal);
    this.wake = null;
  }
}

/** Resolves after some time, or at once when aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, LONGEST));
    signal.addEventListener("abort", done);
  });
}
