import assert from "node:assert/strict";
import { test } from "node:test";
import "fake-indexeddb/auto";
import fc from "fast-check";
import { openDB } from "idb";
import { Rows } from "../src/core/rows.js";
import type { Table } from "../src/core/table.js";
import { deleteDatabase } from "../src/storage/database.js";
import { Disk } from "../src/storage/disk.js";
import type { Change } from "../src/types.js";

let databases = 0;
const content = (rows: Rows): unknown =>
  [...rows].map(({ type, id, seq, value }) => ({ type, id, seq, value })).sort((a, b) => (`${a.type}.${a.id}` < `${b.type}.${b.id}` ? -1 : 1));

interface Opened {
  readonly disk: Disk;
  rows: Rows;
  readonly owner: string | null;
}

async function opened(name: string, writer: string): Promise<Opened> {
  const disk: Disk = new Disk(name, writer, () => made.rows, () => {});
  const made: Opened = { disk, ...(await disk.open()) };
  return made;
}

/** Apply changes, as a store does. */
const apply = ({ disk, rows }: Opened, ...changes: Change[]): void => disk.touch(changes.filter((one) => rows.apply(one)));

/** What a page finds that opens the database now. */
async function found(name: string): Promise<Opened> {
  const reader = await opened(name, "reader");
  await reader.disk.close();
  return reader;
}

/** Everything in a store of a database, as it is. */
async function raw(name: string, store: string): Promise<{ base: boolean; tables: Table[]; graves: unknown[] }[]> {
  const db = await openDB(`headway/${name}`);
  const all = await db.getAll(store);
  db.close();
  return all;
}

test("what is written is found again, with its epoch and cursor, whatever changed, went and came, by whichever tab", async () => {
  const change: fc.Arbitrary<Change> = fc.record({
    type: fc.constantFrom("fax", "call"), id: fc.stringMatching(/^[a-z]{1,2}$/), seq: fc.integer({ min: 1, max: 500 }),
    value: fc.oneof(fc.jsonValue(), fc.record({ n: fc.nat(), state: fc.constantFrom("new", "sent") }, { noNullPrototype: true })).map((of) => JSON.parse(JSON.stringify(of)) as unknown), deleted: fc.boolean(),
  });
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.array(change, { maxLength: 30 }) },
    { weight: 1, arbitrary: fc.constantFrom("reset" as const, "another tab" as const, "the same page again" as const) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step), async (steps) => {
      const name = `test-${databases++}`;
      let tab = await opened(name, "tab");
      tab.rows.epoch = "e";
      tab.disk.startWriting("acme/ada");
      for (const [number, one] of steps.entries()) {
        if (one === "reset") {
          tab.rows = new Rows("e");
          tab.disk.replaced();
        } else if (one === "another tab" || one === "the same page again") {
          const before = content(tab.rows);
          await tab.disk.close();
          tab = await opened(name, one === "another tab" ? `tab-${number}` : "tab");
          assert.deepEqual(content(tab.rows), before);
          tab.rows.epoch = "e";
          tab.disk.startWriting("acme/ada");
        } else apply(tab, ...one);
        await tab.disk.flush();
        assert.deepEqual(content((await found(name)).rows), content(tab.rows));
      }
      tab.rows.advance(600);
      await tab.disk.close();
      const { rows, owner } = await found(name);
      assert.deepEqual(content(rows), content(tab.rows));
      assert.deepEqual([rows.epoch, rows.cursor, owner], ["e", 600, "acme/ada"]);
    }),
    { numRuns: 25 },
  );
});

test("a tab that was thought dead writes nothing over what its successor wrote", async () => {
  const name = `test-${databases++}`;
  const old = await opened(name, "old");
  old.disk.startWriting(null);
  await old.disk.flush();
  const next = await opened(name, "next");
  next.disk.startWriting(null);
  apply(next, { type: "fax", id: "a", seq: 2, value: "new" });
  await next.disk.flush();
  apply(old, { type: "fax", id: "a", seq: 1, value: "old" });
  await old.disk.close();
  await next.disk.close();
  assert.equal((await found(name)).rows.get("fax", "a")?.value, "new");
});

test("a tab that comes to write after others did writes all it has", async () => {
  const name = `test-${databases++}`;
  const follower = await opened(name, "follower");
  const leader = await opened(name, "leader");
  leader.disk.startWriting(null);
  apply(leader, { type: "fax", id: "a", seq: 1, value: "seen by both" });
  apply(follower, { type: "fax", id: "a", seq: 1, value: "seen by both" });
  apply(leader, { type: "fax", id: "b", seq: 2, value: "went on the way to the other" });
  await leader.disk.close();
  follower.disk.startWriting(null);
  apply(follower, { type: "fax", id: "c", seq: 3, value: "seen last" });
  await follower.disk.close();
  assert.deepEqual(content((await found(name)).rows), content(follower.rows));
});

test("a tab that only follows writes no rows", async () => {
  const name = `test-${databases++}`;
  const tab = await opened(name, "me");
  apply(tab, { type: "fax", id: "a", seq: 1, value: 1 });
  await tab.disk.close();
  assert.equal((await found(name)).rows.size, 0);
});

