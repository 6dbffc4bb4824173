/** What a store is made of, and the name of its database. */
import type { Conflict, Resolution } from "./conflicts.js";
import type { Where } from "./core/fields.js";
import { HeadwayError } from "./errors.js";
import type { SessionOptions } from "./session.js";

export interface StoreOptions {
  readonly session: SessionOptions;
  /** The types of objects to keep. */
  readonly types: readonly string[];
  /** The fields to keep, by type. A type that is not listed is kept whole. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  /**
   * Which objects to keep, by type: each field has the value, or one of the values. The server sends no others. An object
   * that comes to match appears, one that no longer matches goes. A type that is not listed is kept completely.
   */
  readonly where?: Readonly<Record<string, Where>>;
  /**
   * Whose objects these are, such as `acme/ada`. What was stored under a name is shown under it before the server was
   * asked. `false` keeps objects in memory alone.
   */
  readonly cache: string | false;
  /** Decide what becomes of a change if somebody else has changed the same fields. Without it, both are merged. */
  readonly onConflict?: (conflict: Conflict) => Resolution | Promise<Resolution>;
}

/** What names a store's database. */
export type StoredShape = Pick<StoreOptions, "types" | "fields" | "where" | "cache">;

/** Refuse options that cannot work. */
export function checkOptions({ types, where = {} }: StoreOptions): void {
  if (types.length === 0) throw new HeadwayError("usage", "a store needs types of objects");
  for (const type of Object.keys(where)) {
    if (!types.includes(type)) throw new HeadwayError("usage", `'where' names ${type}, which is none of the store's types`);
  }
}

/** Return the name of a database. It is complete for these types, fields and conditions, and for no others. */
export function databaseName({ cache, types, fields = {}, where = {} }: StoredShape): string {
  const parts = [...types].sort().map((type) => {
    const shape = fields[type] ? `(${[...fields[type]].sort().join()})` : "";
    const conditions = Object.entries(where[type] ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    return type + shape + (conditions.length > 0 ? JSON.stringify(conditions) : "");
  });
  return `${cache}/${parts.join()}`;
}
