import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { field } from "../src/core/fields.js";
import { newRow, type Row } from "../src/core/rows.js";
import { fieldOf, packed, unpacked } from "../src/core/table.js";

const alike = fc.record({ n: fc.integer(), state: fc.constantFrom("new", "sent"), of: fc.option(fc.string()), list: fc.array(fc.nat(3)) });
const value = fc.oneof({ weight: 4, arbitrary: alike }, { weight: 1, arbitrary: fc.jsonValue() });
const rows = fc.array(fc.tuple(fc.constantFrom("fax", "call"), fc.stringMatching(/^[A-Za-z0-9_-]{1,9}$/), value), { maxLength: 60 })
  .map((list) => list.map(([type, id, one], n) => newRow(type, `${id}${n}`, 1 + 3 * n, JSON.parse(JSON.stringify(one)))));
const plain = ({ type, id, seq, value: of, pending }: Row): unknown => ({ type, id, seq, value: of, pending });
const bySeq = (a: Row, b: Row): number => a.seq - b.seq;
const again = (list: Iterable<Row>): Row[] => structuredClone(packed(list)).flatMap(unpacked).sort(bySeq);

test("rows come out of tables as they went in, also a second time", () => {
  fc.assert(
    fc.property(rows, (list) => {
      const once = again(list);
      assert.deepEqual(again(once).map(plain), list.map(plain));
      assert.deepEqual(once.map(plain), list.map(plain));
    }),
  );
});

test("a row looks like any other: its value is its own, and the same each time", () => {
  fc.assert(
    fc.property(rows, (list) => {
      for (const [index, row] of again(list).entries()) {
        assert.deepEqual({ ...row }, { ...list[index]! });
        assert.equal(JSON.stringify(structuredClone(row)), JSON.stringify({ ...row }));
        assert.equal(row.value, row.value);
      }
    }),
  );
});

test("a field is the same, whether the value was made or not", () => {
  fc.assert(
    fc.property(rows, fc.constantFrom("n", "state", "of", "list", "toString", "__proto__", "length"), (list, name) => {
      for (const [index, row] of again(list).entries()) {
        const expected = field(list[index]!.value, name);
        assert.deepEqual(fieldOf(row, name), expected);
        void row.value;
        assert.deepEqual(fieldOf(row, name), expected);
      }
    }),
  );
});

test("ten thousand objects of a kind take less than half of their JSON, and looking at one field parses that one alone", () => {
  const list = Array.from({ length: 10_000 }, (_, n) => newRow("fax", `f${n}`, n, { n, state: "sending", sender: "+49 30 901820", text: `fax ${n}` }));
  const tables = packed(list);
  const size = tables.flatMap(({ columns }) => columns).reduce((sum, { values, at }) => sum + values.length + (at?.length ?? 0), 0);
  assert.ok(size * 2 < JSON.stringify(list.map(({ value: of }) => of)).length);
  const parse = JSON.parse;
  let parsed = 0;
  JSON.parse = (...text) => (parsed++, parse(...text));
  try {
    for (const row of tables.flatMap(unpacked)) assert.equal(fieldOf(row, "n"), row.seq);
  } finally {
    JSON.parse = parse;
  }
  assert.equal(parsed, tables.length);
});
