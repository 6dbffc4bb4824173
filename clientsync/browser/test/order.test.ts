import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compare } from "../src/core/order.js";
import cases from "./order.json";

test("two values have the order that the server gives them, and the opposite one when they are swapped", () => {
  assert.ok(cases.length > 30);
  for (const [a, b, expected] of cases as unknown as [unknown, unknown, number][]) {
    assert.equal(Math.sign(compare(a, b)), expected, JSON.stringify([a, b]));
    assert.equal(Math.sign(compare(b, a)), 0 - expected, JSON.stringify([b, a]));
  }
});

test("a field that is missing is ordered as null is", () => {
  assert.equal(compare(undefined, null), 0);
  assert.ok(compare(undefined, false) < 0);
});

test("the order is total: antisymmetric, transitive, and equal only for equal values", () => {
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom(true, false, 0, 1, "a", "\ufb01", "😀"));
  fc.assert(
    fc.property(value, value, value, (a, b, c) => {
      assert.equal(Math.sign(compare(a, b)), 0 - Math.sign(compare(b, a)));
      if (compare(a, b) <= 0 && compare(b, c) <= 0) assert.ok(compare(a, c) <= 0);
      if (compare(a, b) === 0) assert.equal(sorted(a), sorted(b));
    }),
    { numRuns: 3000 },
  );
});

/** JSON with the names of objects in order, and no negative zero. */
const sorted = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part) ? Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)) : part);
