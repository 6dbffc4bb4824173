/** The store: what an application has in its hands. It puts the parts together, and decides nothing itself. */
import { Connection, type Link } from "./connection.js";
import type { Where } from "./core/fields.js";
import { Sync } from "./core/sync.js";
import { Rows } from "./core/rows.js";
import type { Shelf } from "./core/table.js";
import { Disk, type DiskState, forget as forgetDatabase } from "./disk.js";
import { HeadwayError } from "./errors.js";
import { type Entry, type Optimistic, Outbox, type Outcome, raised } from "./outbox.js";
import type { SessionOptions } from "./session.js";
import { type Identity, Tabs } from "./tabs.js";
import type { Item, Key, Presence } from "./types.js";
import { list, type Query, type Source, View } from "./view.js";

export interface StoreOptions {
  readonly session: SessionOptions;
  /** The types of objects to keep. */
  readonly types: readonly string[];
  /** The fields to keep of a type's objects; all of them without. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  /**
   * Which objects of a type to keep: each field has the value, or one of the values. The server sends no others; one that
   * comes to match appears, one that does not match any more goes. Without it, all of a type's.
   */
  readonly where?: Readonly<Record<string, Where>>;
  /**
   * Whose objects these are, such as `acme/ada`: what is stored under one name is shown at once under the same name,
   * before the server was asked. `false` keeps objects in memory alone.
   */
  readonly cache: string | false;
}

/** What a store's database is named by. */
type Kept = Pick<StoreOptions, "types" | "fields" | "where" | "cache">;

export interface Attempt {
  /** Milliseconds for an answer. */
  readonly timeout?: number;
  /** Done once for each key. A call with a key waits for a connection; one without is not repeated. */
  readonly key?: string;
  /** How objects look until the server has answered; taken back when it refuses. */
  readonly optimistic?: Optimistic | readonly Optimistic[];
}

/** `stored`: shows what it has, not connected. `syncing`: connected, catching up. `current`: all is applied. */
export type Status = "stored" | "syncing" | "current" | "closed";

export interface Stats {
  readonly status: Status;
  readonly role: Tabs["role"];
  readonly disk: DiskState;
  readonly objects: number;
  /** Bytes received on the connection. */
  readonly bytes: number;
  /** Milliseconds to the server and back; null if not measured. */
  readonly latency: number | null;
  /** Milliseconds from a change to its being here, the last one's; clocks may differ. Null before the first. */
  readonly delay: number | null;
  /** The sequence up to which all is known to be here, and the highest that is here. */
  readonly cursor: number;
  readonly revision: number;
  /** The tenant's last change is so many sequences ahead. */
  readonly lag: number;
  readonly changes: number;
  readonly pulls: number;
  readonly gaps: number;
  readonly resets: number;
  readonly connects: number;
  readonly waiting: number;
}

/** What else happens: `status` and `disk` changed, somebody came or went, an operation was refused, a connection failed. */
export interface Events {
  status: Status;
  disk: DiskState;
  presence: Presence;
  refused: { readonly entry: Entry; readonly error: HeadwayError };
  trouble: HeadwayError;
}

