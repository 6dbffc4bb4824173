import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { conflictOf, merge, mergedRequest } from "../src/conflicts.js";
import type { Entry, StoredChange } from "../src/operations.js";

const row = (seq: number, value: unknown) => ({ type: "note", id: "a", seq, value: value as object, pending: false });
const entry = {} as Entry;
const change = (base: StoredChange["base"], value: unknown): StoredChange => ({ type: "note", id: "a", base, value });

test("changes of different fields are both kept", () => {
  const base = { title: "a", color: "red", size: 1 };
  assert.deepEqual(merge(base, { ...base, title: "b" }, { ...base, color: "blue" }), { value: { title: "b", color: "blue", size: 1 }, fields: [] });
});

test("where both changed a field, mine is taken and the field is named", () => {
  const base = { title: "a", size: 1 };
  assert.deepEqual(merge(base, { title: "mine", size: 1 }, { title: "theirs", size: 2 }), { value: { title: "mine", size: 2 }, fields: ["title"] });
});

test("a field that both changed to the same value is no conflict, and one that I removed stays removed", () => {
  assert.deepEqual(merge({ a: 1, b: 1 }, { a: 2 }, { a: 2, b: 1, c: 3 }), { value: { a: 2, c: 3 }, fields: [] });
});

test("an edit beats a deletion, whoever deletes, and the whole value is named", () => {
  assert.deepEqual(merge({ a: 1 }, undefined, { a: 2 }), { value: { a: 2 }, fields: ["*"] });
  assert.deepEqual(merge({ a: 1 }, { a: 2 }, undefined), { value: { a: 2 }, fields: ["*"] });
  assert.deepEqual(merge({ a: 1 }, undefined, undefined), { value: undefined, fields: [] });
});

test("a merge keeps every change that only one side made", () => {
  const value = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.nat(2));
  fc.assert(
    fc.property(value, value, value, (base, mine, theirs) => {
      const { value: merged, fields } = merge(base, mine, theirs);
      for (const name of ["a", "b", "c"]) {
        const [b, m, t, result] = [base[name], mine[name], theirs[name], (merged as Record<string, unknown>)[name]];
        assert.equal(result, m === b ? t : m, name);
        assert.equal(fields.includes(name), m !== b && t !== b && m !== t, name);
      }
    }),
  );
});

test("an object that has not changed, or only exists now, is no conflict", () => {
  assert.equal(conflictOf(entry, change({ seq: 5, value: { a: 1 } }, { a: 2 }), row(5, { a: 1 })), null);
  assert.equal(conflictOf(entry, change({ seq: 5, value: { a: 1 } }, { a: 2 }), row(6, { a: 1 })), null, "written again with the same value");
  assert.equal(conflictOf(entry, change({ seq: 0 }, { a: 2 }), row(6, { a: 3 })), null);
  assert.deepEqual(conflictOf(entry, change({ seq: 5, value: { a: 1 } }, { a: 2 }), row(6, { a: 3 }))?.fields, ["a"]);
  assert.deepEqual(conflictOf(entry, change({ seq: 5, value: { a: 1 } }, { a: 2 }), undefined)?.fields, ["*"]);
});

test("a request follows the merge in what it repeats of the object, and in nothing else", () => {
  const mine = { id: "a", title: "mine", color: "red" };
  const merged = { id: "a", title: "mine", color: "blue" };
  assert.deepEqual(mergedRequest(mine, { mine, merged }), merged);
  assert.deepEqual(mergedRequest({ note: mine, by: "ada" }, { mine, merged }), { note: merged, by: "ada" });
  assert.deepEqual(mergedRequest({ title: "mine", color: "red", by: "ada" }, { mine, merged }), { title: "mine", color: "blue", by: "ada" });
  assert.deepEqual(mergedRequest({ color: "green" }, { mine, merged }), { color: "green" });
  assert.equal(mergedRequest("a", { mine, merged }), "a");
});
