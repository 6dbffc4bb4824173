/**
 * Two writers of one object. Each optimistic change carries the revision and the value that it is based on. If the object
 * has changed meanwhile, the three values are compared field by field, and both changes are kept where they can be.
 */
import { compare } from "./core/order.js";
import type { Entry, StoredChange } from "./operations.js";
import type { Item, Key } from "./types.js";

/** The object as it was when a change was made: revision 0 and no value if it did not exist. */
export interface Base {
  readonly seq: number;
  readonly value?: unknown;
}

/** A change that met somebody else's. An undefined value means that the object does not exist there. */
export interface Conflict extends Key {
  readonly base: unknown;
  readonly mine: unknown;
  readonly theirs: unknown;
  /** Both changes together. Where `fields` overlap, it has mine. */
  readonly merged: unknown;
  /** The fields that both have changed, to different values. */
  readonly fields: readonly string[];
  /** The operation that carries my change. */
  readonly operation: Entry;
}

/**
 * What becomes of a conflict: `mine` is sent as it is, `theirs` drops my operation, `merge` sends both changes together.
 * An object with a value and a request is sent instead of mine.
 */
export type Resolution = "mine" | "theirs" | "merge" | { readonly value: unknown; readonly request: unknown };

/** Stands for the whole value among the fields: one side deleted it, or it has no fields. */
const WHOLE = "*";

type Fields = Readonly<Record<string, unknown>>;

const equal = (a: unknown, b: unknown): boolean => compare(a, b) === 0;

const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

/** Merge two changes of one value, field by field. An edit beats a deletion; where both edit a field, mine is taken. */
export function merge(base: unknown, mine: unknown, theirs: unknown): { value: unknown; fields: readonly string[] } {
  if (equal(mine, theirs) || equal(base, theirs)) return { value: mine, fields: [] };
  if (equal(base, mine)) return { value: theirs, fields: [] };
  if (mine === undefined) return { value: theirs, fields: [WHOLE] };
  if (!isObject(mine) || !isObject(theirs)) return { value: mine, fields: [WHOLE] };
  const before = isObject(base) ? base : {};
  const value: Record<string, unknown> = { ...theirs };
  const fields: string[] = [];
  for (const name of new Set([...Object.keys(before), ...Object.keys(mine), ...Object.keys(theirs)])) {
    if (equal(before[name], mine[name])) continue;
    if (!equal(before[name], theirs[name]) && !equal(mine[name], theirs[name])) fields.push(name);
    if (name in mine) value[name] = mine[name];
    else delete value[name];
  }
  return { value, fields };
}

/**
 * Return the conflict of a change with an object as it is now; null if nobody else has changed the object. An object that
 * did not exist is this page's own: if it does now, an earlier attempt made it whose answer was lost.
 */
export function conflictOf(operation: Entry, change: StoredChange, now: Item | undefined): Conflict | null {
  const { type, id, base, value: mine } = change;
  const theirs = now?.value;
  if (base.seq === 0 || now?.seq === base.seq || equal(base.value, theirs)) return null;
  const { value, fields } = merge(base.value, mine, theirs);
  return { type, id, base: base.value, mine, theirs, merged: value, fields, operation };
}

/**
 * Return a request in which what repeats the object follows the merge: the whole object where it stands in the request,
 * and of its fields those that only the other writer has changed.
 */
export function mergedRequest(request: unknown, { mine, merged }: Pick<Conflict, "mine" | "merged">): unknown {
  if (!isObject(request) || !isObject(mine) || !isObject(merged)) return request;
  if (equal(request, mine)) return merged;
  const result: Record<string, unknown> = { ...request };
  for (const [name, part] of Object.entries(request)) {
    if (isObject(part) && equal(part, mine)) result[name] = merged;
    else if (name in mine && equal(part, mine[name]) && name in merged) result[name] = merged[name];
  }
  return result;
}
