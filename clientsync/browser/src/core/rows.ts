/**
 * One generation of objects. Per object the higher sequence wins, whatever the order in which changes come.
 *
 * `cursor` is the watermark: all changes up to it are applied, so what comes from below it is old. A tombstone is
 * therefore needed only as long as the cursor has not passed it.
 */
import type { Change, Item } from "../types.js";
import type { Shelf } from "./table.js";
import { Sum } from "./sums.js";

/** An object as it is kept, which is also what an application sees of it while nothing lies over it. */
export type Row = Item;

export const newRow = (type: string, id: string, seq: number, value: unknown): Row =>
  ({ type, id, value: value as object, seq, pending: false });

export class Rows {
  private readonly types = new Map<string, Map<string, Row>>();
  /** What was stored and nobody has asked for by its id yet: a map of thousands would delay the first paint. */
  private readonly stored = new Map<string, Shelf[]>();
  /** The highest sequence applied. */
  seen: number;
  private readonly graves = new Map<string, number>();
  /** Made when they are first asked for: hashing thousands of rows would delay the first paint. */
  private readonly sums = new Map<string, Sum>();

  /**
   * @param epoch which life of the stream the sequences belong to; null before the first answer
   * @param cursor everything up to here is applied
   * @param base where the tenant stood when this load from 0 began; 0 once it is complete
   */
  constructor(
    public epoch: string | null = null,
    public cursor = 0,
    public base = 0,
  ) {
    this.seen = cursor;
  }

  /** How many objects there are. */
  get size(): number {
    let size = 0;
    for (const rows of this.types.values()) size += rows.size;
    for (const shelves of this.stored.values()) for (const shelf of shelves) size += shelf.size;
    return size;
  }

  get(type: string, id: string): Row | undefined {
    return this.of(type).get(id);
  }

  /** The objects of a type. */
  all(type: string): Iterable<Row> {
    return this.stored.get(type)?.flatMap((shelf) => shelf.rows()) ?? this.types.get(type)?.values() ?? [];
  }

  /** The same as tables, as long as nobody has asked for one by its id; undefined then. */
  shelves(type: string): readonly Shelf[] | undefined {
    return this.stored.get(type);
  }

  *[Symbol.iterator](): Iterator<Row> {
    for (const type of [...this.stored.keys(), ...this.types.keys()]) yield* this.all(type);
  }

  /** Put back rows of one type that were stored, before there are others; each object once. */
  restore(type: string, shelf: Shelf): void {
    const stored = this.stored.get(type);
    if (stored === undefined) this.stored.set(type, [shelf]);
    else stored.push(shelf);
    this.seen = Math.max(this.seen, shelf.newest);
  }

  /** Apply a change. Returns whether it was news. */
  apply(change: Change): boolean {
    const { type, id, seq } = change;
    if (seq <= this.cursor) return false;
    const grave = `${type}.${id}`;
    const known = this.get(type, id)?.seq ?? this.graves.get(grave);
    if (known !== undefined && known >= seq) return false;
    if (change.deleted || change.gone) {
      this.drop(type, id);
      this.graves.set(grave, seq);
    } else {
      this.graves.delete(grave);
      this.set(newRow(type, id, seq, change.value));
    }
    if (seq > this.seen) this.seen = seq;
    return true;
  }

  /** The changes past a sequence, as far as they are known. */
  *after(seq: number): Iterable<Change> {
    for (const row of this) if (row.seq > seq) yield row;
    for (const [grave, at] of this.graves) {
      const [type, id] = grave.split(".") as [string, string];
      if (at > seq) yield { type, id, seq: at, deleted: true };
    }
  }

  /** All changes up to here are applied. */
  advance(cursor: number): void {
    if (cursor <= this.cursor) return;
    this.cursor = cursor;
    if (cursor > this.seen) this.seen = cursor;
    for (const [grave, seq] of this.graves) if (seq <= cursor) this.graves.delete(grave);
  }

  /** The checksum over the objects of some types, as they are now. */
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
