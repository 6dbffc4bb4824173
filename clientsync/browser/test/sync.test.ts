import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { meets, type Where } from "../src/core/fields.js";
import { Rows } from "../src/core/rows.js";
import { sha256head } from "../src/core/sha256.js";
import { Sum } from "../src/core/sums.js";
import { packed, TableReader } from "../src/core/table.js";
import { Sync } from "../src/core/sync.js";
import type { Beacon, Key, PullRequest } from "../src/types.js";
import { type StreamEvent, MINE, Stream } from "./model.js";

const TYPES = ["fax", "call"];
const RUNS = process.env["CI"] === "true" ? 4000 : 1000;

/** A page and its network: what is on the way in both directions, and what the page has shown. */
class Page {
  sync: Sync;
  now = 0;
  connected = false;
  live: StreamEvent[] = [];
  beacons: Beacon[] = [];
  pulls: { request: PullRequest; flight: number; sync: Sync }[] = [];
  /** The highest revision that was shown of each object, by epoch. */
  private shown = new Map<string, number>();

  constructor(readonly stream: Stream, private readonly where?: Readonly<Record<string, Where>>) {
    this.sync = this.made(new Rows());
  }

  write(tenant: number, type: string, id: string, value: unknown): void {
    const event = this.stream.write(tenant, type, id, value);
    if (this.connected && tenant === MINE) this.live.push(event);
  }

  deliver(): void {
    const event = this.live.shift();
    if (event !== undefined) this.sync.live(event, this.now);
  }

  tell(): void {
    const beacon = this.beacons.shift();
    if (beacon !== undefined) this.sync.beacon(beacon, this.now);
  }

  beacon(): void {
    const beacon = this.stream.beacon();
    if (this.connected) this.beacons.push(beacon);
  }

  answer(lag: number, page: number): void {
    const pull = this.pulls.shift();
    if (pull === undefined) return;
    const upto = Math.max(this.stream.horizon, this.stream.head - lag);
    pull.sync.reply(pull.flight, this.stream.answer(pull.request, upto, page), this.now);
  }

  fail(): void {
    const pull = this.pulls.shift();
    pull?.sync.failed(pull.flight, this.now);
  }

  connect(): void {
    if (this.connected) return;
    this.connected = true;
    this.sync.connected(this.now);
  }

  disconnect(): void {
    this.connected = false;
    this.live = [];
    this.beacons = [];
    this.sync.disconnected();
  }

  /** The page is closed and opened again: what was stored is what it starts with. */
  reload(lost?: string): void {
    this.disconnect();
    const { epoch, cursor, base } = this.sync.rows;
    const restored = new Rows(epoch, cursor, base);
    for (const table of packed(this.sync.rows)) restored.restore(table.type, new TableReader(table, lost === undefined ? undefined : new Set([lost])));
    this.sync = this.made(restored);
  }

  pass(ms: number): void {
    this.now += ms;
    this.sync.tick(this.now);
  }

  /** Nothing gets lost any more, and time passes. */
  rest(): void {
    this.connect();
    for (let round = 0; round < 60; round++) {
      while (this.live.length > 0) this.deliver();
      while (this.pulls.length > 0) this.answer(0, 3);
      this.beacon();
      while (this.beacons.length > 0) this.tell();
      this.pass(5_000);
      if (round > 12 && this.sync.current && this.pulls.length === 0 && this.sync.lag === 0) return;
    }
    assert.fail(`no rest: ${JSON.stringify(this.sync.counts)}`);
  }

  get view(): unknown {
    return [...this.sync.rows].map(({ type, id, seq, value }) => ({ type, id, seq, value })).sort((a, b) => a.seq - b.seq);
  }

  private made(rows: Rows): Sync {
    const sync: Sync = new Sync(rows, { types: TYPES, where: this.where, random: () => 0.5 }, {
      pull: (request, flight) => void this.pulls.push({ request, flight, sync }),
      changed: (keys) => this.seen(sync.rows, keys),
    });
    return sync;
  }

