import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import type { Conflict, Resolution } from "../src/conflicts.js";
import { Rows } from "../src/core/rows.js";
import { HeadwayError } from "../src/errors.js";
import { type ConflictReport, type Entry, type OperationOptions, Operations, type Outcome } from "../src/operations.js";
import { Overlays } from "../src/overlay.js";
import type { Operation } from "../src/wire.js";

const sent: string[] = [];
const operations_: Operation[] = [];
const outcomes: Outcome[] = [];
const stored = new Map<string, Entry>();
const refusals: [id: string, code: string][] = [];
const troubles: string[] = [];
const conflicts: ConflictReport[] = [];
let answer: (operation: Operation) => Promise<unknown>;
let resolve: (conflict: Conflict) => Resolution;
let rows: Rows;
let overlays: Overlays;
let operations: Operations;

const fax = { type: "fax", id: "f" };
const settle = (ms = 5): Promise<void> => new Promise((done) => setTimeout(done, ms));
const busy = (): Promise<never> => Promise.reject(new HeadwayError("overloaded", "busy", true));
const refuse = (): Promise<never> => Promise.reject(new HeadwayError("rejected", "no", false, "", 422));

/** Ask for an operation. Its outcome is seen in `outcomes`. */
function add(id: string, service = "fax", options: OperationOptions = {}, request: unknown = {}): Promise<unknown> {
  const made = operations.send(operations.entry("submit", service, "send", request, { key: id, ...options }));
  made.catch(() => {});
  return made;
}

/** The server tells of an object. */
function write(seq: number, value: unknown): void {
  rows.apply(value === undefined ? { ...fax, seq, deleted: true } : { ...fax, seq, value });
  overlays.arrived([fax]);
}

const shown = (): unknown => overlays.read("fax", "f")?.value;

function open(): void {
  overlays = new Overlays(() => rows, { changed: () => {}, rebased: (id, key, base) => operations.rebase(id, key, base) });
  operations = new Operations(overlays, {
    perform: (one) => { sent.push(one.key ?? "?"); operations_.push(one); return answer(one); },
    row: ({ type, id }) => rows.get(type, id),
    caughtUp: () => Promise.resolve(),
    resolve: (conflict) => resolve(conflict),
    publish: (entry) => { stored.set(entry.id, entry); return Promise.resolve(); },
    settled: (outcome) => { outcomes.push(outcome); stored.delete(outcome.id); },
    failed: () => {},
    conflict: (report) => void conflicts.push(report),
    refused: ({ id }, { code }) => void refusals.push([id, code]),
    trouble: (error) => void troubles.push(error.message),
  });
}

beforeEach(() => {
  for (const list of [sent, operations_, outcomes, refusals, troubles, conflicts]) list.length = 0;
  stored.clear();
  answer = () => Promise.resolve("done");
  resolve = () => "merge";
  rows = new Rows();
  open();
});

afterEach(() => {
  operations.close();
  overlays.close();
});

test("nothing is sent before there is a connection; then everything, in its order, once", async () => {
  for (const id of ["a", "b", "c"]) void add(id);
  void add("b");
  await settle();
  assert.deepEqual(sent, []);
  operations.outbox.start();
  await settle();
  assert.deepEqual(sent, ["a", "b", "c"]);
  assert.equal(operations.pending.length, 0);
});

test("what may succeed later is repeated with the same key, and holds nothing back that is independent", async () => {
  let failures = 1;
  answer = ({ key }) => (key === "f1" && failures-- > 0 ? busy() : Promise.resolve("done"));
  for (const [id, service] of [["f1", "fax"], ["f2", "fax"], ["c1", "calls"]] as const) void add(id, service);
  await settle();
  operations.outbox.start();
  await settle();
  assert.deepEqual(sent, ["f1", "f2", "c1"]);
  while (operations.pending.length > 0) await settle();
  assert.deepEqual(sent, ["f1", "f2", "c1", "f1"]);
});

