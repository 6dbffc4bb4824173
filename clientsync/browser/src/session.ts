/** The session: the application's own token goes in, a short-lived token for the bus comes back. */
import { HeadwayError } from "./errors.js";

export interface SessionOptions {
  /** The session endpoint, as `https://example.com/session`; relative URLs are those of the page. */
  readonly url: string;
  /** The application's own token of whoever is signed in, asked for each time one is needed. */
  readonly token: () => string | Promise<string>;
}

/** What the session endpoint answers. */
export interface Session {
  readonly jwt: string;
  readonly url: string;
  readonly tenant: string;
  readonly user: string;
  readonly inbox: string;
  /** Unix seconds. */
  readonly expires: number;
  readonly refresh_at: number;
}

/** Milliseconds for an answer of the session endpoint. */
const TIMEOUT = 10_000;

/** A session that was refused: `after` milliseconds it may be tried again. */
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

export class Sessions {
  private held: Session | null = null;

  constructor(private readonly options: SessionOptions) {}

  /** The session at hand, or a new one when it is used up. */
  async get(signal: AbortSignal): Promise<Session> {
    if (this.held !== null && this.held.refresh_at * 1000 > Date.now()) return this.held;
    return await this.renew(signal);
  }

  /** The bus refused it: the next one is new. */
  drop(): void {
    this.held = null;
  }

  async renew(signal: AbortSignal): Promise<Session> {
    const token = await this.options.token();
    const asked = await fetch(this.options.url, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      cache: "no-store",
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    if (!asked.ok) throw await refusal(asked);
    return (this.held = (await asked.json()) as Session);
  }
}

async function refusal(answer: Response): Promise<SessionRefused> {
  const told = (await answer.json().catch(() => null)) as { error?: Record<string, string> } | null;
  const { code = "session", message = `the session endpoint answered ${answer.status}`, remedy = "" } = told?.error ?? {};
  const seconds = Number(answer.headers.get("Retry-After"));
  return new SessionRefused(message, Number.isFinite(seconds) ? seconds * 1000 : 0, answer.status, code, remedy);
}
