/** The fields of objects, and conditions on them. The server has the same rules in clientsync/protocol.py. */

export type Scalar = string | number | boolean | null;

/** Fields that must have a value, or one of several. A field that is missing is null. */
export type Where = Readonly<Record<string, Scalar | readonly Scalar[]>>;

/** Return a field of a value: null if it is missing, undefined if the value has no fields. */
export function field(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.hasOwn(value, name) ? (value as Readonly<Record<string, unknown>>)[name] : null;
}

/** Return whether each field of a value has the wanted value, or one of them. */
export function meets<T>(value: T, where: Readonly<Record<string, unknown>>, at: (value: T, name: string) => unknown = field): boolean {
  for (const [name, wanted] of Object.entries(where)) {
    const has = at(value, name);
    if (Array.isArray(wanted) ? !wanted.includes(has) : has !== (wanted ?? null)) return false;
  }
  return true;
}