test("a change writes itself and a few others, not ten thousand; and there are never many records to read", async () => {
  const name = `test-${databases++}`;
  const tab = await opened(name, "me");
  tab.disk.startWriting(null);
  const put = (n: number): Change => ({ type: "fax", id: `f${n % 10_000}`, seq: n + 1, value: { n, state: "sending" } });
  apply(tab, ...Array.from({ length: 10_000 }, (_, n) => put(n)));
  await tab.disk.flush();
  let written = 0;
  const real = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (this: IDBObjectStore, value: { tables?: Table[] }, key) {
    for (const { seqs } of value.tables ?? []) written += seqs.length;
    return real.call(this, value, key);
  } as typeof real;
  try {
    let most = 0;
    for (let n = 10_000; n < 10_500; n++) {
      apply(tab, put(n * 7));
      await tab.disk.flush();
      if (n % 50 === 0) most = Math.max(most, (await raw(name, "segments")).length);
    }
    assert.ok(written < 500 * 64, `${written} rows for 500 changes`);
    assert.ok(most <= 8, `${most} segments`);
    apply(tab, ...Array.from({ length: 3000 }, (_, n) => put(100_000 + n)));
    await tab.disk.flush();
  } finally {
    IDBObjectStore.prototype.put = real;
  }
  assert.deepEqual((await raw(name, "segments")).map(({ base }) => base), [true], "much has changed: a new base");
  await tab.disk.close();
  assert.deepEqual(content((await found(name)).rows), content(tab.rows));
});

test("a tab that dies in the middle of writing leaves what was written before", async () => {
  const name = `test-${databases++}`;
  const tab = await opened(name, "me");
  tab.disk.startWriting(null);
  apply(tab, { type: "fax", id: "a", seq: 1, value: 1 });
  tab.rows.advance(1);
  await tab.disk.flush();
  const real = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (this: IDBObjectStore, ...put) {
    const asked = real.apply(this, put);
    if (this.name === "meta") this.transaction.abort();
    return asked;
  };
  try {
    apply(tab, { type: "fax", id: "b", seq: 2, value: 2 });
    tab.rows.advance(2);
    await tab.disk.flush();
  } finally {
    IDBObjectStore.prototype.put = real;
  }
  const { rows } = await found(name);
  assert.deepEqual([rows.size, rows.cursor], [1, 1]);
});

test("a database of version 1 is taken over: its rows are fetched again, what waits to be sent stays", async () => {
  const name = `test-${databases++}`;
  const entry = { id: "a", kind: "submit", service: "fax", operation: "send", request: {}, timeout: 1, optimistic: [], order: [], maxAge: 1, at: 1 } as const;
  const old = await openDB(`headway/${name}`, 1, {
    upgrade(db) {
      db.createObjectStore("buckets");
      db.createObjectStore("meta");
      db.createObjectStore("outbox", { keyPath: "id" });
    },
  });
  await old.put("buckets", '[["fax","a",7,1]]', 3);
  await old.put("meta", { epoch: "e", cursor: 7, base: 0, owner: "acme/ada", writer: "w" }, "meta");
  await old.put("outbox", entry);
  old.close();
  const tab = await opened(name, "me");
  assert.deepEqual([tab.rows.size, tab.rows.epoch, tab.rows.cursor, tab.owner], [0, null, 0, "acme/ada"]);
  assert.deepEqual(await tab.disk.entries(), [entry]);
  tab.disk.startWriting(tab.owner);
  apply(tab, { type: "fax", id: "b", seq: 8, value: 1 });
  await tab.disk.close();
  assert.deepEqual([...(await found(name)).rows].map(({ id }) => id), ["b"]);
});

test("rows that cannot be read are fetched again, and written anew; what waits to be sent is there", async () => {
  const name = `test-${databases++}`;
  const tab = await opened(name, "me");
  tab.disk.startWriting(null);
  apply(tab, { type: "fax", id: "a", seq: 1, value: 1 });
  await tab.disk.putEntry({ id: "a", kind: "submit", service: "fax", operation: "send", request: {}, timeout: 1, optimistic: [], order: [], maxAge: 1, at: 1 });
  await tab.disk.close();
  const db = await openDB(`headway/${name}`);
  await db.put("segments", "no segment", 99);
  db.close();
  const again = await opened(name, "you");
  assert.deepEqual([again.rows.size, again.rows.cursor, again.disk.state], [0, 0, "on"]);
  assert.equal((await again.disk.entries()).length, 1);
  again.disk.startWriting(null);
  apply(again, { type: "fax", id: "b", seq: 2, value: 2 });
  await again.disk.close();
  assert.deepEqual([...(await found(name)).rows].map(({ id }) => id), ["b"]);
});

test("what waits to be sent is kept until it is dropped", async () => {
  const name = `test-${databases++}`;
  const { disk } = await opened(name, "me");
  const entry = { id: "a", kind: "submit", service: "fax", operation: "send", request: { n: 1 }, timeout: 1, optimistic: [], order: [], maxAge: 1, at: 1 } as const;
  await disk.putEntry(entry);
  await disk.close();
  const again = await opened(name, "you");
  assert.deepEqual(await again.disk.entries(), [entry]);
  await again.disk.dropEntry("a");
  assert.deepEqual(await again.disk.entries(), []);
  await again.disk.close();
  await deleteDatabase(name);
  assert.ok(!(await indexedDB.databases()).some((database) => database.name === `headway/${name}`));
});

test("without a database there is none, and everything else goes on", async () => {
  const disk = new Disk(null, "me", () => new Rows(), () => assert.fail("nothing changes"));
  const found = await disk.open();
  assert.equal(found.rows.size, 0);
  disk.startWriting("x");
  disk.touch([{ type: "fax", id: "a" }]);
  assert.deepEqual(await disk.entries(), []);
  await disk.close();
  assert.equal(disk.state, "off");
});