  private seen(rows: Rows, keys: Iterable<Key>): void {
    for (const { type, id } of keys) {
      const row = rows.get(type, id);
      if (row === undefined) continue;
      const name = `${rows.epoch}.${type}.${id}`;
      assert.ok(row.seq >= (this.shown.get(name) ?? 0), `${name} goes back to ${row.seq}`);
      this.shown.set(name, row.seq);
    }
  }
}

const snapshot = (stream: Stream, where: Readonly<Record<string, Where>> = {}): unknown =>
  stream.last().filter((e) => TYPES.includes(e.type) && !e.deleted && meets(e.value, where[e.type] ?? {})).map(({ type, id, seq, value }) => ({ type, id, seq, value }));

type Step = (page: Page) => void;
const named = (name: string, step: Step): Step => Object.assign(step, { toString: () => name });
const tenant = fc.integer({ min: 0, max: 1 });
const type = fc.constantFrom("fax", "call", "other");
const id = fc.constantFrom("a", "b", "c", "d");
const weighted = (weight: number, arbitrary: fc.Arbitrary<Step>): { weight: number; arbitrary: fc.Arbitrary<Step> } =>
  ({ weight, arbitrary });
const constant = (name: string, step: Step): fc.Arbitrary<Step> => fc.constant(named(name, step));

const step: fc.Arbitrary<Step> = fc.oneof(
  weighted(12, fc.tuple(tenant, type, id, fc.nat(99)).map(([t, y, i, v]) => named(`put ${t} ${y}.${i}`, (p) => p.write(t, y, i, v)))),
  weighted(4, fc.tuple(tenant, type, id).map(([t, y, i]) => named(`delete ${t} ${y}.${i}`, (p) => p.write(t, y, i, undefined)))),
  weighted(12, constant("deliver", (p) => p.deliver())),
  weighted(2, constant("lose", (p) => void p.live.shift())),
  weighted(2, constant("swap two on the way", (p) => void p.live.unshift(...p.live.splice(0, 2).reverse()))),
  weighted(1, constant("deliver twice", (p) => { const [event] = p.live; if (event) p.live.unshift(event); })),
  weighted(5, constant("beacon", (p) => p.beacon())),
  weighted(6, constant("tell", (p) => p.tell())),
  weighted(1, constant("lose a beacon", (p) => void p.beacons.shift())),
  weighted(9, fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 4 })).map(([l, n]) => named(`answer ${l} ${n}`, (p) => p.answer(l, n)))),
  weighted(1, constant("fail", (p) => p.fail())),
  weighted(3, constant("connect", (p) => p.connect())),
  weighted(1, constant("disconnect", (p) => p.disconnect())),
  weighted(1, constant("reload", (p) => p.reload())),
  weighted(1, constant("suspect", (p) => p.sync.suspect(p.now))),
  weighted(4, fc.constantFrom(100, 600, 1500, 11_000).map((ms) => named(`pass ${ms}`, (p) => p.pass(ms)))),
  weighted(1, fc.nat(8).map((back) => named(`purge ${back}`, (p) => p.stream.purge(p.stream.head - back)))),
  weighted(1, constant("recreate", (p) => { p.stream.recreate(); p.live = []; p.beacons = []; })),
);

test("whatever is lost, late, doubled or out of order: at rest the copy equals the stream, and never went back", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 90 }), (steps) => {
      const page = new Page(new Stream());
      for (const one of steps) one(page);
      page.rest();
      assert.deepEqual(page.view, snapshot(page.stream));
    }),
    { numRuns: RUNS },
  );
});

