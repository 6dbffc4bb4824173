/** Sessions: the application's own token goes in, a short-lived token for the bus comes back. */
import type { ServerClock } from "./clock.js";
import { HeadwayError } from "./errors.js";
import { Backoff, monotonic, pause, within } from "./timers.js";

export interface SessionOptions {
  /** The session endpoint, such as `https://example.com/session`; a relative URL is resolved against the page's. */
  readonly url: string;
  /** Return the application's own token of the signed-in user. Called each time that one is needed. */
  readonly token: () => string | Promise<string>;
}

/** The answer of the session endpoint. */
export interface Session {
  readonly jwt: string;
  /** Proof of the user for services; absent from servers of an earlier version. */
  readonly proof?: string;
  readonly url: string;
  readonly tenant: string;
  readonly user: string;
  readonly inbox: string;
  /** Seconds from the answer on until the token expires. */
  readonly expires_in: number;
  /** Seconds from the answer on after which the token should be renewed. */
  readonly refresh_in: number;
  /** The server's time in Unix seconds. */
  readonly now: number;
}

/** A session, and when it was asked for. All of its durations are counted from there, so none is taken for too long. */
export interface HeldSession extends Session {
  readonly requestedAt: number;
}

/** Milliseconds for an answer of the session endpoint, and for the application's own token. */
const TIMEOUT = 10_000;
const TOKEN_TIMEOUT = 30_000;
/**
 * Milliseconds between two requests for a session, doubled each time up to MAX_INTERVAL. It holds whatever the answers
 * say; only a session that lasted as long as it was meant to brings the interval back to the first one.
 */
const MIN_INTERVAL = 1000;
const MAX_INTERVAL = 60_000;
/** Milliseconds without a request after which the interval is back at the first one. */
const QUIET = 2 * MAX_INTERVAL;
/** Seconds until a renewal when the server does not say. */
const DEFAULT_REFRESH = 60;

/** The endpoint refused to open a session. It may be asked again after `after` milliseconds. */
export class SessionRefused extends HeadwayError {
  constructor(
    message: string,
    readonly after: number,
    status: number,
    code: string,
    remedy: string,
  ) {
    super(code, message, status === 429 || status >= 500, remedy, status);
  }
}

/** Return the milliseconds from a session's request until its renewal is due. */
export function refreshAfter({ refresh_in }: Pick<Session, "refresh_in">): number {
  return Math.max(MIN_INTERVAL, (Number.isFinite(refresh_in) ? refresh_in : DEFAULT_REFRESH) * 1000);
}

/**
 * Return the milliseconds to wait before a session is renewed.
 *
 * @param random between 0 and 1: spreads the renewals of many pages over half of the time that is left to them
 */
export function renewalDelay(session: HeldSession, now: number, random: number): number {
  const { expires_in, refresh_in } = session;
  const spread = Math.max(0, (expires_in - refresh_in) * 500) || 0;
  return Math.max(0, session.requestedAt + refreshAfter(session) + spread * random - now);
}

export class Sessions {
  private held: HeldSession | null = null;
  private lastRequest = -Infinity;
  private nextRequest = -Infinity;
  private readonly interval = new Backoff(MIN_INTERVAL, MAX_INTERVAL);

  constructor(
    private readonly options: SessionOptions,
    private readonly clock: ServerClock,
  ) {}

  /** Return the session at hand, or a new one when its renewal is due. */
  async get(signal: AbortSignal): Promise<HeldSession> {
    if (this.held !== null && renewalDelay(this.held, monotonic(), 0) > 0) return this.held;
    return await this.renew(signal);
  }

  /** Forget the session: the bus refused its token. */
  drop(): void {
    this.held = null;
  }

  /** Open a new session. */
  async renew(signal: AbortSignal): Promise<HeldSession> {
    await this.turn(signal);
    const token = await within(Promise.resolve(this.options.token()), TOKEN_TIMEOUT);
    const requestedAt = monotonic();
    const answer = await this.post(token, signal);
    if (!answer.ok) throw await refusal(answer);
    const session = (await answer.json()) as Session;
    this.clock.set(session.now * 1000, requestedAt);
    return (this.held = { ...session, requestedAt });
  }

  /** Wait until the next request may be made. */
  private async turn(signal: AbortSignal): Promise<void> {
    await pause(this.nextRequest - monotonic(), signal);
    signal.throwIfAborted();
  }

  private async post(token: string, signal: AbortSignal): Promise<Response> {
    const now = monotonic();
    const { held } = this;
    const lasted = held !== null && now - held.requestedAt >= refreshAfter(held);
    if (lasted || now - this.lastRequest >= QUIET) this.interval.reset();
    this.lastRequest = now;
    this.nextRequest = now + MIN_INTERVAL; // a request that does not reach the server costs it nothing
    const answer = await fetch(this.options.url, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      cache: "no-store",
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    this.nextRequest = now + this.interval.next();
    return answer;
  }
}

async function refusal(answer: Response): Promise<SessionRefused> {
  const body = (await answer.json().catch(() => null)) as { error?: Record<string, string> } | null;
  const { code = "session", message = `the session endpoint answered ${answer.status}`, remedy = "" } = body?.error ?? {};
  const seconds = Number(answer.headers.get("Retry-After"));
  return new SessionRefused(message, Number.isFinite(seconds) ? seconds * 1000 : 0, answer.status, code, remedy);
}
