/**
 * One total order over JSON values: null, then false and true, numbers, texts, arrays, objects. Texts are compared by
 * code point, arrays and objects item by item. clientsync/order.py has the same order; test/order.json tests both.
 */

/** Compare two values. Returns a negative number, zero or a positive number. A missing value counts as null. */
export function compare(a: unknown, b: unknown): number {
  if (a === b) return 0;
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return compareTexts(a, b);
  const difference = rank(a) - rank(b);
  if (difference !== 0 || a == null) return difference;
  if (typeof a === "boolean") return Number(a) - Number(b);
  if (Array.isArray(a)) return compareLists(a, b as readonly unknown[]);
  return compareLists(entries(a), entries(b));
}

const rank = (value: unknown): number => {
  switch (typeof value) {
    case "boolean": return 1;
    case "number": return 2;
    case "string": return 3;
    default: return value == null ? 0 : Array.isArray(value) ? 4 : 5;
  }
};

/** JavaScript compares UTF-16 units, which puts characters beyond U+FFFF before some that come earlier. */
function compareTexts(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const [left, right] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (left === right) continue;
    // Surrogates stand for characters beyond all that fit into one unit.
    return isSurrogate(left) === isSurrogate(right) ? left - right : isSurrogate(left) ? 1 : -1;
  }
  return a.length - b.length;
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff;

function compareLists(a: readonly unknown[], b: readonly unknown[]): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const difference = compare(a[index], b[index]);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** An object as a list of its names and values, in the order of the names. */
const entries = (value: unknown): unknown[] =>
  Object.entries(value as object).sort(([a], [b]) => compareTexts(a, b)).flat();
