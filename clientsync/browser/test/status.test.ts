import assert from "node:assert/strict";
import { test } from "node:test";
import { type Status, StatusMachine, type StatusSignal } from "../src/status.js";

function after(...signals: StatusSignal[]): Status[] {
  const seen: Status[] = [];
  const machine = new StatusMachine((status) => seen.push(status));
  for (const signal of signals) machine.signal(signal);
  return seen;
}

test("a connection leads from stored over syncing to current, and its loss back", () => {
  assert.deepEqual(after("connected", "caughtUp", "fellBehind", "caughtUp", "disconnected"), ["syncing", "current", "syncing", "current", "stored"]);
});

test("a renewed connection does not interrupt, and nothing is current without one", () => {
  assert.deepEqual(after("connected", "caughtUp", "connected"), ["syncing", "current"]);
  assert.deepEqual(after("caughtUp", "fellBehind", "disconnected"), []);
});

test("closed is for good", () => {
  assert.deepEqual(after("connected", "closed", "connected", "caughtUp", "closed"), ["syncing", "closed"]);
});
