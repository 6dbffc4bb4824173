/** One connection to nats-server: subscriptions, pulls, calls and jobs of one session. It never reconnects by itself. */
import {
  errors, headers, type Msg, type MsgHdrs, type NatsConnection, NoRespondersError, PermissionViolationError,
  RequestError, TimeoutError, wsconnect,
} from "@nats-io/nats-core";
import { HeadwayError } from "./errors.js";
import { parseJson } from "./json.js";
import type { HeldSession } from "./session.js";
import { within } from "./timers.js";
import type { Beacon, Change, ConflictNotice, Presence, PullReply, PullRequest } from "./types.js";

/** Milliseconds to connect, to close, and for one page of changes. */
const CONNECT_TIMEOUT = 10_000;
const CLOSE_TIMEOUT = 2000;
const PULL_TIMEOUT = 10_000;

/** The revisions that an operation's changes are based on, as `type.id=revision` joined by commas. */
const BASE_REVISIONS = "Headway-Base-Revisions";

/** The proof of the user, which the session endpoint has signed. */
const USER = "Headway-User";

/** How long the caller waits from the moment of sending, in whole milliseconds: no two clocks have to agree. */
const TIMEOUT = "Headway-Timeout";

/** Return a key as a header may hold it. The server encodes what is not a token likewise. */
const headerSafe = (key: string): string => (/^[!-~](?:[ -~]*[!-~])?$/.test(key) ? key : encodeURIComponent(key));

/** Something that a service is to do. */
export interface Operation {
  /** `call`: a worker does it now and answers. `submit`: it is stored, and done as soon as a worker can. */
  readonly kind: "call" | "submit";
  readonly service: string;
  readonly operation: string;
  readonly request: unknown;
  /** The server does one operation for each key, as long as it remembers the key. */
  readonly key?: string | undefined;
  /** Milliseconds for an answer. */
  readonly timeout: number;
  /** Revisions by `type.id` that the changes are based on. */
  readonly base?: Readonly<Record<string, number>> | undefined;
}

export interface WireListener {
  /** An object changed. `at` is when the server stored it, in Unix milliseconds by its clock. */
  live(change: Change, at: number): void;
  beacon(beacon: Beacon): void;
  presence(presence: Presence): void;
  conflict(notice: ConflictNotice): void;
  /** A message had an integer that a number cannot hold exactly. */
  inexact(subject: string, integer: string): void;
}

export class Wire {
  private giveUp = (): void => {};
  private readonly givenUp = new Promise<null>((resolve) => (this.giveUp = () => resolve(null)));

  private constructor(
    readonly session: HeldSession,
    private readonly nc: NatsConnection,
    private readonly listener: WireListener,
    private readonly received: { bytes: number },
  ) {}

  /** Connect and subscribe. Every change from now on reaches the listener. */
  static async open(session: HeldSession, listener: WireListener): Promise<Wire> {
    const received = { bytes: 0 };
    const nc = await wsconnect({
      servers: session.url,
      authenticator: () => ({ jwt: session.jwt, nkey: "", sig: "" }), // a bearer token: nothing is signed
      inboxPrefix: session.inbox,
      name: `browser ${session.user}`,
      reconnect: false,
      timeout: CONNECT_TIMEOUT,
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
      wsFactory: (url: string) => {
        const socket = new WebSocket(url);
        socket.addEventListener("message", ({ data }) => (received.bytes += (data as ArrayBuffer).byteLength));
        return Promise.resolve({ socket, encrypted: url.startsWith("wss:") });
      },
    });
    nc.subscribe(`live.${session.tenant}.>`, {
      callback: (error, message) => {
        if (error === null) deliver(message, listener);
      },
    });
    try {
      // A flush never ends by itself if its connection is lost.
      await within(nc.flush(), CONNECT_TIMEOUT, nc.closed());
    } catch (error) {
      nc.close().catch(() => {});
      throw error;
    }
    return new Wire(session, nc, listener, received);
  }

  /** Resolve when the connection is gone, with the cause if there is one; at once when it is given up. */
  async closed(): Promise<Error | null> {
    return (await Promise.race([this.nc.closed(), this.givenUp])) ?? null;
  }

  /** Bytes received. */
  get bytes(): number {
    return this.received.bytes;
  }