test("with a condition likewise: what comes to match appears, what does not match any more goes, and checksums agree", () => {
  const where = { fax: { state: ["new", "sent"] } };
  const put = fc.tuple(tenant, type, id, fc.constantFrom("new", "sent", "failed", null)).map(([t, y, i, state]) =>
    named(`put ${t} ${y}.${i} ${state}`, (p: Page) => p.write(t, y, i, { state })));
  fc.assert(
    fc.property(fc.array(fc.oneof({ weight: 1, arbitrary: put }, { weight: 3, arbitrary: step }), { maxLength: 90 }), (steps) => {
      const page = new Page(new Stream(), where);
      for (const one of steps) one(page);
      page.rest();
      assert.deepEqual(page.view, snapshot(page.stream, where));
      page.sync.suspect(page.now);
      const { gaps, resets } = page.sync.counts;
      while (page.pulls.length > 0) page.answer(0, 3);
      assert.deepEqual([page.sync.counts.gaps, page.sync.counts.resets], [gaps, resets], "the checksum of the last page is ours");
      assert.ok(page.sync.current);
    }),
    { numRuns: RUNS },
  );
});

test("an object that ceases to match and matches again in one breath is shown as it is last", () => {
  const page = new Page(new Stream(), { fax: { state: "new" } });
  page.connect();
  page.answer(0, 3);
  for (const state of ["new", "failed", "new"]) page.write(MINE, "fax", "a", { state, n: page.stream.head });
  page.live = [page.live[2]!, page.live[0]!, page.live[1]!];
  while (page.live.length > 0) page.deliver();
  assert.deepEqual(page.sync.rows.get("fax", "a")?.value, { state: "new", n: 2 });
});

test("a condition is judged by the whole object, also where few of its fields are kept", () => {
  const options = { types: ["fax"], fields: { fax: ["to"] }, where: { fax: { state: "new" } } };
  const sync = new Sync(new Rows(), options, { pull: () => {}, changed: () => {} });
  sync.live({ type: "fax", id: "a", seq: 1, value: { to: "x", state: "new" } }, 0);
  sync.live({ type: "fax", id: "b", seq: 2, value: { to: "y", state: "sent" } }, 0);
  assert.deepEqual([...sync.rows].map(({ id, value }) => [id, value]), [["a", { to: "x" }]]);
});

test("a lost change is pulled a second after the beacon that lists it, also when later ones arrived", () => {
  const page = new Page(new Stream());
  page.connect();
  page.answer(0, 3);
  page.write(MINE, "fax", "a", 1);
  page.write(MINE, "fax", "b", 2);
  page.live.shift();
  page.deliver();
  page.beacon();
  page.tell();
  assert.equal(page.pulls.length, 0);
  page.pass(900);
  assert.equal(page.pulls.length, 0);
  page.pass(700);
  assert.equal(page.sync.counts.gaps, 1);
  page.answer(0, 3);
  assert.deepEqual(page.view, snapshot(page.stream));
  assert.ok(page.sync.current);
});

test("a beacon whose changes are all here moves the cursor on without a request", () => {
  const page = new Page(new Stream());
  page.connect();
  page.answer(0, 3);
  page.write(MINE, "fax", "a", 1);
  page.write(MINE, "other", "x", 1);
  page.write(MINE, "fax", "a", 2);
  while (page.live.length > 0) page.deliver();
  page.beacon();
  page.tell();
  assert.equal(page.sync.rows.cursor, 3);
  page.pass(2000);
  assert.equal(page.pulls.length, 0);
});

test("catching up asks for what came after the cursor only", () => {
  const page = new Page(new Stream());
  for (let n = 0; n < 100; n++) page.write(MINE, "fax", `f${n}`, n);
  page.rest();
  page.disconnect();
  page.write(MINE, "fax", "f7", "new");
  page.connect();
  const [pull] = page.pulls;
  const reply = page.stream.answer(pull!.request);
  assert.deepEqual(reply.changes.map((c) => c.id), ["f7"]);
});

