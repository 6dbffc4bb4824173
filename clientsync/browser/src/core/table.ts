/**
 * Many rows in a few texts. Objects with the same fields become a table, each field of theirs a column: one JSON array, or
 * where there are few different values these and a byte for each row. So ten thousand objects take less than half of their JSON,
 * and nothing is parsed before it is looked at: a column when something asks for that field, a value when it is read.
 */
import type { Item } from "../types.js";
import { field } from "./fields.js";
import { type Row } from "./rows.js";

export interface Column {
  /** A JSON array, as bytes: texts would have to be moved about by the garbage collector before they are looked at. */
  readonly values: Uint8Array;
  /** Which of the values each row has; without it, each has its own. */
  readonly at?: Uint8Array;
}

/** Rows of one type, as they are stored. */
export interface Table {
  readonly type: string;
  /** Joined by commas, which no id has. */
  readonly ids: string;
  readonly seqs: Float64Array;
  /** What each of the objects has, in this order; null where they differ too much: one column has the values whole. */
  readonly fields: readonly string[] | null;
  readonly columns: readonly Column[];
}

/** Objects that must have the same fields for a table of their own. */
const ALIKE = 8;
/** What a byte can tell apart. */
const FEW = 256;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Put rows into tables. */
export function packed(rows: Iterable<Row>): Table[] {
  const groups = new Map<string, { type: string; fields: string[] | null; rows: Row[] }>();
  const put = (row: Row, fields: string[] | null): void => {
    const key = JSON.stringify([row.type, fields]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { type: row.type, fields, rows: [row] });
    else group.rows.push(row);
  };
  for (const row of rows) put(row, namesOf(row.value));
  for (const [key, { fields, rows: few }] of [...groups]) {
    if (fields === null || few.length >= ALIKE) continue;
    groups.delete(key);
    for (const row of few) put(row, null);
  }
  return [...groups.values()].map(({ type, fields, rows: own }) => ({
    type,
    ids: own.map(({ id }) => id).join(),
    seqs: Float64Array.from(own, ({ seq }) => seq),
    fields,
    columns: fields === null
      ? [column(own.map(({ value }) => value))]
      : fields.map((name) => column(own.map(({ value }) => (value as Readonly<Record<string, unknown>>)[name]))),
  }));
}

/** The rows of a table, in their order. */
export const unpacked = (table: Table): Row[] => new Shelf(table).rows();

/** A field of an item's value, which is not made for this. */
export const fieldOf = (item: Item, name: string): unknown => Packed.field(item, name);

/** A field of each of many items. */
export const fieldsOf = (items: readonly Item[], name: string): unknown[] => Packed.fields(items, name);

interface Parsed {
  readonly values: readonly unknown[];
  readonly at: Uint8Array | undefined;
}

/** A table that is read from. */
export class Shelf {
  readonly ids: readonly string[];
  private readonly parsed: Parsed[] = [];
  private readonly made: Row[] = [];

  /**
   * @param table what is stored
   * @param without ids of objects that are not read any more
   */
  constructor(private readonly table: Table, private readonly without?: ReadonlySet<string>) {
    this.ids = table.ids.split(",");
  }

  /** How many rows it has. */
  get size(): number {
    if (this.without === undefined) return this.ids.length;
    return this.ids.reduce((sum, _, index) => sum + Number(this.has(index)), 0);
  }

  /** The highest sequence of its rows. */
  get newest(): number {
    return this.table.seqs.reduce((most, seq) => (seq > most ? seq : most), 0);
  }

  has(index: number): boolean {
    return this.without === undefined || !this.without.has(this.ids[index]!);
  }

  /** One of its rows, the same each time. */
  row(index: number): Row {
    return (this.made[index] ??= new Packed(this.table.type, this.ids[index]!, this.table.seqs[index]!, this, index));
  }