  /** Return the milliseconds to the server and back. */
  async ping(timeout: number): Promise<number> {
    const began = performance.now();
    await within(this.nc.flush(), timeout);
    return performance.now() - began;
  }

  async pull(request: PullRequest): Promise<PullReply> {
    const subject = `sync.${this.session.tenant}.pull`;
    const { value, inexact } = parseJson((await this.request(subject, request, PULL_TIMEOUT)).data);
    if (inexact !== undefined) this.listener.inexact(`a page of ${request.types.join()}`, inexact);
    return value as PullReply;
  }

  async perform({ kind, service, operation, request, key, timeout, base }: Operation): Promise<unknown> {
    const { tenant, proof } = this.session;
    const subject =
      kind === "call" ? `rpc.${service}.${tenant}.${operation}` : `sync.${tenant}.submit.${service}.${operation}`;
    const fields = headers();
    if (key !== undefined) fields.set("Nats-Msg-Id", headerSafe(key));
    if (kind === "call") fields.set(TIMEOUT, String(Math.max(0, Math.trunc(timeout))));
    if (proof) fields.set(USER, proof);
    if (base !== undefined) fields.set(BASE_REVISIONS, Object.entries(base).map((pair) => pair.join("=")).join());
    const answer = await this.request(subject, request, timeout, fields);
    return answer.data.length === 0 ? undefined : answer.json();
  }

  /** Tell the other pages of the tenant about a conflict. Nothing depends on its arrival. */
  async tell(conflict: ConflictNotice): Promise<void> {
    await this.request(`sync.${this.session.tenant}.pull`, { conflict }, PULL_TIMEOUT);
  }

  /** Deliver what has arrived, then close. */
  async close(): Promise<void> {
    if (this.nc.isClosed()) return;
    await within(this.nc.drain(), CLOSE_TIMEOUT).catch(() => this.abort());
  }

  /** Give it up at once. Over a dead network closing takes its time, which nobody needs to wait for. */
  async abort(): Promise<void> {
    this.giveUp();
    await within(this.nc.close(), CLOSE_TIMEOUT).catch(() => {});
  }

  private async request(subject: string, body: unknown, timeout: number, fields?: MsgHdrs): Promise<Msg> {
    const payload = body === undefined ? "" : JSON.stringify(body);
    let answer: Msg;
    try {
      answer = await this.nc.request(subject, payload, { timeout, ...(fields === undefined ? {} : { headers: fields }) });
    } catch (error) {
      throw requestError(subject, error);
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

function requestError(subject: string, error: unknown): HeadwayError {
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
  return new HeadwayError("offline", `the connection was lost during a request to ${subject}`, true, "", 503);
}

function deliver(message: Msg, listener: WireListener): void {
  const parts = message.subject.split(".");
  try {
    if (parts.length === 3) {
      if (parts[2] === "head") listener.beacon(message.json<Beacon>());
      else if (parts[2] === "presence") listener.presence(message.json<Presence>());
      else if (parts[2] === "conflict") listener.conflict(message.json<ConflictNotice>());
      return;
    }
    const [, , type, id] = parts as [string, string, string, string];
    const seq = Number(message.headers?.get("Nats-Sequence"));
    if (!(seq > 0)) return;
    const content = isTombstone(message) ? { deleted: true } : contentOf(message, listener);
    listener.live({ type, id, seq, ...content }, Date.parse(message.headers!.get("Nats-Time-Stamp")));
  } catch (error) {
    // An unreadable change counts as lost: the next beacon lists it, and a pull brings it.
    console.warn(`headway: ${message.subject} cannot be read:`, error);
  }
}

function isTombstone({ data, headers: fields }: Msg): boolean {
  return (
    data.length === 0 || fields?.get("Headway-Operation") === "delete" || !!fields?.get("Nats-Marker-Reason") ||
    /^(DEL|PURGE)$/.test(fields?.get("KV-Operation") ?? "")
  );
}

function contentOf({ subject, data }: Msg, listener: WireListener): { value: unknown } | { gone: true } {
  try {
    const { value, inexact } = parseJson(data);
    if (inexact !== undefined) listener.inexact(subject, inexact);
    return { value };
  } catch {
    return { gone: true }; // not JSON: a store cannot hold it
  }
}
