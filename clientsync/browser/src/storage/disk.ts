/**
 * What outlives the page: rows and outbox in IndexedDB.
 *
 * Rows are written late, together with the cursor they belong to, in one transaction: whatever is not written is asked for
 * again. One tab writes; a stamp in the database tells it that nobody else has written meanwhile.
 */
import type { IDBPTransaction } from "idb";
import { Rows } from "../core/rows.js";
import { type Entry, restored } from "../operations.js";
import { monotonic } from "../timers.js";
import { type Key, nameOf } from "../types.js";
import { type Database, openDatabase, type Schema } from "./database.js";
import { type LooseSegment, outgrown, planBase, planChanges, restore } from "./segments.js";

/** `off`: there is none (private mode, not wanted). `full`: the quota is used up. `lost`: another version took over. */
export type DiskState = "on" | "off" | "full" | "lost";

/** Milliseconds that changes wait for others before they are written. */
const DELAY = 1000;
/** Milliseconds after which a full disk is tried again. */
const FULL_PAUSE = 60_000;

/** What was stored when the database was opened. */
export interface Stored {
  readonly rows: Rows;
  readonly owner: string | null;
  readonly outbox: readonly Entry[];
}

const NOTHING = (): Stored => ({ rows: new Rows(), owner: null, outbox: [] });

export class Disk {
  state: DiskState = "off";
  private db: Database | null = null;
  private dirty = new Map<string, Key>();
  /** Whether everything is to be written anew: the database may differ in more than what is dirty. */
  private anew = false;
  private loose: readonly LooseSegment[] = [];
  private nextKey = 0;
  /** The stamp in the database when this tab last read or wrote it. */
  private stamp: string | null = null;
  private writes = 0;
  private owner: string | null = null;
  private writing = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private flushing: Promise<void> = Promise.resolve();
  private retryAt = -Infinity;
  /** Whether this tab has yet to put its stamp into the database. */
  private claiming = false;
  private saved = -1;

  /**
   * @param name of the database; null for none
   * @param writer this tab
   * @param rows returns what to write, when it is written
   * @param changed is told of each new state
   */
  constructor(
    private readonly name: string | null,
    private readonly writer: string,
    private readonly rows: () => Rows,
    private readonly changed: (state: DiskState) => void,
  ) {}

  /** Open the database and read it. Without one, everything is in memory alone. */
  async open(): Promise<Stored> {
    if (this.name === null) return NOTHING();
    try {
      this.db = await openDatabase(this.name, () => this.lose("lost"));
      const stored = await this.read(this.db);
      this.become("on");
      return stored;
    } catch (error) {
      console.warn("headway: no IndexedDB, objects are kept in memory alone:", error);
      this.db?.close();
      this.db = null;
      return NOTHING();
    }
  }

  /** Write from now on, starting with whatever the database lacks of what is in memory. */
  startWriting(owner: string | null): void {
    this.writing = true;
    this.owner = owner;
    this.claiming = true;
    this.schedule();
  }

  /** Write what is unwritten, and no more: another tab does. */
  async stopWriting(): Promise<void> {
    await this.flush();
    this.writing = false;
  }

  /** Objects have changed. */
  touch(keys: Iterable<Key>): void {
    // A tab that does not write need not remember: if it comes to write, the stamp of the tab before differs.
    if (!this.writing) this.anew = true;
    if (!this.anew) for (const { type, id } of keys) this.dirty.set(nameOf({ type, id }), { type, id });
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
    return ((await this.attempt((db) => db.getAll("outbox"))) ?? []).map(restored);
  }

  async close(): Promise<void> {
    await this.flush();
    this.writing = false;
    this.db?.close();
    this.db = null;
  }

  private async read(db: Database): Promise<Stored> {
    const outbox = db.getAll("outbox");
    const reading = db.transaction(["segments", "meta"]);
    const store = reading.objectStore("segments");
    const found = Promise.all([reading.objectStore("meta").get("meta"), store.getAllKeys(), store.getAll()]);
    try {
      const [meta, keys, segments] = await found;
      const owner = meta?.owner ?? null;
      if (meta === undefined) return { ...NOTHING(), owner, outbox: (await outbox).map(restored) };
      const { rows, loose } = restore(meta, keys, segments);
      this.loose = loose;
      this.nextKey = (keys.at(-1) ?? -1) + 1;
      this.stamp = meta.stamp;
      return { rows, owner, outbox: (await outbox).map(restored) };
    } catch (error) {
      // To a browser, large records are files of their own, and such a file can be lost.
      console.warn("headway: the stored objects cannot be read, and are fetched again:", error);
      this.anew = true;
      return { ...NOTHING(), outbox: (await outbox).map(restored) };
    }
  }

  private schedule(): void {
    if (!this.writing || this.db === null || this.timer !== undefined) return;
    this.timer = setTimeout(() => void this.flush(), Math.max(DELAY, this.retryAt - monotonic()));
  }

  private async save(): Promise<void> {
    const { db } = this;
    if (!this.writing || db === null || monotonic() < this.retryAt) return;
    if (!this.claiming && !this.anew && this.dirty.size === 0 && this.rows().cursor === this.saved) return;
    try {
      if (this.claiming) await this.claim(db);
      await this.put(db);
      this.become("on");
    } catch (error) {
      this.failed(error);
    }
  }

  /** See whether the database is still what this tab has read. */
  private async claim(db: Database): Promise<void> {
    const stamp = (await db.get("meta", "meta"))?.stamp ?? null;
    if (stamp !== this.stamp) this.anew = true;
    this.stamp = stamp;
  }

  private async put(db: Database): Promise<void> {
    const rows = this.rows();
    const { epoch, cursor, base } = rows;
    const { dirty, owner } = this;
    const anew = this.anew || outgrown(this.loose, dirty.size, rows.size);
    this.dirty = new Map();
    this.anew = false;
    try {
      // Rows are packed before the transaction begins, since it would end meanwhile.
      const plan = anew ? await planBase(rows, this.nextKey) : planChanges(rows, dirty, this.loose, this.nextKey);
      const writing = db.transaction(["segments", "meta"], "readwrite", { durability: "relaxed" });
      if (!(await this.isOurs(writing))) return;
      const segments = writing.objectStore("segments");
      const stamp = `${this.writer}/${++this.writes}`;
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

  /** Return whether nobody else has written. If somebody has, they write from now on. */
  private async isOurs(writing: IDBPTransaction<Schema, ("segments" | "meta")[], "readwrite">): Promise<boolean> {
    const found = await writing.objectStore("meta").get("meta");
    if ((found?.stamp ?? null) === this.stamp) return true;
    writing.abort();
    await writing.done.catch(() => {});
    this.anew = true;
    // A tab that claims was elected by the web lock: what came in between was the last write of the tab before.
    if (this.claiming) this.schedule();
    else this.writing = false;
    return false;
  }

  private async attempt<T>(work: (db: Database) => Promise<T>): Promise<T | undefined> {
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
      this.retryAt = monotonic() + FULL_PAUSE;
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
    this.changed(state);
  }
}