  rows(): Row[] {
    const rows: Row[] = [];
    for (let index = 0; index < this.ids.length; index++) if (this.has(index)) rows.push(this.row(index));
    return rows;
  }

  /** A field of each of its rows. */
  values(name: string): (index: number) => unknown {
    const column = this.column(name);
    if (column === null) return (index) => this.field(name, index);
    const { values, at } = column;
    return at === undefined ? (index) => values[index] : (index) => values[at[index]!];
  }

  value(index: number): object {
    const { fields } = this.table;
    if (fields === null) return this.cell(0, index) as object;
    const value: Record<string, unknown> = {};
    for (let number = 0; number < fields.length; number++) value[fields[number]!] = this.cell(number, index);
    return value;
  }

  field(name: string, index: number): unknown {
    const { fields } = this.table;
    if (fields === null) return field(this.cell(0, index), name);
    const number = fields.indexOf(name);
    return number < 0 ? null : this.cell(number, index);
  }

  /** A field of all rows; null if it is no column. */
  column(name: string): Parsed | null {
    const number = this.table.fields?.indexOf(name) ?? -1;
    return number < 0 ? null : this.at(number);
  }

  private cell(number: number, index: number): unknown {
    const { values, at } = this.at(number);
    return values[at === undefined ? index : at[index]!];
  }

  private at(number: number): Parsed {
    const { values, at } = this.table.columns[number]!;
    return (this.parsed[number] ??= { values: JSON.parse(decoder.decode(values)) as unknown[], at });
  }
}

/** A row whose value is made when it is first read. From outside it is as any other, `value` its own property. */
class Packed implements Item<object> {
  declare readonly value: object;
  readonly pending = false;
  readonly #shelf: Shelf;
  readonly #index: number;
  #value: object | undefined;

  constructor(readonly type: string, readonly id: string, readonly seq: number, shelf: Shelf, index: number) {
    this.#shelf = shelf;
    this.#index = index;
    Object.defineProperty(this, "value", VALUE);
  }

  static value(row: Packed): object {
    return (row.#value ??= row.#shelf.value(row.#index));
  }

  static field(item: Item, name: string): unknown {
    return #shelf in item && item.#value === undefined ? item.#shelf.field(name, item.#index) : field(item.value, name);
  }

  /** One loop that calls nothing: it runs before the first paint, when no code is warm. */
  static fields(items: readonly Item[], name: string): unknown[] {
    const found: unknown[] = [];
    let shelf: Shelf | undefined;
    let column: Parsed | null = null;
    for (const item of items) {
      if (!(#shelf in item)) {
        found.push(field(item.value, name));
        continue;
      }
      if (item.#shelf !== shelf) {
        shelf = item.#shelf;
        column = shelf.column(name);
      }
      if (column === null) found.push(shelf.field(name, item.#index));
      else found.push(column.values[column.at === undefined ? item.#index : column.at[item.#index]!]);
    }
    return found;
  }
}

const VALUE: PropertyDescriptor & ThisType<Packed> = { enumerable: true, get() { return Packed.value(this); } };

/** The names of an object's fields; null for what has none, and for the one name that cannot simply be set. */
function namesOf(value: unknown): string[] | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const names = Object.keys(value);
  return names.includes("__proto__") ? null : names;
}

function column(values: readonly unknown[]): Column {
  const texts = values.map((value) => JSON.stringify(value) ?? "null");
  const known = new Map<string, number>();
  const at = new Uint8Array(texts.length);
  for (const [index, text] of texts.entries()) {
    let number = known.get(text);
    if (number === undefined) {
      if (known.size === FEW) break;
      known.set(text, (number = known.size));
    }
    at[index] = number;
  }
  // Broken off, or too many to be worth it.
  if (known.size === FEW || known.size * 2 > texts.length) return { values: encoder.encode(`[${texts.join()}]`) };
  return { values: encoder.encode(`[${[...known.keys()].join()}]`), at };
}