test("the order is kept within an object, and within a name that the page gives", async () => {
  let failures = 2;
  answer = ({ key }) => (["x1", "o1"].includes(key!) && failures-- > 0 ? busy() : Promise.resolve("done"));
  void add("x1", "fax", { optimistic: { ...fax, value: 1 } });
  void add("x2", "calls", { optimistic: { ...fax, value: 2 } });
  void add("o1", "fax", { order: "draft" });
  void add("o2", "calls", { order: ["other", "draft"] });
  await settle();
  operations.outbox.start();
  await settle();
  assert.deepEqual([...sent].sort(), ["o1", "x1"]);
  while (operations.pending.length > 0) await settle();
  assert.ok(sent.lastIndexOf("x1") < sent.indexOf("x2") && sent.lastIndexOf("o1") < sent.indexOf("o2"), `${sent}`);
});

test("a few operations are under way at a time, however many wait", async () => {
  let most = 0;
  let now = 0;
  answer = async () => {
    most = Math.max(most, ++now);
    await settle(1);
    now--;
  };
  for (let n = 0; n < 40; n++) void add(`a${n}`);
  await settle();
  operations.outbox.start();
  while (operations.pending.length > 0) await settle();
  assert.equal(most, 8);
  assert.equal(sent.length, 40);
});

test("a lost connection stops the sending, and the next one goes on", async () => {
  answer = () => Promise.reject(new HeadwayError("offline", "gone", true));
  void add("a");
  await settle();
  operations.outbox.start();
  await settle();
  operations.outbox.stop();
  answer = () => Promise.resolve("done");
  operations.outbox.start();
  await settle();
  assert.deepEqual(sent, ["a", "a"]);
  assert.deepEqual(outcomes.map(({ id }) => id), ["a"]);
  assert.deepEqual(troubles, []);
});

test("a refusal is final, and takes the optimistic change off", async () => {
  answer = refuse;
  const asked = add("a", "fax", { optimistic: { ...fax, value: { n: 1 } } });
  await settle();
  assert.deepEqual(shown(), { n: 1 });
  operations.outbox.start();
  await settle();
  assert.equal(shown(), undefined);
  assert.deepEqual(outcomes, [{ id: "a", error: { code: "rejected", message: "no", status: 422 } }]);
  assert.deepEqual(refusals, [["a", "rejected"]]);
  await assert.rejects(asked, { code: "rejected" });
});

test("an operation that nobody serves is told of, listed with its error, retried by hand and dropped", async () => {
  answer = () => Promise.reject(new HeadwayError("not_served", "nobody serves rpc.x", true, "", 404));
  void add("old", "x");
  void add("new", "fax");
  await settle();
  operations.outbox.start();
  await settle();
  assert.equal(troubles.length, 2, "each is told of once");
  const [first] = operations.pending;
  assert.deepEqual([first!.id, first!.state, first!.attempts, first!.error?.code], ["old", "waiting", 1, "not_served"]);
  answer = () => Promise.resolve("done");
  assert.equal(await operations.retry("old"), "done");
  operations.cancel("new");
  assert.deepEqual(refusals, [["new", "cancelled"]]);
  assert.deepEqual(operations.pending, []);
  assert.deepEqual([...stored], []);
});

test("one that fails for longer than its limit is given up: listed over reloads, sent again only on demand", async () => {
  answer = busy;
  const asked = add("a", "fax", { maxAge: 0, optimistic: { ...fax, value: 1 } });
  const later = add("b", "fax", { optimistic: { ...fax, value: 2 } });
  await settle();
  operations.outbox.start();
  await settle();
  await assert.rejects(asked, { code: "expired" });
  assert.deepEqual(refusals, [["a", "expired"]]);
  assert.deepEqual(operations.pending.map(({ id, state }) => [id, state]), [["a", "parked"], ["b", "waiting"]]);
  assert.equal(shown(), 2, "its change is taken off, the later one is not held up");
  operations.cancel("b");
  await assert.rejects(later, { code: "cancelled" });
  assert.equal(stored.get("a")?.parked?.code, "overloaded");

  const entry = stored.get("a")!;
  operations.close();
  open();
  operations.put(entry);
  answer = () => Promise.resolve("done");
  sent.length = refusals.length = 0;
  operations.outbox.start();
  await settle();
  assert.deepEqual([sent, refusals, operations.pending[0]!.state, shown()], [[], [], "parked", undefined]);
  assert.equal(await operations.retry("a"), "done");
  await assert.rejects(operations.retry("a"), { code: "usage" });
});

