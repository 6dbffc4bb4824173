import assert from "node:assert/strict";
import { test } from "node:test";
import { count, milliseconds, percent, plural, rate, span } from "../console/format.js";

test("a count and its noun agree", () => {
  assert.deepEqual([0, 1, 2, 12_345].map((n) => plural(n, "worker")), ["0 workers", "1 worker", "2 workers", "12.3k workers"]);
  assert.equal(plural(2, "entry", "entries"), "2 entries");
});

test("numbers are short, and a small one is not shown as none", () => {
  assert.deepEqual([0, 9999, 10_000, 4_100_000].map(count), ["0", "9,999", "10.0k", "4.1M"]);
  assert.deepEqual([0, 0.123, 4.56, 120].map(rate), ["0", "0.12", "4.6", "120"]);
  assert.deepEqual([null, 1.26, 20.4, 1500].map(milliseconds), ["–", "1.3 ms", "20 ms", "1.5 s"]);
  assert.deepEqual([0, 0.04, 34.4].map(percent), ["0%", "<0.1%", "34%"]);
  assert.deepEqual([-1, 89, 90, 5400, 129_600].map(span), ["0 s", "89 s", "2 min", "2 h", "2 d"]);
});