test("while everything is loaded anew, the old rows are shown until the new set is complete", () => {
  const page = new Page(new Stream());
  for (let n = 0; n < 8; n++) page.write(MINE, "fax", `f${n}`, n);
  page.rest();
  page.disconnect();
  for (let n = 0; n < 6; n++) page.write(MINE, "fax", `f${n}`, undefined);
  page.write(MINE, "call", "c", 1);
  page.write(MINE, "call", "d", 1);
  page.stream.purge(page.stream.head);
  page.connect();
  page.answer(0, 1); // reset
  assert.equal(page.sync.rows.size, 8);
  page.answer(0, 1);
  assert.equal(page.sync.rows.size, 8);
  while (page.pulls.length > 0) page.answer(0, 1);
  assert.deepEqual(page.view, snapshot(page.stream));
  assert.equal(page.sync.counts.resets, 1);
});

test("a first load past the horizon ends, and shows its pages as they come", () => {
  const page = new Page(new Stream());
  for (let n = 0; n < 9; n++) page.write(MINE, "fax", `f${n}`, n);
  page.stream.purge(8);
  page.connect();
  page.answer(0, 2);
  assert.equal(page.sync.rows.size, 2);
  while (page.pulls.length > 0) page.answer(0, 2);
  assert.equal(page.sync.rows.size, 9);
  assert.equal(page.sync.counts.resets, 0);
});

test("live changes wait for a pull that is quick, not for one that is stuck", () => {
  const page = new Page(new Stream());
  page.connect();
  page.write(MINE, "fax", "a", 1);
  page.deliver();
  assert.equal(page.sync.rows.size, 0);
  page.pass(2500);
  assert.equal(page.sync.rows.size, 1);
});

test("a wrong copy is found by the checksum: first asked again, then loaded anew", () => {
  const page = new Page(new Stream());
  for (let n = 0; n < 5; n++) page.write(MINE, "fax", `f${n}`, n);
  page.rest();
  page.reload("f2"); // a damaged disk
  page.rest();
  assert.deepEqual(page.view, snapshot(page.stream));
  assert.ok(page.sync.counts.gaps > 0 && page.sync.counts.resets === 1);
});

test("a responder that fails is asked again later and later", () => {
  const page = new Page(new Stream());
  page.connect();
  const asked: number[] = [];
  for (let ms = 0; ms < 60_000; ms += 100) {
    if (page.pulls.length > 0) {
      asked.push(page.now);
      page.fail();
    }
    page.pass(100);
  }
  assert.ok(asked.length > 4 && asked.length < 16, `${asked.length} pulls in a minute`);
});

test("only the fields that were asked for are kept of a live change", () => {
  const sync = new Sync(new Rows(), { types: ["fax"], fields: { fax: ["to"] } }, { pull: () => {}, changed: () => {} });
  sync.live({ type: "fax", id: "a", seq: 1, value: { to: "x", secret: "y" } }, 0);
  assert.deepEqual(sync.rows.get("fax", "a")?.value, { to: "x" });
});

test("the hash is SHA-256's first eight bytes", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      const [high, low] = sha256head(text);
      const expected = createHash("sha256").update(text).digest();
      assert.equal(high, expected.readUInt32BE(0));
      assert.equal(low, expected.readUInt32BE(4));
    }),
    { numRuns: RUNS },
  );
});

test("a sum is that of a 64-bit machine, in any order, and forgets what is removed", () => {
  const row = fc.tuple(fc.constantFrom("a", "b"), fc.stringMatching(/^[a-z0-9]{1,8}$/), fc.nat());
  fc.assert(
    fc.property(fc.array(row, { maxLength: 20 }), fc.array(row, { maxLength: 5 }), (rows, passing) => {
      const sum = new Sum();
      for (const one of passing) sum.add(...one);
      for (const one of rows) sum.add(...one);
      for (const one of passing) sum.remove(...one);
      let expected = 0n;
      for (const [t, i, n] of rows) {
        expected += createHash("sha256").update(`${t}.${i}.${n}`).digest().readBigUInt64BE(0);
      }
      assert.ok(sum.is(rows.length, (expected & 0xffffffffffffffffn).toString(16).padStart(16, "0")));
    }),
  );
});