/** Somebody who waits for an outcome. Two may have used the same key. */
interface Promised {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** Milliseconds between two looks at what is due. */
const TICK = 500;
/** Milliseconds for an answer, unless the application says otherwise. */
const CALL_TIMEOUT = 10_000;

/** Open a store. It is ready as soon as what is stored was read; the server is asked meanwhile. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { types, where = {} } = options;
  if (types.length === 0) throw new HeadwayError("usage", "a store needs types of objects");
  for (const type of Object.keys(where)) {
    if (!types.includes(type)) throw new HeadwayError("usage", `'where' names ${type}, which is none of the store's types`);
  }
  const store = new Store(options);
  await store.open();
  return store;
}

/** Delete what is stored under a name, as when somebody signs out. Close the store first. */
export async function forget(options: Kept): Promise<void> {
  if (options.cache !== false) await forgetDatabase(databaseName(options));
}

export class Store implements Source {
  private readonly me = randomId();
  private readonly views = new Set<View<never>>();
  private readonly listeners = new Set<(keys: readonly Key[]) => void>();
  private readonly handlers = new Map<keyof Events, Set<(event: never) => void>>();
  private readonly disk: Disk;
  private readonly outbox: Outbox;
  private readonly waiting = new Map<string, Promised[]>();
  private readonly tabs: Tabs;
  private readonly over = new AbortController();
  private sync: Sync;
  version = 0;
  private connection: Connection | null = null;
  private closing: Promise<void> | null = null;
  private touched = new Map<string, Key>();
  private ticking: ReturnType<typeof setInterval> | undefined;
  private shownStatus: Status = "stored";
  private owner: string | null = null;
  private connected = false;
  private paused = false;
  private delay: number | null = null;
  private past = { bytes: 0, connects: 0 };
  private lastPresence: Presence = { online: [] };

  /** Use `openStore`. */
  constructor(private readonly options: StoreOptions) {
    const stored = options.cache !== false && Tabs.possible;
    const name = stored ? databaseName(options) : null;
    this.disk = new Disk(name, this.me, () => this.sync.rows, (state) => this.emit("disk", state));
    this.sync = this.made(new Rows());
    this.outbox = new Outbox({
      perform: (entry) => this.link().perform(entry),
      settled: (outcome) => {
        this.tabs.outcome(outcome);
        void this.disk.dropEntry(outcome.id);
        this.outcome(outcome);
      },
      changed: (keys) => this.touch(keys),
      revision: ({ type, id }) => this.sync.rows.get(type, id)?.seq ?? 0,
    });
    this.tabs = new Tabs(`headway/${name}`, this.me, {
      lead: () => void this.lead(),
      yield: () => this.yield(),
      up: (identity) => this.up(identity),
      down: () => this.down(),
      live: (change, at) => this.live(change, at),
      beacon: (beacon) => this.sync.beacon(beacon, Date.now()),
      presence: (presence) => this.present(presence),
      entry: (entry) => this.outbox.add(entry),
      outcome: (outcome) => this.outcome(outcome),
      link: () => this.link(),
      stats: () => this.leaderStats,
    }, name !== null);
  }

  /** @internal */
  async open(): Promise<void> {
    const found = await this.disk.open();
    this.owner = found.owner;
    this.sync = this.made(found.rows);
    for (const entry of [...found.outbox].sort((a, b) => a.at - b.at)) this.outbox.add(entry);
    this.ticking = setInterval(() => this.tick(), TICK);
    const { signal } = this.over;
    const on = (target: EventTarget, event: string, work: (event: Event) => void): void =>
      target.addEventListener(event, work, { signal });
    if (typeof document !== "undefined") {
      on(document, "visibilitychange", () => this.visible());
      on(document, "freeze", () => void this.tabs.leave());
      on(document, "resume", () => this.rejoin());
      on(window, "online", () => this.connection?.nudge());
      on(window, "pagehide", (event) => {
        void this.disk.flush();
        if ((event as PageTransitionEvent).persisted) void this.tabs.leave();
      });
      on(window, "pageshow", () => this.rejoin());
    }
    this.tabs.join();
  }

  /** An object's value; undefined if there is none. */
  get<T = unknown>(type: string, id: string): Readonly<T> | undefined {
    return this.read(type, id)?.value as Readonly<T> | undefined;
  }

  /** An object with its revision. */
  read(type: string, id: string): Item | undefined {
    const row = this.sync.rows.get(type, id);
    const overlay = this.outbox.overlay(type, id);
    if (overlay !== undefined) {
      return overlay.value === undefined ? undefined : { type, id, value: overlay.value as object, seq: row?.seq ?? 0, pending: true };
    }
    return row;
  }

  /** All objects of a type, in no order. */
  all(type: string): Iterable<Item> {
    const rows = this.sync.rows.all(type);
    const covered = this.outbox.covered.filter((key) => key.type === type);
    return covered.length === 0 ? rows : this.overlaid(type, rows, covered);
  }

