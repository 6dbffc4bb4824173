/**
 * Rows as a log of segments, each a few tables (core/table.ts). The base has all rows as they once were; the segments after
 * it have those that changed since. A change writes a small segment; small ones are joined as they come, and once the
 * segments have grown to a part of the base, everything is written as a new base. So the first paint reads a handful of
 * records, and a change costs a few times its own size, not the size of the whole.
 */
import { type Row, Rows } from "../core/rows.js";
import { packed, TableReader, type Table } from "../core/table.js";
import { type Key, nameOf } from "../types.js";
import type { Meta } from "./database.js";

/** Rows of one segment of the base, at most: fewer and larger records are quicker to read. */
const BASE = 32_768;
/** Rows of one table, at most. Packing them takes less than a frame, and reading one value parses that many. */
const PACKED = 2048;
/** Changed rows beside the base before a new one is written: so many, or this part of all rows. */
const LOOSE = 1000;
const LOOSE_PART = 0.25;
/** Changed rows that are written again with the next ones, rather than stay in a segment of their own. */
const SMALL = 64;

export interface Segment {
  readonly base: boolean;
  readonly tables: readonly Table[];
  /** Objects that were deleted, or no longer match. */
  readonly graves: readonly (readonly [type: string, id: string])[];
}

/** A segment beside the base, as it is known in memory. */
export interface LooseSegment {
  readonly key: number;
  readonly names: ReadonlyMap<string, Key>;
}

/** What a write changes: the segments that go and come, and which ones there are beside the base afterwards. */
export interface WritePlan {
  readonly gone: readonly number[];
  readonly put: readonly (readonly [key: number, segment: Segment])[];
  readonly loose: readonly LooseSegment[];
}

/** The rows of stored segments, and which segments are beside the base. */
export function restore(meta: Meta, keys: readonly number[], segments: readonly Segment[]): { rows: Rows; loose: LooseSegment[] } {
  const rows = new Rows();
  const loose: LooseSegment[] = [];
  /** Ids by type. Of an object, the last segment that has it counts. */
  const restored = new Map<string, Set<string>>();
  for (let index = segments.length - 1; index >= 0; index--) {
    const { base, tables, graves } = segments[index]!;
    const names = new Map<string, Key>();
    const name = (type: string, id: string): unknown => base || names.set(nameOf({ type, id }), { type, id });
    for (const table of tables) {
      const newer = restored.get(table.type);
      const reader = new TableReader(table, newer === undefined ? undefined : new Set(newer));
      rows.restore(table.type, reader);
      if (!base) for (const id of reader.ids) name(table.type, id);
    }
    for (const [type, id] of graves) name(type, id);
    for (const { type, id } of names.values()) restored.set(type, (restored.get(type) ?? new Set()).add(id));
    if (!base) loose.unshift({ key: keys[index]!, names });
  }
  rows.epoch = meta.epoch;
  rows.base = meta.base;
  rows.advance(meta.cursor);
  return { rows, loose };
}

/** Return whether so much has changed beside the base that a new one should be written. */
export function outgrown(loose: readonly LooseSegment[], dirty: number, rows: number): boolean {
  return loose.reduce((sum, { names }) => sum + names.size, dirty) > Math.max(LOOSE, LOOSE_PART * rows);
}

/** Plan to write all rows as a new base. The page has its turn in between. */
export async function planBase(source: Rows, nextKey: number): Promise<WritePlan> {
  const rows = [...source];
  const put: [number, Segment][] = [];
  let tables: Table[] = [];
  for (let from = 0; from < rows.length; from += PACKED) {
    if (from > 0) await new Promise((resolve) => setTimeout(resolve));
    if (from % BASE === 0) put.push([nextKey + put.length, { base: true, tables: (tables = []), graves: [] }]);
    tables.push(...packed(rows.slice(from, from + PACKED)));
  }
  return { gone: [], put, loose: [] };
}

/** Plan to write what is dirty as a segment, joined with the segments before it that are not much larger. */
export function planChanges(rows: Rows, dirty: ReadonlyMap<string, Key>, before: readonly LooseSegment[], nextKey: number): WritePlan {
  if (dirty.size === 0) return { gone: [], put: [], loose: before };
  const names = new Map(dirty);
  const loose = [...before];
  const gone: number[] = [];
  for (let last = loose.at(-1); last !== undefined && last.names.size <= Math.max(SMALL, 2 * names.size); last = loose.at(-1)) {
    for (const [name, key] of last.names) names.set(name, key);
    gone.push(last.key);
    loose.pop();
  }
  const present: Row[] = [];
  const graves: [string, string][] = [];
  for (const { type, id } of names.values()) {
    const row = rows.get(type, id);
    if (row !== undefined) present.push(row);
    else graves.push([type, id]);
  }
  loose.push({ key: nextKey, names });
  return { gone, put: [[nextKey, { base: false, tables: packed(present), graves }]], loose };
}
