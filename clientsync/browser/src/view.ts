/** Views: the objects of one type that a query describes, kept in order while they change. */
import { meets } from "./core/fields.js";
import { compare } from "./core/order.js";
import { fieldOf, fieldsOf, type TableReader } from "./core/table.js";
import type { Item, Key } from "./types.js";

export interface Query<T = unknown> {
  readonly type: string;
  /** Fields that must have a value, or one of several values. */
  readonly where?: Readonly<Record<string, unknown>>;
  /** Any other condition. Give the same function for the same view, since functions are compared by identity. */
  readonly filter?: (value: Readonly<T>, id: string) => boolean;
  /** A field to order by, in the order of core/order.ts. Objects without one, and equal ones, are ordered by id. */
  readonly orderBy?: string;
  readonly descending?: boolean;
  readonly limit?: number;
}

export interface Source {
  read(type: string, id: string): Item | undefined;
  all(type: string): Iterable<Item>;
  /** The same as tables, if that is how they are stored. */
  tables?(type: string): readonly TableReader[] | undefined;
  /** Whether everything that is known to have changed is applied. */
  readonly current: boolean;
  /** Another number after each change. */
  readonly version: number;
}

/** What a view shows: the same object until something in it changes, as React's useSyncExternalStore requires. */
export interface Snapshot<T = unknown> {
  readonly items: readonly Item<T>[];
  /** How many objects there are without the limit. */
  readonly total: number;
  /** False while this is only what was stored, and the server has not answered yet. */
  readonly current: boolean;
}

/** Return whether a query takes an object. */
export function matches({ where, filter }: Query, item: Item): boolean {
  if (where !== undefined && !meets(item, where, fieldOf)) return false;
  return filter === undefined || filter(item.value as never, item.id);
}

interface Placed {
  readonly item: Item;
  /** The value of the field to order by. */
  readonly by: unknown;
}

const placed = ({ orderBy }: Query, item: Item): Placed =>
  ({ item, by: orderBy === undefined ? undefined : fieldOf(item, orderBy) });

/** Return the order of a query. */
function order({ descending }: Query): (a: Placed, b: Placed) => number {
  const sign = descending ? -1 : 1;
  return (a, b) => {
    const difference = compare(a.by, b.by);
    if (difference !== 0) return sign * difference;
    return a.item.id < b.item.id ? -sign : a.item.id > b.item.id ? sign : 0;
  };
}

function all(source: Source, query: Query): Placed[] {
  let items = [...source.all(query.type)];
  if (query.where !== undefined || query.filter !== undefined) items = items.filter((item) => matches(query, item));
  const by = query.orderBy === undefined ? [] : fieldsOf(items, query.orderBy);
  let numbers = query.orderBy !== undefined;
  const found: Placed[] = [];
  for (let index = 0; index < items.length; index++) {
    const one = by[index];
    numbers &&= typeof one === "number";
    found.push({ item: items[index]!, by: one });
  }
  const general = order(query);
  if (!numbers) return found.sort(general);
  // Times and counts are the usual case, and the first paint of many objects waits for this: it takes half the time.
  const sign = query.descending ? -1 : 1;
  return (found as (Placed & { by: number })[]).sort((a, b) => sign * (a.by - b.by) || general(a, b));
}

/**
 * Return the first objects of a query straight from the tables in which they are stored, without making an object of any
 * other. This is the usual first paint: a few rows of many, in the order of a field. Undefined for any other query.
 */
export function first(source: Source, query: Query): Pick<Snapshot, "items" | "total"> | undefined {
  const tables = query.where || query.filter || query.limit === undefined ? undefined : source.tables?.(query.type);
  if (tables === undefined) return undefined;
  const { orderBy, limit = 0 } = query;
  const before = order(query);
  const best: (Placed & { reader: TableReader; index: number })[] = [];
  const probe = { item: { id: "" } as Item & { id: string }, by: undefined as unknown };
  let total = 0;
  // The newest are stored last, and usually wanted first: once there are enough, each of the others costs one comparison.
  for (const reader of [...tables].reverse()) {
    const values = orderBy === undefined ? undefined : reader.values(orderBy);
    for (let index = reader.ids.length - 1; index >= 0; index--) {
      if (!reader.has(index)) continue;
      total++;
      probe.item.id = reader.ids[index]!;
      probe.by = values?.(index);
      if (best.length >= limit && (limit === 0 || before(best[limit - 1]!, probe) < 0)) continue;
      best.splice(position(best, probe, before), 0, { item: { ...probe.item }, by: probe.by, reader, index });
      if (best.length > limit) best.pop();
    }
  }
  return { items: best.map(({ reader, index }) => reader.row(index)), total };
}

