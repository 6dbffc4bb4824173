/** What travels and what is stored: the types that all modules share. */
import type { Where } from "./core/fields.js";

/** One change of an object, from the live feed or from a page. `deleted` marks a tombstone. */
export interface Change {
  readonly type: string;
  readonly id: string;
  /** The change's sequence in the stream. Of two changes of one object, the higher is the newer. */
  readonly seq: number;
  readonly value?: unknown;
  readonly deleted?: boolean;
  /** The object exists, but no longer matches what this store keeps. */
  readonly gone?: boolean;
}

/** Sent every few seconds, so that a lost change is noticed. */
export interface Beacon {
  readonly epoch: string;
  /** The beacon lists the changes after `from`, up to `upto`. */
  readonly from: number;
  readonly upto: number;
  /** Sequence of the tenant's last change. */
  readonly head: number;
  /** The changes in that range that are still an object's last one, as differences of sequences, starting at `from`. */
  readonly changes: readonly number[];
  /** The server's time in Unix seconds. */
  readonly at?: number;
}

export interface PullRequest {
  readonly types: readonly string[];
  /** Everything up to this sequence is known already. */
  readonly since: number;
  readonly epoch: string | null;
  /** From the first page of a load that began at 0: the horizon is compared with it while the load is paged. */
  readonly base?: number;
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  readonly where?: Readonly<Record<string, Where>>;
  readonly limit: number;
  readonly checksum: boolean;
}

export interface PullReply {
  readonly epoch: string;
  readonly horizon: number;
  readonly head: number;
  readonly reset: boolean;
  readonly changes: readonly Change[];
  readonly next: number;
  readonly more: boolean;
  readonly base?: number | null;
  readonly checksum?: { readonly count: number; readonly sum: string } | null;
}

/** Who is online, as the server last said. */
export interface Presence {
  readonly online: readonly string[];
  readonly at?: number;
}

/** Names an object. */
export interface Key {
  readonly type: string;
  readonly id: string;
}

/** An object as an application sees it. Values are shared: read them, do not change them. */
export interface Item<T = unknown> extends Key {
  readonly value: Readonly<T>;
  /** Its revision; 0 for an object that exists only here so far. */
  readonly seq: number;
  /** Whether it shows a change that the server has not confirmed yet. */
  readonly pending: boolean;
}

/** Told to all pages of a tenant: a write met another one of the same object. */
export interface ConflictNotice extends Key {
  /** The revision that the second write was based on, and the one that it met. */
  readonly base: number;
  readonly theirs: number;
  /** Whose change stands: that of the first writer, that of the second, or both. */
  readonly kept: "first" | "second" | "merged";
  /** The fields that both had changed. */
  readonly fields: readonly string[];
}

/** The text that names an object in maps; neither types nor ids contain a dot. */
export const nameOf = ({ type, id }: Key): string => `${type}.${id}`;
