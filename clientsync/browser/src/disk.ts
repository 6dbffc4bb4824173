/**
 * What outlives the page: rows and outbox in IndexedDB.
 *
 * Rows are kept as a log of segments, each a few tables (core/table.ts): the base has all rows as they were once, what
 * follows has those that changed since. A change writes a small segment; small ones are joined as they come, and once
 * what follows has grown to a part of the base, all is written as a new base. So the first paint reads a handful of
 * records, and a change costs what it weighs a few times over, not the whole.
 *
 * Segments are written late, together with the cursor they belong to, in one transaction: what is lost by not writing is
 * asked for again. One tab writes; a stamp in the database tells it that nobody else has written meanwhile.
 */
import { deleteDB, type DBSchema, type IDBPDatabase, type IDBPTransaction, openDB } from "idb";
import { type Row, Rows } from "./core/rows.js";
import { packed, Shelf, type Table } from "./core/table.js";
import type { Entry } from "./outbox.js";
import type { Key } from "./types.js";

/** `off`: never there (private mode, none wanted). `full`: the quota is used up. `lost`: another version took over. */
export type DiskState = "on" | "off" | "full" | "lost";

/** 1 had rows in 128 buckets. */
const VERSION = 2;
const PREFIX = "headway/";
/** Rows of one segment of the base, at most: fewer and larger records are quicker to read. */
const BASE = 32_768;
/** Rows that are packed at a time, which takes less than a frame; and a value that is read has so many parsed with it. */
const PACKED = 2048;
/** Changed rows beside the base before a new one is written: so many, or this part of all rows. */
const LOOSE = 1000;
const LOOSE_PART = 0.25;
/** Changed rows that are written again with the next ones, rather than be a segment of their own. */
const SMALL = 64;
/** Milliseconds that the database has to open; a page must not wait for a disk that never answers. */
const OPEN_TIMEOUT = 1500;
/** Milliseconds that changes wait for others before they are written. */
const DELAY = 1000;
/** Milliseconds after which a full disk is tried again. */
const FULL_PAUSE = 60_000;

interface Meta {
  readonly epoch: string | null;
  readonly cursor: number;
  readonly base: number;
  /** Tenant and user whose objects these are; null before the first session. */
  readonly owner: string | null;
  /** Another one after each writing: by whom, and the how manieth of that tab. */
  readonly stamp: string;
}

interface Segment {
  readonly base: boolean;
  readonly tables: readonly Table[];
  /** Objects that are gone. */
  readonly graves: readonly (readonly [type: string, id: string])[];
}

interface Schema extends DBSchema {
  /** In the order of their keys; of an object, the last one counts. */
  segments: { key: number; value: Segment };
  meta: { key: "meta"; value: Meta };
  outbox: { key: string; value: Entry };
}

/** A segment beside the base, as it is known in memory. */
interface Loose {
  readonly key: number;
  readonly names: ReadonlyMap<string, Key>;
}

/** What a writing changes: segments that go and come, and which there are beside the base afterwards. */
interface Plan {
  readonly gone: readonly number[];
  readonly put: readonly (readonly [number, Segment])[];
  readonly loose: readonly Loose[];
}

/** What was found at the start. */
export interface Found {
  readonly rows: Rows;
  readonly owner: string | null;
  readonly outbox: readonly Entry[];
}

const NOTHING = (): Found => ({ rows: new Rows(), owner: null, outbox: [] });

export class Disk {
  state: DiskState = "off";
  private db: IDBPDatabase<Schema> | null = null;
  private dirty = new Map<string, Key>();
  /** Whether the database is to be written anew: it is not known to be what we had in memory, but for what is dirty. */
  private anew = false;
  private loose: readonly Loose[] = [];
  private nextKey = 0;
  /** What the database had when we last read or wrote it. */
  private stamp: string | null = null;
  private stamps = 0;
  private owner: string | null = null;
  private writing = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private flushing: Promise<void> = Promise.resolve();
  private retryAt = 0;
  /** Whether this tab has yet to put its name into the database. */
  private claiming = false;
  private saved = -1;

  /**
   * @param name of the database; null for none
   * @param writer this tab
   * @param rows what to write, when it is written
   * @param told hears of each change of state
   */
  constructor(
    private readonly name: string | null,
    private readonly writer: string,
    private readonly rows: () => Rows,
    private readonly told: (state: DiskState) => void,
  ) {}

  /** Open the database and read it. Without one, everything is in memory alone. */
  async open(): Promise<Found> {
    if (this.name === null) return NOTHING();
    try {
      this.db = await this.opened(PREFIX + this.name);
      const found = await this.read(this.db);
      this.become("on");
      return found;
    } catch (error) {
      console.warn("headway: no IndexedDB, objects are kept in memory alone:", error);
      this.db?.close();
      this.db = null;
      return NOTHING();
    }
  }

  /** From now on this tab writes: first whatever the database lacks of what is in memory. */
  write(owner: string | null): void {
    this.writing = true;
    this.owner = owner;
    this.claiming = true;
    this.schedule();
  }

