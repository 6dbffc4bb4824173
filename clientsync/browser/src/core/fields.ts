/** The fields of objects, and conditions on them. The server has the same rules (clientsync/protocol.py). */

export type Scalar = string | number | boolean | null;

/** Fields that must have a value, or one of several. A field that is missing is null. */
export type Where = Readonly<Record<string, Scalar | readonly Scalar[]>>;

/** A field of a value: null if it is missing, undefined if the value is nothing that has fields. */
export function field(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.hasOwn(value, name) ? (value as Readonly<Record<string, unknown>>)[name] : null;
}

/** Whether a value has what is wanted in each field. */
export function meets<T>(value: T, where: Readonly<Record<string, unknown>>, at: (value: T, name: string) => unknown = field): boolean {
  for (const [name, wanted] of Object.entries(where)) {
    const has = at(value, name);
    if (Array.isArray(wanted) ? !wanted.includes(has) : has !== (wanted ?? null)) return false;
  }
  return true;
}