test("what was made offline is tried, however old it is", async () => {
  void add("a", "fax", { maxAge: 0 });
  await settle(20);
  operations.outbox.start();
  await settle();
  assert.deepEqual([sent, refusals], [["a"], []]);
});

test("a key is any text of up to 255 characters", () => {
  for (const key of ["order:42", "ada@example.com", "a b/ü", "x".repeat(255)]) assert.equal(operations.entry("submit", "fax", "send", {}, { key }).key, key);
  for (const key of ["", "x".repeat(256)]) assert.throws(() => operations.entry("submit", "fax", "send", {}, { key }), { code: "usage" });
});

test("operations keep their order when the machine's clock is set back", () => {
  const real = Date.now;
  try {
    const first = operations.entry("submit", "fax", "send", {}, {});
    Date.now = () => real() - 3_600_000;
    assert.ok(operations.entry("submit", "fax", "send", {}, {}).at > first.at);
  } finally {
    Date.now = real;
  }
});

test("an accepted change stays until its effect is there, whichever of the two comes first", async () => {
  write(7, { n: 0 });
  void add("a", "fax", { optimistic: { ...fax, value: { n: 1 } } });
  await settle();
  operations.outbox.start();
  await settle();
  assert.equal(overlays.read("fax", "f")?.pending, true, "it is accepted, but the object has not changed yet");
  write(8, { n: 1 });
  assert.equal(overlays.read("fax", "f")?.pending, false);
  operations.outbox.stop();
  void add("b", "fax", { optimistic: { ...fax, value: { n: 2 } } });
  await settle();
  write(9, { n: 1, other: true });
  assert.equal(overlays.read("fax", "f")?.pending, true, "somebody else's change is no answer");
  operations.outbox.start();
  await settle();
  write(10, { n: 2, other: true });
  assert.equal(overlays.read("fax", "f")?.pending, false);
});

test("of two changes of one object the later one shows, and each goes by itself", async () => {
  answer = refuse;
  void add("a", "fax", { optimistic: { ...fax, value: 1 } });
  void add("b", "fax", { optimistic: fax });
  await settle();
  assert.equal(shown(), undefined);
  operations.settle({ id: "b", error: { code: "rejected", message: "", status: 422 } });
  assert.equal(shown(), 1);
});

// Conflicts.

const note = { title: "a", color: "red" };

/** Change the title offline, while somebody else writes something else. */
async function meet(theirs: unknown, options: OperationOptions = {}): Promise<Promise<unknown>> {
  write(5, note);
  const mine = { ...note, title: "mine" };
  const asked = add("a", "fax", { optimistic: { ...fax, value: mine }, ...options }, mine);
  await settle();
  write(6, theirs);
  operations.outbox.start();
  await settle();
  return asked;
}

test("every optimistic write carries the revision that it is based on", async () => {
  await meet(note);
  assert.deepEqual(operations_[0]!.base, { "fax.f": 6 });
  assert.deepEqual(conflicts, []);
});

test("changes of different fields are both sent, without a question", async () => {
  resolve = () => assert.fail("there is no question");
  await meet({ title: "a", color: "blue" });
  assert.deepEqual(operations_[0]!.request, { title: "mine", color: "blue" });
  assert.deepEqual(shown(), { title: "mine", color: "blue" });
  assert.deepEqual(conflicts, []);
});