  /** Another tab writes. */
  async rest(): Promise<void> {
    await this.flush();
    this.writing = false;
  }

  /** Objects have changed. */
  changed(keys: Iterable<Key>): void {
    // A tab that does not write need not remember: should it ever, the one that did has left another stamp.
    if (!this.writing) this.anew = true;
    if (!this.anew) for (const { type, id } of keys) this.dirty.set(`${type}.${id}`, { type, id });
    this.schedule();
  }

  /** All rows were replaced, or it is not known what the database has. */
  replaced(): void {
    this.anew = true;
    this.dirty.clear();
    this.schedule();
  }

  /** Write what has not been written. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.flushing = this.flushing.then(() => this.save());
    return this.flushing;
  }

  async putEntry(entry: Entry): Promise<void> {
    await this.attempt((db) => db.put("outbox", entry));
  }

  async dropEntry(id: string): Promise<void> {
    await this.attempt((db) => db.delete("outbox", id));
  }

  async entries(): Promise<readonly Entry[]> {
    return (await this.attempt((db) => db.getAll("outbox"))) ?? [];
  }

  async close(): Promise<void> {
    await this.flush();
    this.writing = false;
    this.db?.close();
    this.db = null;
  }

  private async opened(name: string): Promise<IDBPDatabase<Schema>> {
    let late = false;
    const opening = openDB<Schema>(name, VERSION, {
      upgrade: async (db, from, _to, upgrading) => {
        db.createObjectStore("segments");
        if (from < 1) {
          db.createObjectStore("meta");
          db.createObjectStore("outbox", { keyPath: "id" });
          return;
        }
        // The rows are fetched again. What waits to be sent is nowhere else: it stays, and so does whose it is.
        (db as unknown as IDBPDatabase).deleteObjectStore("buckets");
        const meta = upgrading.objectStore("meta");
        const { owner = null } = (await meta.get("meta")) ?? {};
        await meta.put({ epoch: null, cursor: 0, base: 0, owner, stamp: "" }, "meta");
      },
      // An older version in another tab does not let go: it will when it hears of us, or we go on without.
      blocked: () => console.warn("headway: another tab holds an older version of the database"),
      // A newer version wants to upgrade: let it.
      blocking: () => this.lose("lost"),
      terminated: () => this.lose("lost"),
    });
    const timeout = new Promise<never>((_, reject) => {
      setTimeout(() => {
        late = true;
        reject(new Error("the database does not open"));
      }, OPEN_TIMEOUT);
    });
    void opening.then((db) => { if (late) db.close(); }, () => {});
    return await Promise.race([opening, timeout]);
  }

  private async read(db: IDBPDatabase<Schema>): Promise<Found> {
    const outbox = db.getAll("outbox");
    const reading = db.transaction(["segments", "meta"]);
    const segments = reading.objectStore("segments");
    const asked = Promise.all([reading.objectStore("meta").get("meta"), segments.getAllKeys(), segments.getAll()]);
    try {
      const [meta, keys, found] = await asked;
      return { rows: this.restored(meta, keys, found), owner: meta?.owner ?? null, outbox: await outbox };
    } catch (error) {
      // Large records are files of their own to a browser, and such a file can be lost.
      console.warn("headway: what is stored cannot be read, and is fetched again:", error);
      this.anew = true;
      return { ...NOTHING(), outbox: await outbox };
    }
  }

  private restored(meta: Meta | undefined, keys: readonly number[], segments: readonly Segment[]): Rows {
    const rows = new Rows();
    if (meta === undefined) return rows;
    const loose: Loose[] = [];
    /** Ids by type: what a later segment tells of an object is what counts. */
    const told = new Map<string, Set<string>>();
    for (let index = segments.length - 1; index >= 0; index--) {
      const { base, tables, graves } = segments[index]!;
      const names = new Map<string, Key>();
      const name = (type: string, id: string): unknown => base || names.set(`${type}.${id}`, { type, id });
      for (const table of tables) {
        const newer = told.get(table.type);
        const shelf = new Shelf(table, newer === undefined ? undefined : new Set(newer));
        rows.restore(table.type, shelf);
        if (!base) for (const id of shelf.ids) name(table.type, id);
      }
      for (const [type, id] of graves) name(type, id);
      for (const { type, id } of names.values()) told.set(type, (told.get(type) ?? new Set()).add(id));
      if (!base) loose.unshift({ key: keys[index]!, names });
    }
    this.loose = loose;
    this.nextKey = (keys.at(-1) ?? -1) + 1;
    this.stamp = meta.stamp;
    rows.epoch = meta.epoch;
    rows.base = meta.base;
    rows.advance(meta.cursor);
    return rows;
  }

  private schedule(): void {
    if (!this.writing || this.db === null || this.timer !== undefined) return;
    this.timer = setTimeout(() => void this.flush(), Math.max(DELAY, this.retryAt - Date.now()));
  }

  private async save(): Promise<void> {
    const { db } = this;
    if (!this.writing || db === null || Date.now() < this.retryAt) return;
    if (!this.claiming && !this.anew && this.dirty.size === 0 && this.rows().cursor === this.saved) return;
    try {
      if (this.claiming) await this.claim(db);
      await this.put(db);
      this.become("on");
    } catch (error) {
      this.failed(error);
    }
  }

  /** See whether the database is still what we read. */
  private async claim(db: IDBPDatabase<Schema>): Promise<void> {
    const stamp = (await db.get("meta", "meta"))?.stamp ?? null;
    if (stamp !== this.stamp) this.anew = true;
    this.stamp = stamp;
  }

  private async put(db: IDBPDatabase<Schema>): Promise<void> {
    const { epoch, cursor, base } = this.rows();
    const { dirty, owner } = this;
    const anew = this.anew || this.overgrown();
    this.dirty = new Map();
    this.anew = false;
    try {
      // Packed before the transaction begins, which would not wait.
      const plan = anew ? await this.wholly() : this.partly(dirty);
      const writing = db.transaction(["segments", "meta"], "readwrite", { durability: "relaxed" });
      if (!(await this.ours(writing))) return;
      const segments = writing.objectStore("segments");
      const stamp = `${this.writer}/${++this.stamps}`;
      await Promise.all([
        anew ? segments.clear() : undefined,
        ...plan.gone.map((key) => segments.delete(key)),
        ...plan.put.map(([key, segment]) => segments.put(segment, key)),
        writing.objectStore("meta").put({ epoch, cursor, base, owner, stamp }, "meta"),
        writing.done,
      ]);
      this.stamp = stamp;
      this.loose = plan.loose;
      this.nextKey += plan.put.length;
      this.claiming = false;
      this.saved = cursor;
    } catch (error) {
      this.anew ||= anew;
      this.dirty = new Map([...dirty, ...this.dirty]);
      throw error;
    }
  }

  /** Whether nobody else has written; if somebody has, they do from now on. */
  private async ours(writing: IDBPTransaction<Schema, ("segments" | "meta")[], "readwrite">): Promise<boolean> {
    const found = await writing.objectStore("meta").get("meta");
    if ((found?.stamp ?? null) === this.stamp) return true;
    writing.abort();
    await writing.done.catch(() => {});
    this.anew = true;
    // Who claims was told to by the web lock: what came in between was the last word of the one before.
    if (this.claiming) this.schedule();
    else this.writing = false;
    return false;
  }

  private overgrown(): boolean {
    const loose = this.loose.reduce((sum, { names }) => sum + names.size, this.dirty.size);
    return loose > Math.max(LOOSE, LOOSE_PART * this.rows().size);
  }

  /** All rows as a new base; the page has its turn in between. */
  private async wholly(): Promise<Plan> {
    const rows = [...this.rows()];
    const put: [number, Segment][] = [];
    let tables: Table[] = [];
    for (let from = 0; from < rows.length; from += PACKED) {
      if (from > 0) await new Promise((resolve) => setTimeout(resolve));
      if (from % BASE === 0) put.push([this.nextKey + put.length, { base: true, tables: (tables = []), graves: [] }]);
      tables.push(...packed(rows.slice(from, from + PACKED)));
    }
    return { gone: [], put, loose: [] };
  }

  /** What is dirty as a segment, joined with those before it that are not much larger. */
  private partly(dirty: ReadonlyMap<string, Key>): Plan {
    if (dirty.size === 0) return { gone: [], put: [], loose: this.loose };
    const rows = this.rows();
    const names = new Map(dirty);
    const loose = [...this.loose];
    const gone: number[] = [];
    for (let last = loose.at(-1); last !== undefined && last.names.size <= Math.max(SMALL, 2 * names.size); last = loose.at(-1)) {
      for (const [name, key] of last.names) names.set(name, key);
      gone.push(last.key);
      loose.pop();
    }
    const here: Row[] = [];
    const graves: [string, string][] = [];
    for (const { type, id } of names.values()) {
      const row = rows.get(type, id);
      if (row !== undefined) here.push(row);
      else graves.push([type, id]);
    }
    loose.push({ key: this.nextKey, names });
    return { gone, put: [[this.nextKey, { base: false, tables: packed(here), graves }]], loose };
  }

  private async attempt<T>(work: (db: IDBPDatabase<Schema>) => Promise<T>): Promise<T | undefined> {
    if (this.db === null) return undefined;
    try {
      return await work(this.db);
    } catch (error) {
      this.failed(error);
      return undefined;
    }
  }

  private failed(error: unknown): void {
    if (error instanceof DOMException && error.name === "QuotaExceededError") {
      this.retryAt = Date.now() + FULL_PAUSE;
      this.become("full");
      this.schedule();
    } else if (this.db !== null) {
      console.warn("headway: objects are kept in memory alone:", error);
      this.lose("lost");
    }
  }

  private lose(state: DiskState): void {
    this.db?.close();
    this.db = null;
    clearTimeout(this.timer);
    this.become(state);
  }

  private become(state: DiskState): void {
    if (state === this.state) return;
    this.state = state;
    this.told(state);
  }
}

/** Delete a database, as when somebody signs out for good. */
export const forget = (name: string): Promise<void> => deleteDB(PREFIX + name);
