/** Values as they travel. What JSON would change without a word is refused where it is written, with a remedy. */
import { HeadwayError } from "./errors.js";

/** Integers between these bounds are ids and counters of other languages; a JavaScript number rounds them. */
const LARGEST_INTEGER = 2 ** 64;
const decoder = new TextDecoder();

/**
 * Return a value as it is after a trip as JSON.
 *
 * @param what names the value in errors
 * @throws HeadwayError `usage` for NaN, infinities, BigInts, Maps, Sets and integers that a number cannot hold exactly
 */
export function asJson<T>(value: T, what: string): T {
  const text = JSON.stringify(value, (name, part: unknown) => {
    const problem = problemWith(part);
    if (problem !== null) throw new HeadwayError("usage", `${what}: ${name || "the value"} is ${problem[0]}`, false, problem[1]);
    return part;
  }) as string | undefined;
  return text === undefined ? (undefined as T) : (JSON.parse(text) as T);
}

function problemWith(part: unknown): [problem: string, remedy: string] | null {
  if (typeof part === "bigint") return ["a BigInt, which JSON has no form for", "send it as text"];
  if (part instanceof Map || part instanceof Set) return ["a Map or a Set, which JSON would make empty", "send an object or an array"];
  if (typeof part !== "number") return null;
  if (!Number.isFinite(part)) return [`${part}, which JSON would make null`, "send a finite number or null"];
  if (Number.isInteger(part) && !Number.isSafeInteger(part) && Math.abs(part) <= LARGEST_INTEGER) {
    return [`${part}, an integer that a number cannot hold exactly`, "send it as text"];
  }
  return null;
}

/** Integers of 16 digits and more outside of texts; the texts are matched so that what is inside them is skipped. */
const LONG_INTEGERS = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;

/** Parse JSON. `inexact` is the first integer in it that a number cannot hold exactly. */
export function parseJson(data: Uint8Array): { value: unknown; inexact?: string } {
  const text = decoder.decode(data);
  const value = JSON.parse(text) as unknown;
  if (!/\d{16}/.test(text)) return { value }; // nearly always, and quickly
  for (const [token] of text.matchAll(LONG_INTEGERS)) {
    if (!token.startsWith('"') && !Number.isSafeInteger(Number(token))) return { value, inexact: token };
  }
  return { value };
}