  /** The objects a query describes, as they are now. */
  list<T = unknown>(query: Query<T>): Item<T>[] {
    return list(this, query as Query) as Item<T>[];
  }

  /** A query that is kept up to date: shows at once what is stored, and follows what the server says. */
  view<T = unknown>(query: Query<T>): View<T> {
    return new View<T>(this, query, (view, on) => {
      if (on) this.views.add(view as unknown as View<never>);
      else this.views.delete(view as unknown as View<never>);
    });
  }

  /** Hear which objects have changed. Returns how to stop. */
  subscribe(listener: (keys: readonly Key[]) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  on<E extends keyof Events>(event: E, handler: (event: Events[E]) => void): () => void {
    let handlers = this.handlers.get(event);
    if (handlers === undefined) this.handlers.set(event, (handlers = new Set()));
    handlers.add(handler as (event: never) => void);
    return () => void handlers.delete(handler as (event: never) => void);
  }

  /** Have a worker do something now. Resolves with its answer; rejects when it refuses, or nobody can. */
  async call<T = unknown>(service: string, operation: string, request?: unknown, attempt: Attempt = {}): Promise<T> {
    const entry = this.entry("call", service, operation, request, attempt);
    if (attempt.key !== undefined) return (await this.send(entry)) as T;
    // Without a key it must not be repeated, so it is not kept either; its change shows while it is under way.
    this.outbox.cover(entry);
    try {
      const answer = await this.link().perform(entry);
      this.outbox.resolve(entry, { id: entry.id, answer });
      return answer as T;
    } catch (error) {
      const { code, message, status } = error as HeadwayError;
      this.outbox.resolve(entry, { id: entry.id, error: { code, message, status } });
      throw error;
    }
  }

  /** Store work to be done. Without a connection it waits, over reloads too, and is submitted once there is one. */
  async submit<T = unknown>(service: string, operation: string, request?: unknown, attempt: Attempt = {}): Promise<T> {
    return (await this.send(this.entry("submit", service, operation, request, attempt))) as T;
  }

  /** What waits to be sent or answered, oldest first. */
  get pending(): readonly Entry[] {
    return this.outbox.waiting;
  }

  /** Take an operation back that waits. One that is under way may be done nevertheless. */
  cancel(id: string): void {
    const error = { code: "cancelled", message: "the operation was cancelled", status: 0 };
    const outcome = { id, error };
    this.tabs.outcome(outcome);
    void this.disk.dropEntry(id);
    this.outcome(outcome);
  }

  get presence(): Presence {
    return this.lastPresence;
  }

  get current(): boolean {
    return this.connected && this.sync.current;
  }

  get status(): Status {
    if (this.closing !== null) return "closed";
    return !this.connected ? "stored" : this.sync.current ? "current" : "syncing";
  }

  stats(): Stats {
    const { rows, counts, lag } = this.sync;
    const { bytes, latency, connects } = this.tabs.role === "follower" ? this.tabs.leader : this.leaderStats;
    return {
      status: this.status, role: this.tabs.role, disk: this.disk.state, objects: rows.size, bytes, latency, connects,
      delay: this.delay, cursor: rows.cursor, revision: rows.seen, lag, ...counts, waiting: this.outbox.waiting.length,
    };
  }

  /** Be offline: no connection, in this tab. */
  async pause(): Promise<void> {
    this.paused = true;
    await this.tabs.leave();
  }

  /** Be online again. */
  resume(): void {
    this.paused = false;
    this.rejoin();
  }

  /** Write what is unwritten, let go of everything. Nothing runs afterwards. */
  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private async shut(): Promise<void> {
    clearInterval(this.ticking);
    this.over.abort();
    await this.tabs.close();
    this.outbox.close();
    await this.disk.close();
    for (const { reject } of [...this.waiting.values()].flat()) reject(new HeadwayError("closed", "the store was closed"));
    this.waiting.clear();
    this.emit("status", "closed");
    this.views.clear();
    this.listeners.clear();
    this.handlers.clear();
  }

  private made(rows: Rows): Sync {
    const sync: Sync = new Sync(rows, this.options, {
      pull: (request, flight) => {
        this.link().pull(request).then(
          (reply) => {
            sync.reply(flight, reply, Date.now());
            this.refresh();
          },
          (error: HeadwayError) => {
            sync.failed(flight, Date.now(), error.status === 429 ? 2000 : 0);
            if (!error.retryable) this.emit("trouble", error);
            this.refresh();
          },
        );
      },
      changed: (keys) => {
        this.disk.changed(keys);
        this.outbox.seen(keys);
        this.touch(keys);
      },
      replaced: () => this.disk.replaced(),
    });
    return sync;
  }

  /** All objects of a type as they are stored, if nothing else is known of them. */
  shelves(type: string): readonly Shelf[] | undefined {
    return this.outbox.covered.some((key) => key.type === type) ? undefined : this.sync.rows.shelves(type);
  }

  private *overlaid(type: string, rows: Iterable<Item>, covered: readonly Key[]): Iterable<Item> {
    for (const { id } of rows) {
      const item = this.read(type, id);
      if (item !== undefined) yield item;
    }
    for (const { id } of covered) {
      if (this.sync.rows.get(type, id) !== undefined) continue;
      const item = this.read(type, id);
      if (item !== undefined) yield item;
    }
  }

  private link(): Link {
    return this.connection ?? this.tabs;
  }

  private get leaderStats(): { bytes: number; latency: number | null; connects: number } {
    const { connection, past } = this;
    return {
      bytes: past.bytes + (connection?.bytes ?? 0),
      latency: connection?.latency ?? null,
      connects: past.connects + (connection?.connects ?? 0),
    };
  }

  /** This tab has the connection. */
  private lead(): void {
    this.disk.write(this.owner);
    this.connection = new Connection(this.options.session, {
      up: (session) => {
        this.up(session);
        this.tabs.serve({ tenant: session.tenant, user: session.user });
        this.outbox.start();
      },
      down: (cause) => {
        this.outbox.stop();
        this.tabs.serve(null);
        this.down();
        if (cause !== null) this.emit("trouble", cause);
      },
      live: (change, at) => {
        this.tabs.share(change, at);
        this.live(change, at);
      },
      beacon: (beacon) => {
        this.tabs.announce({ t: "beacon", beacon });
        this.sync.beacon(beacon, Date.now());
        this.refresh();
      },
      presence: (presence) => {
        this.tabs.announce({ t: "presence", presence });
        this.present(presence);
      },
    });
    this.connection.start();
    void this.reread();
  }

  /** What other tabs put into the outbox before we led, and nobody has sent. */
  private async reread(): Promise<void> {
    for (const entry of await this.disk.entries()) this.outbox.add(entry);
  }

  private async yield(): Promise<void> {
    const { connection } = this;
    this.connection = null;
    this.outbox.stop();
    if (connection !== null) {
      this.past = { bytes: this.past.bytes + connection.bytes, connects: this.past.connects + connection.connects };
      await connection.stop();
    }
    this.down();
    await this.disk.rest();
  }

  private rejoin(): void {
    if (!this.paused && this.closing === null) this.tabs.join();
  }

  private up(identity: Identity): void {
    const owner = `${identity.tenant}/${identity.user}`;
    if (this.owner !== null && this.owner !== owner) this.discard();
    if (this.owner !== owner && this.connection !== null) this.disk.write(owner);
    this.owner = owner;
    this.connected = true;
    this.sync.connected(Date.now());
    this.refresh();
  }

  private down(): void {
    this.connected = false;
    this.sync.disconnected();
    this.refresh();
  }

  /** What is stored belongs to somebody else. */
  private discard(): void {
    const gone = [...this.sync.rows];
    this.sync = this.made(new Rows());
    this.disk.replaced();
    for (const { id } of this.outbox.waiting) this.cancel(id);
    this.touch(gone);
  }

  private live(change: Parameters<Sync["live"]>[0], at: number): void {
    this.sync.live(change, Date.now());
    if (Number.isFinite(at)) this.delay = Math.max(0, Date.now() - at);
  }

  private present(presence: Presence): void {
    this.lastPresence = presence;
    this.emit("presence", presence);
  }

  private visible(): void {
    if (document.visibilityState !== "visible") {
      void this.disk.flush();
      return;
    }
    this.connection?.nudge();
    this.sync.suspect(Date.now());
  }

  private tick(): void {
    this.sync.tick(Date.now());
    this.refresh();
  }

  private entry(
    kind: Entry["kind"], service: string, operation: string, request: unknown, attempt: Attempt,
  ): Entry {
    if (this.closing !== null) throw new HeadwayError("closed", "the store was closed");
    const id = attempt.key ?? randomId();
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(id)) {
      throw new HeadwayError("usage", `${JSON.stringify(id)} is not a valid key`, false, "use letters, digits, '-' and '_'");
    }
    const optimistic = attempt.optimistic === undefined ? [] : [attempt.optimistic].flat();
    // What goes over the wire is JSON; here it is made so, that it can also be stored and sent to other tabs.
    return JSON.parse(JSON.stringify({
      id, kind, service, operation, request, optimistic, at: Date.now(), timeout: attempt.timeout ?? CALL_TIMEOUT,
      ...(kind === "submit" || attempt.key !== undefined ? { key: id } : {}),
    })) as Entry;
  }

