export { HeadwayError, type ErrorCode } from "./errors.js";
export { forget, openStore } from "./store.js";
export type { Attempt, Events, Stats, Status, Store, StoreOptions } from "./store.js";
export type { DiskState } from "./disk.js";
export type { Entry, Optimistic } from "./outbox.js";
export type { SessionOptions } from "./session.js";
export type { Item, Key, Presence } from "./types.js";
export type { Scalar, Where } from "./core/fields.js";
export type { Query, Snapshot, View } from "./view.js";
