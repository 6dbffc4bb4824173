/**
 * Many rows in a few texts. Objects with the same fields become a table, and each field a column: a JSON array, or, if there
 * are few different values, these values and a byte for each row. Ten thousand objects take less than half of their JSON,
 * and nothing is parsed before it is used: a column when a query names the field, a value when it is read.
 */
import type { Item } from "../types.js";
import { field } from "./fields.js";
import { type Row } from "./rows.js";

export interface Column {
  /** A JSON array, as bytes: the garbage collector would have to move texts about before they are ever used. */
  readonly values: Uint8Array;
  /** The index of each row's value; without it, each row has its own value. */
  readonly at?: Uint8Array;
}

/** Rows of one type, as they are stored. */
export interface Table {
  readonly type: string;
  /** Joined by commas, which no id contains. */
  readonly ids: string;
  readonly seqs: Float64Array;
  /** The fields of each object, in their order. Null if objects differ too much: then one column has whole values. */
  readonly fields: readonly string[] | null;
  readonly columns: readonly Column[];
}

/** Objects with the same fields, at least, for a table of their own. */
const ALIKE = 8;
/** The number of values that a byte can tell apart. */
const FEW = 256;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Pack rows into tables. */
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

/** Return the rows of a table, in their order. */
export const unpacked = (table: Table): Row[] => new TableReader(table).rows();

/** Return a field of an item's value, without making the value. */
export const fieldOf = (item: Item, name: string): unknown => Packed.field(item, name);

/** Return a field of each of many items. */
export const fieldsOf = (items: readonly Item[], name: string): unknown[] => Packed.fields(items, name);

interface Parsed {
  readonly values: readonly unknown[];
  readonly at: Uint8Array | undefined;
}

/** A table that is read from. */
export class TableReader {
  readonly ids: readonly string[];
  private readonly parsed: Parsed[] = [];
  private readonly made: Row[] = [];

  /**
   * @param table the stored rows
   * @param without ids of rows that newer tables replace
   */
  constructor(private readonly table: Table, private readonly without?: ReadonlySet<string>) {
    this.ids = table.ids.split(",");
  }

  /** The number of rows. */
  get size(): number {
    if (this.without === undefined) return this.ids.length;
    return this.ids.reduce((sum, _, index) => sum + Number(this.has(index)), 0);
  }

  /** The highest sequence of the rows. */
  get newest(): number {
    return this.table.seqs.reduce((most, seq) => (seq > most ? seq : most), 0);
  }

  has(index: number): boolean {
    return this.without === undefined || !this.without.has(this.ids[index]!);
  }

  /** Return a row, the same object each time. */
  row(index: number): Row {
    return (this.made[index] ??= new Packed(this.table.type, this.ids[index]!, this.table.seqs[index]!, this, index));
  }

  rows(): Row[] {
    const rows: Row[] = [];
    for (let index = 0; index < this.ids.length; index++) if (this.has(index)) rows.push(this.row(index));
    return rows;
  }

  /** Return a function that gives a field of each row. */
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

  /** Return a field of all rows; null if it is not a column. */
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

/** A row whose value is made when it is first read. From outside it looks like any other row. */
class Packed implements Item<object> {
  declare readonly value: object;
  readonly pending = false;
  readonly #reader: TableReader;
  readonly #index: number;
  #value: object | undefined;

  constructor(readonly type: string, readonly id: string, readonly seq: number, reader: TableReader, index: number) {
    this.#reader = reader;
    this.#index = index;
    Object.defineProperty(this, "value", VALUE);
  }

  static value(row: Packed): object {
    return (row.#value ??= row.#reader.value(row.#index));
  }

  static field(item: Item, name: string): unknown {
    return #reader in item && item.#value === undefined ? item.#reader.field(name, item.#index) : field(item.value, name);
  }

  /** One loop without calls: it runs before the first paint, when no code is compiled yet. */
  static fields(items: readonly Item[], name: string): unknown[] {
    const found: unknown[] = [];
    let reader: TableReader | undefined;
    let column: Parsed | null = null;
    for (const item of items) {
      if (!(#reader in item)) {
        found.push(field(item.value, name));
        continue;
      }
      if (item.#reader !== reader) {
        reader = item.#reader;
        column = reader.column(name);
      }
      if (column === null) found.push(reader.field(name, item.#index));
      else found.push(column.values[column.at === undefined ? item.#index : column.at[item.#index]!]);
    }
    return found;
  }
}

const VALUE: PropertyDescriptor & ThisType<Packed> = { enumerable: true, get() { return Packed.value(this); } };

/** Return the names of an object's fields; null for other values, and for the one name that cannot simply be set. */
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
  // Too many different values to be worth it.
  if (known.size === FEW || known.size * 2 > texts.length) return { values: encoder.encode(`[${texts.join()}]`) };
  return { values: encoder.encode(`[${[...known.keys()].join()}]`), at };
}
