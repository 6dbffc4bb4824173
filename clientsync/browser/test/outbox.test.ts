import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { HeadwayError } from "../src/errors.js";
import { type Entry, type Optimistic, Outbox, type Outcome } from "../src/outbox.js";

const sent: string[] = [];
const outcomes: Outcome[] = [];
const revisions = new Map<string, number>();
let answer: (entry: Entry) => Promise<unknown>;
let outbox: Outbox;

const entry = (id: string, service = "fax", optimistic: readonly Optimistic[] = []): Entry =>
  ({ id, key: id, kind: "submit", service, operation: "send", request: {}, timeout: 1000, optimistic, at: 0 });
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

beforeEach(() => {
  sent.length = outcomes.length = 0;
  revisions.clear();
  answer = () => Promise.resolve("done");
  outbox = new Outbox({
    perform: (one) => { sent.push(one.id); return answer(one); },
    settled: (outcome) => { outcomes.push(outcome); outbox.settle(outcome); },
    changed: () => {},
    revision: ({ type, id }) => revisions.get(`${type}.${id}`) ?? 0,
  });
});

test("nothing is sent before there is a connection; then everything, in its order, once", async () => {
  for (const id of ["a", "b", "c"]) outbox.add(entry(id));
  outbox.add(entry("b"));
  assert.deepEqual(sent, []);
  outbox.start();
  await settle();
  assert.deepEqual(sent, ["a", "b", "c"]);
  assert.equal(outbox.waiting.length, 0);
});

test("what may succeed later is repeated with the same key, and holds back only its own service", async () => {
  let failures = 1;
  answer = ({ service }) =>
    service === "fax" && failures-- > 0 ? Promise.reject(new HeadwayError("overloaded", "busy", true)) : Promise.resolve("done");
  for (const one of [entry("f1"), entry("f2"), entry("c1", "calls")]) outbox.add(one);
  outbox.start();
  await settle();
  assert.deepEqual(sent, ["f1", "c1"]);
  while (outbox.waiting.length > 0) await settle();
  assert.deepEqual(sent, ["f1", "c1", "f1", "f2"]);
});

test("a lost connection stops the sending, and the next one goes on", async () => {
  answer = () => Promise.reject(new HeadwayError("offline", "gone", true));
  outbox.add(entry("a"));
  outbox.start();
  await settle();
  outbox.stop();
  answer = () => Promise.resolve("done");
  outbox.start();
  await settle();
  assert.deepEqual(sent, ["a", "a"]);
  assert.deepEqual(outcomes.map(({ id }) => id), ["a"]);
});

test("a refusal is final, and takes the optimistic change off", async () => {
  answer = () => Promise.reject(new HeadwayError("rejected", "no", false, "", 422));
  outbox.add(entry("a", "fax", [{ type: "fax", id: "f", value: { n: 1 } }]));
  assert.deepEqual(outbox.overlay("fax", "f")?.value, { n: 1 });
  outbox.start();
  await settle();
  assert.equal(outbox.overlay("fax", "f"), undefined);
  assert.deepEqual(outcomes, [{ id: "a", error: { code: "rejected", message: "no", status: 422 } }]);
});

test("an accepted change stays until its effect is there, whichever of the two comes first", async () => {
  revisions.set("fax.f", 7);
  outbox.add(entry("a", "fax", [{ type: "fax", id: "f", value: { n: 1 } }]));
  outbox.start();
  await settle();
  assert.ok(outbox.overlay("fax", "f"), "it is accepted, but the object has not changed yet");
  revisions.set("fax.f", 8);
  outbox.seen([{ type: "fax", id: "f" }]);
  assert.equal(outbox.overlay("fax", "f"), undefined);
  outbox.stop();
  outbox.add(entry("b", "fax", [{ type: "fax", id: "f", value: { n: 2 } }]));
  revisions.set("fax.f", 9);
  outbox.seen([{ type: "fax", id: "f" }]);
  assert.ok(outbox.overlay("fax", "f"), "somebody else's change is no answer");
  outbox.start();
  await settle();
  assert.equal(outbox.overlay("fax", "f"), undefined);
  outbox.close();
});

test("of two changes of one object the later one shows, and each goes by itself", async () => {
  outbox.add(entry("a", "fax", [{ type: "fax", id: "f", value: 1 }]));
  outbox.add(entry("b", "fax", [{ type: "fax", id: "f" }]));
  assert.deepEqual(outbox.overlay("fax", "f"), { type: "fax", id: "f" });
  outbox.settle({ id: "b", error: { code: "rejected", message: "", status: 422 } });
  assert.equal(outbox.overlay("fax", "f")?.value, 1);
});