  private async send(entry: Entry): Promise<unknown> {
    const outcome = new Promise((resolve, reject) => {
      this.waiting.set(entry.id, [...(this.waiting.get(entry.id) ?? []), { resolve, reject }]);
    });
    outcome.catch(() => {}); // whoever asked hears of it below
    await this.disk.putEntry(entry);
    this.outbox.add(entry);
    this.tabs.entry(entry);
    return await outcome;
  }

  private outcome(outcome: Outcome): void {
    const entry = this.outbox.waiting.find(({ id }) => id === outcome.id);
    this.outbox.settle(outcome);
    const asked = this.waiting.get(outcome.id) ?? [];
    this.waiting.delete(outcome.id);
    if (outcome.error === undefined) for (const { resolve } of asked) resolve(outcome.answer);
    else {
      const error = raised(outcome.error);
      for (const { reject } of asked) reject(error);
      if (entry !== undefined) this.emit("refused", { entry, error });
    }
  }

  /** Objects look different: tell it once for all that happens in this turn. */
  private touch(keys: Iterable<Key>): void {
    const first = this.touched.size === 0;
    for (const key of keys) this.touched.set(`${key.type}.${key.id}`, key);
    if (first && this.touched.size > 0) queueMicrotask(() => this.tell());
  }

  private tell(): void {
    const keys = [...this.touched.values()];
    this.touched = new Map();
    this.version++;
    for (const view of [...this.views]) view.update(keys);
    for (const listener of [...this.listeners]) listener(keys);
  }

  /** Tell it if the status is another one. */
  private refresh(): void {
    const { status } = this;
    if (status === this.shownStatus) return;
    this.shownStatus = status;
    this.version++;
    for (const view of [...this.views]) view.update([]);
    this.emit("status", status);
  }

  private emit<E extends keyof Events>(event: E, value: Events[E]): void {
    for (const handler of this.handlers.get(event) ?? []) (handler as (event: Events[E]) => void)(value);
  }
}

/** What is stored is complete for these types, fields and conditions, and for no others. */
function databaseName({ cache, types, fields = {}, where = {} }: Kept): string {
  const wanted = [...types].sort().map((type) => {
    const shape = fields[type] ? `(${[...fields[type]].sort().join()})` : "";
    const conditions = Object.entries(where[type] ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    return type + shape + (conditions.length > 0 ? JSON.stringify(conditions) : "");
  });
  return `${cache}/${wanted.join()}`;
}

/** 128 bits; crypto.randomUUID is not there on insecure pages. */
function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
