/** The store: what an application has in its hands. */
import type { TableReader } from "./core/table.js";
import { Engine, type Stats } from "./engine.js";
import { HeadwayError } from "./errors.js";
import type { StoreEvents } from "./events.js";
import type { Entry, OperationOptions } from "./operations.js";
import { checkOptions, databaseName, type StoredShape, type StoreOptions } from "./options.js";
import type { PendingOperation } from "./outbox.js";
import type { Status } from "./status.js";
import { deleteDatabase } from "./storage/database.js";
import type { Item, Key, Presence } from "./types.js";
import { list, type Query, type Source, View } from "./view.js";

/** Open a store. It is ready as soon as it has read what is stored; the server is asked meanwhile. */
export async function openStore(options: StoreOptions): Promise<Store> {
  checkOptions(options);
  const store = new Store(options);
  await store.open();
  return store;
}

/** Delete what is stored under a name, as when somebody signs out. Close the store first. */
export async function forget(options: StoredShape): Promise<void> {
  if (options.cache !== false) await deleteDatabase(databaseName(options));
}

export class Store implements Source {
  readonly #engine: Engine;

  /** Use `openStore`. */
  constructor(options: StoreOptions) {
    this.#engine = new Engine(options);
  }

  /** @internal */
  async open(): Promise<void> {
    await this.#engine.open();
  }

  /** Return an object's value; undefined if the object does not exist. */
  get<T = unknown>(type: string, id: string): Readonly<T> | undefined {
    return this.read(type, id)?.value as Readonly<T> | undefined;
  }

  /** Return an object with its revision. */
  read(type: string, id: string): Item | undefined {
    return this.#engine.overlays.read(type, id);
  }

  /** Return all objects of a type, in no order. */
  all(type: string): Iterable<Item> {
    return this.#engine.overlays.all(type);
  }

  /** @internal All objects of a type as tables, if that is how they are. */
  tables(type: string): readonly TableReader[] | undefined {
    return this.#engine.overlays.tables(type);
  }

  /** Return the objects of a query, as they are now. */
  list<T = unknown>(query: Query<T>): Item<T>[] {
    return list(this, query as Query) as Item<T>[];
  }

  /** Return a query that is kept up to date: it shows at once what is stored, and follows what the server says. */
  view<T = unknown>(query: Query<T>): View<T> {
    return new View<T>(this, query, (view, attached) => this.#engine.feed.attach(view as unknown as View<never>, attached));
  }

  /** Hear which objects have changed. Returns a function that stops it. */
  subscribe(listener: (keys: readonly Key[]) => void): () => void {
    return this.#engine.feed.subscribe(listener);
  }

  /** Hear of events. Returns a function that stops it. */
  on<E extends keyof StoreEvents>(event: E, handler: (event: StoreEvents[E]) => void): () => void {
    return this.#engine.events.on(event, handler);
  }

  /** Have a worker do something now. Resolves with its answer; rejects when it refuses, or nobody can. */
  async call<T = unknown>(service: string, operation: string, request?: unknown, options: OperationOptions = {}): Promise<T> {
    const entry = this.#entry("call", service, operation, request, options);
    const { operations } = this.#engine;
    // Without a key it must not be repeated, so it is not kept either.
    return (await (options.key === undefined ? operations.once(entry) : operations.send(entry))) as T;
  }

  /** Store work to be done. Without a connection it waits, over reloads too, and is submitted once there is one. */
  async submit<T = unknown>(service: string, operation: string, request?: unknown, options: OperationOptions = {}): Promise<T> {
    return (await this.#engine.operations.send(this.#entry("submit", service, operation, request, options))) as T;
  }

  /** The operations that wait to be sent or answered, oldest first, with what their last attempt said. */
  get pending(): readonly PendingOperation[] {
    return this.#engine.operations.pending;
  }

  /** Send an operation now that was given up, or that waits for its next attempt. Resolves with its answer. */
  async retry<T = unknown>(id: string): Promise<T> {
    this.#refuseClosed();
    return (await this.#engine.operations.retry(id)) as T;
  }

  /** Take back an operation that waits. One that is under way may be done nevertheless. */
  cancel(id: string): void {
    this.#engine.operations.cancel(id);
  }

  get presence(): Presence {
    return this.#engine.presence;
  }

  get current(): boolean {
    return this.status === "current";
  }

  get status(): Status {
    return this.#engine.state;
  }

  /** A number that grows with each change. */
  get version(): number {
    return this.#engine.feed.version;
  }

  /** Return the server's time in Unix milliseconds. This machine's own clock may be wrong. */
  now(): number {
    return this.#engine.clock.now();
  }

  stats(): Stats {
    return this.#engine.stats();
  }

  /** Go offline: no connection, in this tab. */
  async pause(): Promise<void> {
    await this.#engine.pause();
  }

  /** Go online again. */
  resume(): void {
    this.#engine.resume();
  }

  /** Write what is unwritten, and stop everything. */
  close(): Promise<void> {
    return this.#engine.close();
  }

  #entry(kind: Entry["kind"], service: string, operation: string, request: unknown, options: OperationOptions): Entry {
    this.#refuseClosed();
    return this.#engine.operations.entry(kind, service, operation, request, options);
  }

  #refuseClosed(): void {
    if (this.status === "closed") throw new HeadwayError("closed", "the store was closed");
  }
}
