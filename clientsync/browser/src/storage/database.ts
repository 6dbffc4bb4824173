/** The database: its schema, and how it is opened within a time limit. */
import { deleteDB, type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Entry } from "../operations.js";
import type { Segment } from "./segments.js";

/** Version 1 had rows in 128 buckets. */
const VERSION = 2;
const PREFIX = "headway/";
/** Milliseconds that the database has to open; a page must not wait for a disk that never answers. */
const OPEN_TIMEOUT = 1500;

export interface Meta {
  readonly epoch: string | null;
  readonly cursor: number;
  readonly base: number;
  /** Tenant and user whose objects these are; null before the first session. */
  readonly owner: string | null;
  /** Changes with each write: the tab that wrote, and its number of writes. */
  readonly stamp: string;
}

export interface Schema extends DBSchema {
  /** In the order of their keys; of an object, the last one counts. */
  segments: { key: number; value: Segment };
  meta: { key: "meta"; value: Meta };
  outbox: { key: string; value: Entry };
}

export type Database = IDBPDatabase<Schema>;

/** Open a database. `lost` is called when it is taken away later, by a newer version or by the browser. */
export async function openDatabase(name: string, lost: () => void): Promise<Database> {
  let late = false;
  const opening = openDB<Schema>(PREFIX + name, VERSION, {
    upgrade: async (db, from, _to, upgrading) => {
      db.createObjectStore("segments");
      if (from < 1) {
        db.createObjectStore("meta");
        db.createObjectStore("outbox", { keyPath: "id" });
        return;
      }
      // The rows are fetched again. What waits to be sent exists only here: it stays, and so does its owner.
      (db as unknown as IDBPDatabase).deleteObjectStore("buckets");
      const meta = upgrading.objectStore("meta");
      const { owner = null } = (await meta.get("meta")) ?? {};
      await meta.put({ epoch: null, cursor: 0, base: 0, owner, stamp: "" }, "meta");
    },
    // An older version in another tab holds on to it until it hears of this one, or this one goes on without a disk.
    blocked: () => console.warn("headway: another tab holds an older version of the database"),
    // A newer version wants to upgrade: let it.
    blocking: lost,
    terminated: lost,
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

/** Delete a database, as when somebody signs out for good. */
export const deleteDatabase = (name: string): Promise<void> => deleteDB(PREFIX + name);
