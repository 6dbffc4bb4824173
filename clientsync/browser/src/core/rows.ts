/**
 * A set of objects. Of each object the higher sequence wins, in whatever order the changes arrive.
 *
 * All changes up to `cursor` are applied, so any that arrives from below it is old. A tombstone is therefore needed only
 * until the cursor has passed it.
 */
import { type Change, type Item, nameOf } from "../types.js";
import type { TableReader } from "./table.js";
import { Sum } from "./sums.js";

/** An object as it is kept, and as an application sees it unless an optimistic change lies over it. */
export type Row = Item;

export const newRow = (type: string, id: string, seq: number, value: unknown): Row =>
  ({ type, id, value: value as object, seq, pending: false });

export class Rows {
  private readonly types = new Map<string, Map<string, Row>>();
  /** Stored rows that nobody has asked for by id yet: a map of thousands would delay the first paint. */
  private readonly stored = new Map<string, TableReader[]>();
  /** The highest sequence applied. */
  seen: number;
  /** Sequences of tombstones that the cursor has not passed yet. */
  private readonly tombstones = new Map<string, number>();
  /** Checksums by type, made on demand: hashing thousands of rows would delay the first paint. */
  private readonly sums = new Map<string, Sum>();

  /**
   * @param epoch identifies the stream that the sequences belong to; null before the first answer
   * @param cursor everything up to this sequence is applied
   * @param base the tenant's last sequence when this load from 0 began; 0 once the load is complete
   */
  constructor(
    public epoch: string | null = null,
    public cursor = 0,
    public base = 0,
  ) {
    this.seen = cursor;
  }

  /** The number of objects. */
  get size(): number {
    let size = 0;
    for (const rows of this.types.values()) size += rows.size;
    for (const tables of this.stored.values()) for (const reader of tables) size += reader.size;
    return size;
  }

  get(type: string, id: string): Row | undefined {
    return this.of(type).get(id);
  }

  /** The objects of a type. */
  all(type: string): Iterable<Row> {
    return this.stored.get(type)?.flatMap((reader) => reader.rows()) ?? this.types.get(type)?.values() ?? [];
  }

  /** The same as tables; undefined once an object was asked for by its id. */
  tables(type: string): readonly TableReader[] | undefined {
    return this.stored.get(type);
  }

  *[Symbol.iterator](): Iterator<Row> {
    for (const type of [...this.stored.keys(), ...this.types.keys()]) yield* this.all(type);
  }

  /** Put back stored rows of one type, before any others exist; each object once. */
  restore(type: string, reader: TableReader): void {
    const stored = this.stored.get(type);
    if (stored === undefined) this.stored.set(type, [reader]);
    else stored.push(reader);
    this.seen = Math.max(this.seen, reader.newest);
  }

  /** Apply a change. Returns whether it was newer than what was known. */
  apply(change: Change): boolean {
    const { type, id, seq } = change;
    if (seq <= this.cursor) return false;
    const name = nameOf(change);
    const known = this.get(type, id)?.seq ?? this.tombstones.get(name);
    if (known !== undefined && known >= seq) return false;
    if (change.deleted || change.gone) {
      this.drop(type, id);
      this.tombstones.set(name, seq);
    } else {
      this.tombstones.delete(name);
      this.set(newRow(type, id, seq, change.value));
    }
    if (seq > this.seen) this.seen = seq;
    return true;
  }

  /** The known changes after a sequence. */
  *after(seq: number): Iterable<Change> {
    for (const row of this) if (row.seq > seq) yield row;
    for (const [name, at] of this.tombstones) {
      const [type, id] = name.split(".") as [string, string];
      if (at > seq) yield { type, id, seq: at, deleted: true };
    }
  }

  /** Note that all changes up to a sequence are applied. */
  advance(cursor: number): void {
    if (cursor <= this.cursor) return;
    this.cursor = cursor;
    if (cursor > this.seen) this.seen = cursor;
    for (const [name, seq] of this.tombstones) if (seq <= cursor) this.tombstones.delete(name);
  }

  /** Return the checksum over the objects of some types. */
  total(types: Iterable<string>): Sum {
    const total = new Sum();
    for (const type of types) {
      let sum = this.sums.get(type);
      if (sum === undefined) {
        this.sums.set(type, (sum = new Sum()));
        for (const row of this.all(type)) sum.add(type, row.id, row.seq);
      }
      total.join(sum);
    }
    return total;
  }

  /** The objects of a type by their id. */
  private of(type: string): Map<string, Row> {
    let rows = this.types.get(type);
    if (rows === undefined) {
      rows = new Map();
      for (const row of this.all(type)) rows.set(row.id, row);
      this.stored.delete(type);
      this.types.set(type, rows);
    }
    return rows;
  }

  private set(row: Row): void {
    const rows = this.of(row.type);
    const before = rows.get(row.id);
    rows.set(row.id, row);
    const sum = this.sums.get(row.type);
    if (before !== undefined) sum?.remove(row.type, row.id, before.seq);
    sum?.add(row.type, row.id, row.seq);
  }

  private drop(type: string, id: string): void {
    const before = this.get(type, id);
    if (before === undefined) return;
    this.of(type).delete(id);
    this.sums.get(type)?.remove(type, id, before.seq);
  }
}
