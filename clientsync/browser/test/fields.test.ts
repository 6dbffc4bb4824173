import assert from "node:assert/strict";
import { test } from "node:test";
import { meets, type Where } from "../src/core/fields.js";
import cases from "./where.json";

test("an object matches when each field has a value that is asked for, by the rules that the server has", () => {
  assert.ok(cases.length > 20);
  for (const [value, where, expected] of cases as unknown as [unknown, Where, boolean][]) {
    assert.equal(meets(value, where), expected, JSON.stringify([value, where]));
  }
});
