/** What a store tells: events by name, and which objects have changed. */
import type { ConflictReport, Entry } from "./operations.js";
import type { HeadwayError } from "./errors.js";
import type { Status } from "./status.js";
import type { DiskState } from "./storage/disk.js";
import { type Key, nameOf, type Presence } from "./types.js";
import type { View } from "./view.js";

export interface StoreEvents {
  status: Status;
  disk: DiskState;
  presence: Presence;
  /** An operation was refused, given up or cancelled. */
  refused: { readonly entry: Entry; readonly error: HeadwayError };
  /** Two writers changed the same fields of an object; told to both of them. */
  conflict: ConflictReport;
  /** Something does not work: a connection, a session, or an operation that is being repeated. */
  trouble: HeadwayError;
}

export class Emitter {
  private readonly handlers = new Map<keyof StoreEvents, Set<(event: never) => void>>();

  /** Call a handler for each event of a name. Returns a function that stops it. */
  on<E extends keyof StoreEvents>(event: E, handler: (event: StoreEvents[E]) => void): () => void {
    let handlers = this.handlers.get(event);
    if (handlers === undefined) this.handlers.set(event, (handlers = new Set()));
    handlers.add(handler as (event: never) => void);
    return () => void handlers.delete(handler as (event: never) => void);
  }

  emit<E extends keyof StoreEvents>(event: E, value: StoreEvents[E]): void {
    for (const handler of this.handlers.get(event) ?? []) (handler as (event: StoreEvents[E]) => void)(value);
  }

  clear(): void {
    this.handlers.clear();
  }
}

/** Tells views and listeners which objects have changed, once for each turn of the event loop. */
export class ChangeFeed {
  /** Another number after each change, also of the status. */
  version = 0;
  private readonly views = new Set<View<never>>();
  private readonly listeners = new Set<(keys: readonly Key[]) => void>();
  private changed = new Map<string, Key>();

  /** Keep a view up to date from now on, or no more. */
  readonly attach = (view: View<never>, attached: boolean): void => {
    if (attached) this.views.add(view);
    else this.views.delete(view);
  };

  subscribe(listener: (keys: readonly Key[]) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** These objects look different. */
  touch(keys: Iterable<Key>): void {
    const first = this.changed.size === 0;
    for (const key of keys) this.changed.set(nameOf(key), key);
    if (first && this.changed.size > 0) queueMicrotask(() => this.tell());
  }

  /** The status is another one: views show whether they are current. */
  statusChanged(): void {
    this.version++;
    for (const view of [...this.views]) view.update([]);
  }

  clear(): void {
    this.views.clear();
    this.listeners.clear();
  }

  private tell(): void {
    const keys = [...this.changed.values()];
    this.changed = new Map();
    this.version++;
    for (const view of [...this.views]) view.update(keys);
    for (const listener of [...this.listeners]) listener(keys);
  }
}
