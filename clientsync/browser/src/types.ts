/** What travels and what is stored: the words that all modules share. */
import type { Where } from "./core/fields.js";

/** One change of an object, as it comes from the live feed or in a page. `deleted` marks a tombstone. */
export interface Change {
  readonly type: string;
  readonly id: string;
  /** The sequence of the change in the stream: of two changes of one object, the higher is the newer. */
  readonly seq: number;
  readonly value?: unknown;
  readonly deleted?: boolean;
  /** The object still exists, but is nothing for this store any more. */
  readonly gone?: boolean;
}

/** Told every few seconds, so that a lost change does not stay unnoticed. */
export interface Beacon {
  readonly epoch: string;
  /** The beacon speaks about the changes after `from`, up to `upto`. */
  readonly from: number;
  readonly upto: number;
  /** Sequence of the tenant's last change. */
  readonly head: number;
  /** The sequences of the changes in that range that are still an object's last, as differences from `from` on. */
  readonly changes: readonly number[];
  readonly at?: number;
}

export interface PullRequest {
  readonly types: readonly string[];
  /** Everything up to here is known already. */
  readonly since: number;
  readonly epoch: string | null;
  /** What the first page of a load from 0 said: the horizon is judged by this while it pages. */
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

/** Who is online, as the server told last. */
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
  /** Its revision; 0 for one that so far exists only here. */
  readonly seq: number;
  /** Whether it shows a change that the server has not confirmed yet. */
  readonly pending: boolean;
}
