/** One connection to nats-server: subscriptions, pulls, calls and jobs of one session. It never reconnects itself. */
import {
  errors, headers, jwtAuthenticator, type Msg, type MsgHdrs, type NatsConnection, NoRespondersError, PermissionViolationError,
  RequestError, TimeoutError, wsconnect,
} from "@nats-io/nats-core";
import { HeadwayError } from "./errors.js";
import type { Session } from "./session.js";
import type { Beacon, Change, Presence, PullReply, PullRequest } from "./types.js";

/** Milliseconds to connect. */
const CONNECT_TIMEOUT = 10_000;
/** Milliseconds to close. */
const CLOSE_TIMEOUT = 2000;
/** Milliseconds for a page. */
const PULL_TIMEOUT = 10_000;

/** Something to be done by a service. */
export interface Operation {
  /** `call`: by a worker, now, with an answer. `submit`: stored, and done as soon as a worker can. */
  readonly kind: "call" | "submit";
  readonly service: string;
  readonly operation: string;
  readonly request: unknown;
  /** Done once for each key, as far as the server remembers it. */
  readonly key?: string | undefined;
  /** Milliseconds for an answer. */
  readonly timeout: number;
}

export interface Listener {
  /** `at` is when the server stored it, in milliseconds by its clock. */
  live(change: Change, at: number): void;
  beacon(beacon: Beacon): void;
  presence(presence: Presence): void;
}

const decoder = new TextDecoder();

export class Wire {
  private given = (): void => {};
  private readonly givenUp = new Promise<null>((resolve) => (this.given = () => resolve(null)));

  private constructor(
    readonly session: Session,
    private readonly nc: NatsConnection,
    private readonly count: { bytes: number },
  ) {}

  /** Connect and subscribe; what changes from now on reaches the listener. */
  static async open(session: Session, listener: Listener): Promise<Wire> {
    const count = { bytes: 0 };
    const nc = await wsconnect({
      servers: session.url,
      authenticator: jwtAuthenticator(session.jwt),
      inboxPrefix: session.inbox,
      name: `browser ${session.user}`,
      reconnect: false,
      timeout: CONNECT_TIMEOUT,
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
      wsFactory: (url: string) => {
        const socket = new WebSocket(url);
        socket.addEventListener("message", ({ data }) => (count.bytes += (data as ArrayBuffer).byteLength));
        return Promise.resolve({ socket, encrypted: url.startsWith("wss:") });
      },
    });
    nc.subscribe(`live.${session.tenant}.>`, {
      callback: (error, message) => {
        if (error === null) deliver(message, listener);
      },
    });
    try {
      // A flush whose connection is lost never ends by itself.
      await within(nc.flush(), CONNECT_TIMEOUT, nc.closed());
    } catch (error) {
      nc.close().catch(() => {});
      throw error;
    }
    return new Wire(session, nc, count);
  }

  /** Resolves when the connection is gone, with the cause if there is one; at once when it is given up. */
  async closed(): Promise<Error | null> {
    return (await Promise.race([this.nc.closed(), this.givenUp])) ?? null;
  }

  /** Bytes received. */
  get bytes(): number {
    return this.count.bytes;
  }

  /** Milliseconds to the server and back. */
  async ping(timeout: number): Promise<number> {
    const began = performance.now();
    await within(this.nc.flush(), timeout);
    return performance.now() - began;
  }

  async pull(request: PullRequest): Promise<PullReply> {
    const message = await this.request(`sync.${this.session.tenant}.pull`, request, PULL_TIMEOUT);
    return message.json<PullReply>();
  }

  async presence(): Promise<Presence> {
    const message = await this.request(`sync.${this.session.tenant}.pull`, { presence: true }, PULL_TIMEOUT);
    return message.json<Presence>();
  }

  async perform({ kind, service, operation, request, key, timeout }: Operation): Promise<unknown> {
    const { tenant } = this.session;
    const subject =
      kind === "call" ? `rpc.${service}.${tenant}.${operation}` : `sync.${tenant}.submit.${service}.${operation}`;
    const sent = headers();
    if (key !== undefined) sent.set("Nats-Msg-Id", key);
    if (kind === "call") sent.set("Headway-Deadline", String(Date.now() + timeout));
    const answer = await this.request(subject, request, timeout, sent);
    return answer.data.length === 0 ? undefined : answer.json();
  }