test("where both changed a field the page decides, and is told", async () => {
  let asked: Conflict | undefined;
  resolve = (conflict) => { asked = conflict; return "mine"; };
  await meet({ title: "theirs", color: "blue" });
  assert.deepEqual([asked?.base, asked?.mine, asked?.theirs, asked?.fields], [note, { title: "mine", color: "red" }, { title: "theirs", color: "blue" }, ["title"]]);
  assert.deepEqual(operations_[0]!.request, { title: "mine", color: "red" });
  assert.deepEqual(conflicts, [{ ...fax, base: 5, theirs: 6, kept: "second", fields: ["title"], here: "second" }]);
});

test("without a decision both are merged, with my value of what both changed", async () => {
  await meet({ title: "theirs", color: "blue" });
  assert.deepEqual(operations_[0]!.request, { title: "mine", color: "blue" });
  assert.equal(conflicts[0]!.kept, "merged");
});

test("keeping theirs drops the operation, shows theirs, and says so", async () => {
  const asked = await meet({ title: "theirs", color: "blue" }, { onConflict: "theirs" }).catch((error: HeadwayError) => error.code);
  assert.equal(asked, "conflict");
  assert.deepEqual([sent, refusals, shown()], [[], [["a", "conflict"]], { title: "theirs", color: "blue" }]);
  assert.equal(conflicts[0]!.kept, "first");
});

test("a value and a request of the page's own are sent instead", async () => {
  resolve = () => ({ value: { title: "both" }, request: { both: true } });
  await meet({ title: "theirs", color: "red" });
  assert.deepEqual([operations_[0]!.request, shown()], [{ both: true }, { title: "both" }]);
});

test("who says 'mine' overwrites, without a base revision", async () => {
  await meet({ title: "theirs", color: "blue" }, { onConflict: "mine" });
  assert.deepEqual([operations_[0]!.base, operations_[0]!.request, conflicts], [undefined, { title: "mine", color: "red" }, []]);
});

test("an edit of theirs beats a deletion of mine", async () => {
  write(5, note);
  const asked = add("a", "fax", { optimistic: fax });
  await settle();
  write(6, { ...note, title: "theirs" });
  operations.outbox.start();
  await assert.rejects(asked, { code: "conflict" });
  assert.deepEqual(shown(), { ...note, title: "theirs" });
});

test("a refusal of the server because of a conflict is compared again, with the change that it knew first", async () => {
  write(5, note);
  let refusals_ = 1;
  answer = () => (refusals_-- > 0 ? Promise.reject(new HeadwayError("conflict", "is at 6", false, "", 409)) : Promise.resolve("done"));
  const asked = add("a", "fax", { optimistic: { ...fax, value: { ...note, title: "mine" } } }, { ...note, title: "mine" });
  await settle();
  operations.outbox.start();
  await settle();
  write(6, { ...note, color: "blue" });
  assert.equal(await asked, "done");
  assert.deepEqual(operations_.map(({ base, request }) => [base!["fax.f"], request]), [
    [5, { title: "mine", color: "red" }], [6, { title: "mine", color: "blue" }],
  ]);
});

test("two changes of one's own in a row are no conflict, also when the first takes effect before the second is sent", async () => {
  write(5, note);
  resolve = () => assert.fail("nobody else has written");
  void add("a", "fax", { optimistic: { ...fax, value: { ...note, title: "one" } } });
  const second = add("b", "fax", { optimistic: { ...fax, value: { ...note, title: "two" } } }, { ...note, title: "two" });
  await settle();
  answer = async ({ key }) => {
    if (key === "a") setTimeout(() => write(6, { ...note, title: "one" }));
    else await settle();
    return "done";
  };
  operations.outbox.start();
  await second;
  assert.deepEqual(conflicts, []);
  assert.deepEqual(operations_.at(-1)!.request, { ...note, title: "two" });
});

test("the first of two writers can tell that the second one met its change", async () => {
  write(5, note);
  void add("a", "fax", { optimistic: { ...fax, value: { ...note, title: "one" } } });
  await settle();
  operations.outbox.start();
  await settle();
  write(6, { ...note, title: "one" });
  assert.ok(overlays.wrote(fax, 5, 6));
  assert.ok(!overlays.wrote(fax, 6, 9) && !overlays.wrote(fax, 3, 5));
});
