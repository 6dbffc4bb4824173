import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HeadwayError } from "../src/errors.js";
import { asJson, parseJson } from "../src/json.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("what JSON would change without a word is refused, naming the field and the remedy", () => {
  for (const value of [NaN, Infinity, -Infinity, 10n, new Map([["a", 1]]), new Set([1]), 2 ** 53, -(2 ** 60)]) {
    assert.throws(() => asJson({ amount: value }, "fax send"), (error: HeadwayError) =>
      error.code === "usage" && error.message.startsWith("fax send: amount is ") && error.remedy.length > 5, String(value));
  }
});

test("everything else is as it will arrive", () => {
  assert.deepEqual(asJson({ a: undefined, at: new Date(0), n: 1e300, top: 2 ** 53 - 1 }, ""), { at: "1970-01-01T00:00:00.000Z", n: 1e300, top: 2 ** 53 - 1 });
  assert.equal(asJson(undefined, ""), undefined);
  fc.assert(fc.property(fc.jsonValue(), (value) => {
    const text = JSON.stringify(value);
    assert.deepEqual(parseJson(bytes(text)).value, JSON.parse(text));
  }));
});

test("an integer that a number cannot hold exactly is found, in texts and fractions none is", () => {
  assert.equal(parseJson(bytes('{"a": [1, 9007199254740993]}')).inexact, "9007199254740993");
  assert.equal(parseJson(bytes('{"a": -18446744073709551615, "b": "x"}')).inexact, "-18446744073709551615");
  for (const text of ['{"a": 9007199254740991}', '{"a": "9007199254740993"}', '{"a": "\\"9007199254740993"}', "[1234567890.1234567890123456]", "[12345678901234567890e5]"]) {
    assert.equal(parseJson(bytes(text)).inexact, undefined, text);
  }
});