  /** Deliver what has arrived, and close. */
  async close(): Promise<void> {
    if (this.nc.isClosed()) return;
    await within(this.nc.drain(), CLOSE_TIMEOUT).catch(() => this.abort());
  }

  /** Give it up: over a dead network the closing itself takes its time, which nobody needs to wait for. */
  async abort(): Promise<void> {
    this.given();
    await within(this.nc.close(), CLOSE_TIMEOUT).catch(() => {});
  }

  private async request(subject: string, body: unknown, timeout: number, sent?: MsgHdrs): Promise<Msg> {
    const payload = body === undefined ? "" : JSON.stringify(body);
    let answer: Msg;
    try {
      answer = await this.nc.request(subject, payload, { timeout, ...(sent === undefined ? {} : { headers: sent }) });
    } catch (error) {
      throw failure(subject, error);
    }
    const code = answer.headers?.get("Nats-Service-Error-Code");
    if (!code) return answer;
    const status = Number(code);
    throw new HeadwayError(
      answer.headers!.get("Headway-Error") || "remote_error",
      answer.headers!.get("Nats-Service-Error"),
      status === 404 || status === 429 || status === 503 || status === 504,
      "",
      status,
    );
  }
}

function failure(subject: string, error: unknown): HeadwayError {
  const cause = error instanceof RequestError && error.cause !== undefined ? error.cause : error;
  if (cause instanceof NoRespondersError || (cause instanceof RequestError && cause.isNoResponders())) {
    return new HeadwayError("not_served", `nobody serves ${subject}`, true, "", 404);
  }
  if (cause instanceof TimeoutError) return new HeadwayError("timeout", `no answer from ${subject} in time`, true, "", 504);
  if (cause instanceof PermissionViolationError) {
    return new HeadwayError("forbidden", `${subject} is not allowed`, false, "", 403);
  }
  if (cause instanceof errors.InvalidArgumentError) {
    return new HeadwayError("too_large", `${subject}: ${cause.message}`, false, "send less at once", 413);
  }
  return new HeadwayError("offline", `the connection was lost while ${subject} was asked`, true, "", 503);
}

function deliver(message: Msg, listener: Listener): void {
  const parts = message.subject.split(".");
  try {
    if (parts.length === 3) {
      if (parts[2] === "head") listener.beacon(message.json<Beacon>());
      else if (parts[2] === "presence") listener.presence(message.json<Presence>());
      return;
    }
    const [, , type, id] = parts as [string, string, string, string];
    const seq = Number(message.headers?.get("Nats-Sequence"));
    if (!(seq > 0)) return;
    const what = isTombstone(message) ? { deleted: true } : content(message);
    listener.live({ type, id, seq, ...what }, Date.parse(message.headers!.get("Nats-Time-Stamp")));
  } catch (error) {
    // What cannot be read is reported by its absence: the next beacon finds it missing.
    console.warn(`headway: ${message.subject} cannot be read:`, error);
  }
}

function isTombstone({ data, headers: found }: Msg): boolean {
  return (
    data.length === 0 || found?.get("Headway-Operation") === "delete" || !!found?.get("Nats-Marker-Reason") ||
    /^(DEL|PURGE)$/.test(found?.get("KV-Operation") ?? "")
  );
}

function content(message: Msg): { value: unknown } | { gone: true } {
  try {
    return { value: JSON.parse(decoder.decode(message.data)) };
  } catch {
    return { gone: true }; // no JSON: nothing that a store can hold
  }
}

/** Wait for something, but not for longer than that, nor after `end`. */
async function within<T>(promise: Promise<T>, timeout: number, end?: Promise<unknown>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new HeadwayError("timeout", "no answer in time", true, "", 504)), timeout);
    void end?.then((error) => reject(error instanceof Error ? error : new HeadwayError("offline", "the connection was lost", true)));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