/** Return the index at which something is, or would be, in a sorted list. */
function position(sorted: readonly Placed[], one: Placed, before: (a: Placed, b: Placed) => number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (before(sorted[middle]!, one) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the objects of a query, as they are now. */
export const list = (source: Source, query: Query): Item[] =>
  all(source, query).slice(0, query.limit).map(({ item }) => item);

/**
 * A query that is kept up to date while somebody listens, and worked out on demand otherwise. A view need not be closed:
 * without listeners nothing refers to it.
 */
export class View<T = unknown> {
  /** All objects in order; null while the first ones are enough. */
  private sorted: Placed[] | null = null;
  /** The same by id. Made when something changes, so that the first paint need not wait for it. */
  private known: Map<string, Placed> | null = null;
  private readonly listeners = new Set<() => void>();
  private shown: Snapshot<T> | null = null;
  private version = -1;
  private readonly order: (a: Placed, b: Placed) => number;

  /**
   * @param source has the objects
   * @param query says which of them
   * @param attach starts or stops the calls of `update`
   */
  constructor(
    private readonly source: Source,
    readonly query: Query<T>,
    private readonly attach: (view: View<T>, on: boolean) => void,
  ) {
    this.order = order(query as Query);
  }

  /** Return what to show: what is stored at once, what the server says later. */
  readonly get = (): Snapshot<T> => {
    if (this.listeners.size === 0 && this.version !== this.source.version) this.forget();
    return (this.shown ??= this.snapshot());
  };

  /** Hear of each change. Returns a function that stops it. */
  readonly subscribe = (listener: () => void): (() => void) => {
    if (this.listeners.size === 0) {
      if (this.version !== this.source.version) this.forget();
      this.shown ??= this.snapshot();
      this.attach(this, true);
    }
    this.listeners.add(listener);
    return () => {
      if (!this.listeners.delete(listener) || this.listeners.size > 0) return;
      this.version = this.source.version;
      this.attach(this, false);
    };
  };

  /** Take over that objects, or whether they are current, have changed. The store calls this. */
  update(keys: Iterable<Key>): void {
    let touched = this.source.current !== this.shown?.current;
    for (const { type, id } of keys) {
      if (type === this.query.type && (this.sorted === null || this.place(this.sorted, id))) touched = true;
    }
    if (!touched) return;
    this.shown = null;
    for (const listener of [...this.listeners]) listener();
  }

  private forget(): void {
    this.sorted = null;
    this.known = null;
    this.version = this.source.version;
    this.shown = null;
  }

  private snapshot(): Snapshot<T> {
    const { current } = this.source;
    const quick = this.sorted === null ? first(this.source, this.query as Query) : undefined;
    if (quick !== undefined) return { ...(quick as Pick<Snapshot<T>, "items" | "total">), current };
    const sorted = (this.sorted ??= all(this.source, this.query as Query));
    return { items: sorted.slice(0, this.query.limit).map(({ item }) => item as Item<T>), total: sorted.length, current };
  }

  /** Move one object to where it belongs now. Returns whether that changed anything. */
  private place(sorted: Placed[], id: string): boolean {
    const known = (this.known ??= new Map(sorted.map((one) => [one.item.id, one])));
    const before = known.get(id);
    const read = this.source.read(this.query.type, id);
    const after = read !== undefined && matches(this.query as Query, read) ? placed(this.query as Query, read) : undefined;
    if (before?.item === after?.item) return false;
    if (before !== undefined) sorted.splice(position(sorted, before, this.order), 1);
    if (after === undefined) known.delete(id);
    else {
      sorted.splice(position(sorted, after, this.order), 0, after);
      known.set(id, after);
    }
    return true;
  }
}
