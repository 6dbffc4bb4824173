import assert from "node:assert/strict";
import { test } from "node:test";
import { handsOver } from "../src/tabs.js";

test("a leader whose token is refused hands over at once, any other after five seconds", () => {
  assert.ok(handsOver(0, 0, true));
  assert.ok(!handsOver(4999, 0, false));
  assert.ok(handsOver(5000, 0, false));
});

test("if nobody can connect, tabs hand over later and later, whatever the reason", () => {
  for (const refused of [true, false]) {
    assert.ok(!handsOver(9999, 1, refused));
    assert.ok(handsOver(10_000, 1, refused));
    assert.ok(!handsOver(119_999, 20, refused));
    assert.ok(handsOver(120_000, 20, refused));
  }
});
