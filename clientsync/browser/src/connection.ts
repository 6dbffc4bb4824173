/**
 * A connection that lasts: it opens a session and a wire, another wire when one is lost, and renews the token in time.
 *
 * Renewal is make-before-break: the new wire is subscribed before the old one is closed, so no change falls in between.
 */
import { asError, HeadwayError } from "./errors.js";
import { type HeldSession, renewalDelay, type Session, SessionRefused, type Sessions } from "./session.js";
import { Backoff, monotonic, pause } from "./timers.js";
import type { ConflictNotice, PullReply, PullRequest } from "./types.js";
import { type Operation, Wire, type WireListener } from "./wire.js";

/** Milliseconds before the first attempt to reconnect; doubled each time, at most BACKOFF_MAX. */
const BACKOFF = 250;
const BACKOFF_MAX = 15_000;
/** Milliseconds before the first repetition of a renewal that failed; doubled each time, at most RENEWAL_BACKOFF_MAX. */
const RENEWAL_BACKOFF = 2000;
const RENEWAL_BACKOFF_MAX = 60_000;
/** Milliseconds after which a connection counts as good, and the next loss starts with a short wait again. */
const GOOD = 5000;
/** Milliseconds between two probes of an idle connection; load balancers close what is idle for longer. */
const PROBE_INTERVAL = 15_000;
/** Milliseconds that a probe may take. */
const PROBE_TIMEOUT = 5000;
/** Milliseconds before an application whose token was refused is asked for another one. */
const REFUSED = 30_000;

export interface ConnectionListener extends WireListener {
  /** A wire is subscribed: no change is missed from now on. Called again after each new wire. */
  up(session: Session): void;
  /** There is no wire. Called after each attempt that failed. */
  down(cause: HeadwayError | null): void;
}

/** What a tab needs from the owner of the connection, which may be another tab. */
export interface Link {
  pull(request: PullRequest): Promise<PullReply>;
  perform(operation: Operation): Promise<unknown>;
}

export class Connection implements Link {
  private readonly stopped = new AbortController();
  private wire: Wire | null = null;
  private running: Promise<void> | null = null;
  private wake: (() => void) | null = null;
  private closedBytes = 0;
  /** Milliseconds to the server and back, when last measured; null before. */
  latency: number | null = null;
  /** How many wires there were. */
  connects = 0;

  constructor(
    private readonly sessions: Sessions,
    private readonly listener: ConnectionListener,
  ) {}

  start(): void {
    this.running ??= this.run();
  }

  /** Close everything. Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.stopped.abort();
    this.wake?.();
    const { wire } = this;
    this.wire = null;
    await wire?.abort();
    await this.running;
  }

  get bytes(): number {
    return this.closedBytes + (this.wire?.bytes ?? 0);
  }

  /** Reconnect or probe at once: the network is said to be back, or the page was hidden for a while. */
  nudge(): void {
    this.wake?.();
    void this.probe();
  }

  async pull(request: PullRequest): Promise<PullReply> {
    return await this.current().pull(request);
  }

  async perform(operation: Operation): Promise<unknown> {
    return await this.current().perform(operation);
  }

  /** Tell the other pages of the tenant about a conflict. */
  async tell(notice: ConflictNotice): Promise<void> {
    await this.current().tell(notice);
  }

  /** Measure the latency. A wire that does not answer is given up. */
  async probe(): Promise<void> {
    const { wire } = this;
    if (wire === null) return;
    try {
      this.latency = await wire.ping(PROBE_TIMEOUT);
    } catch {
      await wire.abort();
    }
  }

  private current(): Wire {
    if (this.wire === null) throw new HeadwayError("offline", "there is no connection", true, "", 503);
    return this.wire;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped;
    const backoff = new Backoff(BACKOFF, BACKOFF_MAX);
    while (!signal.aborted) {
      const began = monotonic();
      let least = 0;
      let cause: HeadwayError | null = null;
      try {
        const wire = await this.open(await this.sessions.get(signal));
        this.use(wire);
        const probing = setInterval(() => void this.probe(), PROBE_INTERVAL);
        cause = await this.lost(wire).finally(() => clearInterval(probing));
      } catch (error) {
        cause = asError(error);
        if (error instanceof SessionRefused) least = error.retryable ? error.after : REFUSED;
        else if (isRefusal(cause)) this.sessions.drop();
      }
      if (signal.aborted) break;
      this.listener.down(cause);
      if (signal.aborted) break; // a listener may have closed the store
      if (monotonic() - began > GOOD) backoff.reset();
      await this.sleep(Math.max(least, backoff.next()));
    }
  }

  private async open(session: HeldSession): Promise<Wire> {
    const wire = await Wire.open(session, this.listener);
    if (!this.stopped.signal.aborted) return wire;
    await wire.abort();
    throw new HeadwayError("closed", "the store was closed");
  }

  private use(wire: Wire): void {
    this.wire = wire;
    this.connects++;
    this.listener.up(wire.session);
    void this.probe();
  }

  /** Wait until there is no wire any more, renewing it in time. Returns why the last one was lost. */
  private async lost(first: Wire): Promise<HeadwayError | null> {
    let wire = first;
    for (;;) {
      const next = this.renewal(wire);
      const outcome = await Promise.race([wire.closed(), next.wire]);
      next.cancel();
      this.closedBytes += wire.bytes;
      if (outcome instanceof Wire) {
        const old = wire;
        wire = outcome;
        this.use(wire);
        await old.close();
        continue;
      }
      this.wire = null;
      const cause = outcome === null ? null : asError(outcome);
      if (cause !== null && isRefusal(cause)) this.sessions.drop();
      return cause;
    }
  }

  /** Open the wire that follows this one, once its session is to be renewed. Failures are repeated until it expires. */
  private renewal(wire: Wire): { wire: Promise<Wire>; cancel: () => void } {
    const cancelled = new AbortController();
    const signal = AbortSignal.any([cancelled.signal, this.stopped.signal]);
    const backoff = new Backoff(RENEWAL_BACKOFF, RENEWAL_BACKOFF_MAX);
    const opened = async (): Promise<Wire> => {
      let wait = renewalDelay(wire.session, monotonic(), Math.random());
      for (;;) {
        await pause(wait, signal);
        if (signal.aborted) return await new Promise<never>(() => {});
        try {
          const next = await this.open(await this.sessions.renew(signal));
          if (!signal.aborted) return next;
          await next.abort();
        } catch (error) {
          wait = Math.max(error instanceof SessionRefused ? error.after : 0, backoff.next());
        }
      }
    };
    return { wire: opened(), cancel: () => cancelled.abort() };
  }

  private async sleep(ms: number): Promise<void> {
    const woken = new AbortController();
    this.wake = () => woken.abort();
    await pause(ms, woken.signal);
    this.wake = null;
  }
}

/** The bus says no more than this: a token that was revoked, has expired, or is not known to that server. */
const isRefusal = ({ message }: HeadwayError): boolean => /authorization|authentication/i.test(message);
