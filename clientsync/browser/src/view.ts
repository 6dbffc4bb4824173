/** Views: the objects of one type that a query describes, kept in order while they change. */
import { meets } from "./core/fields.js";
import { fieldOf, fieldsOf, type Shelf } from "./core/table.js";
import type { Item, Key } from "./types.js";

export interface Query<T = unknown> {
  readonly type: string;
  /** Fields that must have a value, or one of several. */
  readonly where?: Readonly<Record<string, unknown>>;
  /** Any other condition; the same function for the same view, since it is not looked into. */
  readonly filter?: (value: Readonly<T>, id: string) => boolean;
  /** A field to order by; by id without one, and among equals. */
  readonly orderBy?: string;
  readonly descending?: boolean;
  readonly limit?: number;
}

export interface Source {
  read(type: string, id: string): Item | undefined;
  all(type: string): Iterable<Item>;
  /** The same as tables, if that is how they are. */
  shelves?(type: string): readonly Shelf[] | undefined;
  /** Whether all that was known to have changed is applied. */
  readonly current: boolean;
  /** Another number after each change. */
  readonly version: number;
}

/** What a view shows. The same object until something of it changes, as React's useSyncExternalStore wants it. */
export interface Snapshot<T = unknown> {
  readonly items: readonly Item<T>[];
  /** How many there are without the limit. */
  readonly total: number;
  /** False while this is what was stored, and the server has not been heard yet. */
  readonly current: boolean;
}

/** Whether a query takes an object. */
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

/** The order of a query. */
function order({ descending }: Query): (a: Placed, b: Placed) => number {
  const sign = descending ? -1 : 1;
  return (a, b) => {
    const difference = compare(a.by, b.by);
    if (difference !== 0) return sign * difference;
    return a.item.id < b.item.id ? -sign : a.item.id > b.item.id ? sign : 0;
  };
}

/** What is missing comes first, then numbers, then texts. */
function compare(a: unknown, b: unknown): number {
  if (a === b) return 0;
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : 1;
  return rank(a) - rank(b);
}

const rank = (value: unknown): number =>
  value == null ? 0 : typeof value === "number" ? 1 : typeof value === "string" ? 2 : 3;

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
  // The usual case, times and counts, in half the time: this is what the first paint of many objects waits for.
  const sign = query.descending ? -1 : 1;
  return (found as (Placed & { by: number })[]).sort((a, b) => sign * (a.by - b.by) || general(a, b));
}

/**
 * The first of many, straight from the tables in which they are stored: of all others no object is made. The usual first
 * paint: so many rows of so many, in the order of a field. Undefined where that is not what is asked for.
 */
export function first(source: Source, query: Query): Pick<Snapshot, "items" | "total"> | undefined {
  const shelves = query.where || query.filter || query.limit === undefined ? undefined : source.shelves?.(query.type);
  if (shelves === undefined) return undefined;
  const { orderBy, limit = 0 } = query;
  const before = order(query);
  const best: (Placed & { shelf: Shelf; index: number })[] = [];
  const probe = { item: { id: "" } as Item & { id: string }, by: undefined as unknown };
  let total = 0;
  // The newest are stored last and asked for first: once there are enough, one look at each of the others will do.
  for (const shelf of [...shelves].reverse()) {
    const values = orderBy === undefined ? undefined : shelf.values(orderBy);
    for (let index = shelf.ids.length - 1; index >= 0; index--) {
      if (!shelf.has(index)) continue;
      total++;
      probe.item.id = shelf.ids[index]!;
      probe.by = values?.(index);
      if (best.length >= limit && (limit === 0 || before(best[limit - 1]!, probe) < 0)) continue;
      best.splice(position(best, probe, before), 0, { item: { ...probe.item }, by: probe.by, shelf, index });
      if (best.length > limit) best.pop();
    }
  }
  return { items: best.map(({ shelf, index }) => shelf.row(index)), total };
}

/** Where something is in what is in order, or would be. */
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

/** The objects a query describes, as they are now. */
export const list = (source: Source, query: Query): Item[] =>
  all(source, query).slice(0, query.limit).map(({ item }) => item);

/**
 * A query that is kept up to date while somebody listens; otherwise it is worked out when it is asked for. So a view
 * needs no closing: without listeners nothing refers to it.
 */
export class View<T = unknown> {
  /** All of them in order; null while the first ones are enough. */
  private sorted: Placed[] | null = null;
  /** By id; made when something changes, which the first paint need not wait for. */
  private known: Map<string, Placed> | null = null;
  private readonly listeners = new Set<() => void>();
  private shown: Snapshot<T> | null = null;
  private version = -1;
  private readonly order: (a: Placed, b: Placed) => number;

  /**
   * @param source where the objects are
   * @param query which of them
   * @param attach has `update` called from now on, or no more
   */
  constructor(
    private readonly source: Source,
    readonly query: Query<T>,
    private readonly attach: (view: View<T>, on: boolean) => void,
  ) {
    this.order = order(query as Query);
  }

  /** What to show: at once what is stored, later what the server says. */
  readonly get = (): Snapshot<T> => {
    if (this.listeners.size === 0 && this.version !== this.source.version) this.forget();
    return (this.shown ??= this.snapshot());
  };

  /** Hear of each change. Returns how to stop. */
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

  /** Objects have changed, or whether they are current; the store calls this. */
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
    const some = this.sorted === null ? first(this.source, this.query as Query) : undefined;
    if (some !== undefined) return { ...(some as Pick<Snapshot<T>, "items" | "total">), current };
    const sorted = (this.sorted ??= all(this.source, this.query as Query));
    return { items: sorted.slice(0, this.query.limit).map(({ item }) => item as Item<T>), total: sorted.length, current };
  }

  /** Put one object where it belongs now. Returns whether that changed anything. */
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
