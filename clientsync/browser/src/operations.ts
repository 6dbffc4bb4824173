/** Calls and jobs: what an application asks for, the promises it gets, and how a change is brought up to date on its way. */
import { type Base, type Conflict, conflictOf, mergedRequest, type Resolution } from "./conflicts.js";
import { HeadwayError } from "./errors.js";
import { randomId } from "./ids.js";
import { asJson } from "./json.js";
import { Outbox, type PendingOperation } from "./outbox.js";
import type { Overlays } from "./overlay.js";
import type { ConflictNotice, Item, Key } from "./types.js";
import { nameOf } from "./types.js";
import type { Operation } from "./wire.js";

/** How an object is to look until the server has answered. Without a value: deleted. */
export interface Optimistic extends Key {
  readonly value?: unknown;
}

/** An optimistic change, and what it is based on. */
export interface StoredChange extends Optimistic {
  readonly base: Base;
}

/** What happens to a change if somebody else changed the object first; see `Resolution`. */
export type ConflictPolicy = "mine" | "theirs" | "merge";

export interface OperationOptions {
  /** Milliseconds for an answer. */
  readonly timeout?: number;
  /** The operation is done once for each key. A call with a key waits for a connection; one without is not repeated. */
  readonly key?: string;
  /** How objects look until the server has answered; taken back when it refuses. */
  readonly optimistic?: Optimistic | readonly Optimistic[];
  /** Operations that name the same `order` are sent one after the other, as those that change the same object are. */
  readonly order?: string | readonly string[];
  /** Milliseconds after which an operation whose attempts fail is given up: it is parked until `retry` or `cancel`. */
  readonly maxAge?: number;
  /** What to do if somebody else changed an object first. Without it, the store's `onConflict` decides. */
  readonly onConflict?: ConflictPolicy;
}

/** An operation as the outbox keeps it, over reloads too. */
export interface Entry extends Operation {
  /** Its name here, and its idempotency key. */
  readonly id: string;
  readonly optimistic: readonly StoredChange[];
  readonly order: readonly string[];
  readonly onConflict?: ConflictPolicy;
  /** When it was made, in Unix milliseconds by this machine's clock. It grows from one operation to the next. */
  readonly at: number;
  readonly maxAge: number;
  /** Why it was given up. */
  readonly parked?: OutcomeError;
}

export interface OutcomeError {
  readonly code: string;
  readonly message: string;
  readonly status: number;
}

/** How an operation ended. */
export interface Outcome {
  readonly id: string;
  readonly answer?: unknown;
  readonly error?: OutcomeError;
}

/** A conflict as the pages are told: `here` says whether this page's write was the first or the second one. */
export interface ConflictReport extends ConflictNotice {
  readonly here: "first" | "second";
}

export interface OperationsHost {
  perform(operation: Operation): Promise<unknown>;
  /** The object as the server has confirmed it. */
  row(key: Key): Item | undefined;
  /** Resolve once the rows are up to date, or it takes too long. */
  caughtUp(): Promise<void>;
  /** Ask the application how to solve a conflict. */
  resolve(conflict: Conflict): Resolution | Promise<Resolution>;
  /** Store an entry and tell the other tabs. */
  publish(entry: Entry): Promise<void>;
  /** Tell the other tabs that an entry was settled, and forget it on disk. */
  settled(outcome: Outcome): void;
  /** Tell the other tabs that an attempt failed. */
  failed(entry: Entry, error: OutcomeError, attempts: number): void;
  conflict(report: ConflictReport): void;
  refused(entry: Entry, error: HeadwayError): void;
  trouble(error: HeadwayError): void;
}

/** Milliseconds for an answer, unless the application says otherwise. */
const CALL_TIMEOUT = 10_000;
/** Milliseconds after which a failing operation is given up, unless the application says otherwise: a day. */
const MAX_AGE = 86_400_000;
/** Attempts in a row that a service may refuse because of a conflict before that is final. */
const CONFLICTS = 5;
/** Characters of a key, at most. */
const KEY_LENGTH = 255;

/** Somebody who waits for an outcome. Several may have used the same key. */
interface Waiter {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

export class Operations {
  readonly outbox: Outbox;
  private readonly waiters = new Map<string, Waiter[]>();
  private readonly conflicts = new Map<string, number>();
  private newest = 0;

  constructor(
    private readonly overlays: Overlays,
    private readonly host: OperationsHost,
  ) {
    this.outbox = new Outbox({
      prepare: (entry) => this.prepare(entry),
      perform: (entry) => this.perform(entry),
      settled: (outcome) => {
        this.host.settled(outcome);
        this.settle(outcome);
      },
      failed: (entry, error, parked) => this.failed(entry, error, parked),
    });
  }

  /** What waits to be sent or answered, oldest first. */
  get pending(): readonly PendingOperation[] {
    return this.outbox.pending;
  }

  /** Perform a call without a key: once, now or never. Its changes show while it is under way. */
  async once(entry: Entry): Promise<unknown> {
    this.overlays.lay(entry);
    try {
      const answer = await this.host.perform({ ...entry, base: basesOf(entry) });
      this.overlays.accept(entry);
      return answer;
    } catch (error) {
      this.overlays.remove(entry);
      throw error;
    }
  }

  /** Keep an operation until it is done. Resolves with the answer. */
  async send(entry: Entry): Promise<unknown> {
    const outcome = new Promise((resolve, reject) => {
      this.waiters.set(entry.id, [...(this.waiters.get(entry.id) ?? []), { resolve, reject }]);
    });
    outcome.catch(() => {}); // whoever asked hears of it below
    const known = this.outbox.get(entry.id);
    const now = known?.parked === undefined ? (known ?? entry) : entry;
    await this.host.publish(now);
    this.put(now);
    return await outcome;
  }

  /** Send an operation now that was parked, or that waits for its next attempt. Resolves with the answer. */
  async retry(id: string): Promise<unknown> {
    const entry = this.outbox.get(id);
    if (entry === undefined) throw new HeadwayError("usage", `no operation ${id} waits`, false, "see `store.pending`");
    const { parked: _, ...waiting } = { ...entry, at: this.time() };
    return await this.send(waiting);
  }

  /** Take an operation back. */
  cancel(id: string): void {
    const outcome = { id, error: { code: "cancelled", message: "the operation was cancelled", status: 0 } };
    this.host.settled(outcome);
    this.settle(outcome);
  }

  /** Take an entry: this tab's, another's, or one that was stored. */
  put(entry: Entry): void {
    const known = this.outbox.get(entry.id);
    this.newest = Math.max(this.newest, entry.at);
    if (known !== undefined && known.parked === undefined) {
      if (entry.parked === undefined) this.overlays.replace(entry);
      else this.overlays.remove(entry);
    } else if (entry.parked === undefined) this.overlays.lay(entry);
    this.outbox.put(entry);
    if (entry.parked !== undefined && known !== undefined && known.parked === undefined) this.park(entry, entry.parked);
  }

  /** An operation was answered, here or in another tab. */
  settle({ id, answer, error }: Outcome): void {
    const entry = this.outbox.take(id);
    this.conflicts.delete(id);
    if (entry !== undefined) {
      if (error === undefined) this.overlays.accept(entry);
      else this.overlays.remove(entry);
    }
    if (error === undefined) {
      for (const { resolve } of this.takeWaiters(id)) resolve(answer);
      return;
    }
    const reason = raised(error);
    this.reject(id, reason);
    if (entry !== undefined) this.host.refused(entry, reason);
  }

  /** Another tab's attempt failed. */
  note(id: string, error: OutcomeError, attempts: number): void {
    this.outbox.note(id, error, attempts);
  }

  /** An entry's change is based on another revision of its object now. */
  rebase(id: string, { type, id: object }: Key, base: Base): void {
    const entry = this.outbox.get(id);
    if (entry === undefined) return;
    const optimistic = entry.optimistic.map((change) => (change.type === type && change.id === object ? { ...change, base } : change));
    this.outbox.put({ ...entry, optimistic });
  }

  /** Reject whoever waits, and send nothing more. */
  close(): void {
    this.outbox.stop();
    for (const id of [...this.waiters.keys()]) this.reject(id, new HeadwayError("closed", "the store was closed"));
  }

  /** Make an entry of what an application asks for. */
  entry(kind: Operation["kind"], service: string, operation: string, request: unknown, options: OperationOptions): Entry {
    const id = options.key ?? randomId();
    if (id.length < 1 || id.length > KEY_LENGTH) {
      throw new HeadwayError("usage", `a key of ${id.length} characters`, false, `a key has 1 to ${KEY_LENGTH} characters`);
    }
    const optimistic = [options.optimistic ?? []].flat().map((change): StoredChange => {
      const seen = this.overlays.read(change.type, change.id)?.value;
      const base = { seq: this.host.row(change)?.seq ?? 0, ...(seen === undefined ? {} : { value: seen }) };
      return { ...change, base };
    });
    const { timeout = CALL_TIMEOUT, maxAge = MAX_AGE, order = [], onConflict } = options;
    return asJson({
      id, kind, service, operation, request, optimistic, order: [order].flat(), timeout, maxAge, at: this.time(),
      ...(onConflict === undefined ? {} : { onConflict }),
      ...(kind === "submit" || options.key !== undefined ? { key: id } : {}),
    }, `${service} ${operation}`);
  }

  /** The time, later than that of all operations that are known: they keep their order if the clock is set back. */
  private time(): number {
    return (this.newest = Math.max(Date.now(), this.newest + 1));
  }

  /** Compare an entry's changes with the objects as they are now. Returns what to send; null if theirs was kept. */
  private async prepare(entry: Entry): Promise<Entry | null> {
    if (entry.optimistic.length === 0 || entry.onConflict === "mine") return entry;
    await this.host.caughtUp();
    const found: [Conflict, ConflictNotice["kept"], Base][] = [];
    const optimistic: StoredChange[] = [];
    let { request } = entry;
    for (const change of entry.optimistic) {
      const row = this.host.row(change);
      const base = row === undefined ? { seq: change.base.seq } : { seq: row.seq, value: row.value };
      const conflict = conflictOf(entry, change, row);
      if (conflict === null) {
        optimistic.push(row === undefined || row.seq === change.base.seq ? change : { ...change, base });
        continue;
      }
      const resolution = await this.resolution(entry, conflict);
      if (conflict.fields.length > 0) found.push([conflict, keptBy(resolution), { seq: row?.seq ?? change.base.seq }]);
      if (resolution === "theirs") {
        this.report(entry, found);
        const message = `${nameOf(change)} was changed by somebody else, whose change was kept`;
        this.host.settled({ id: entry.id, error: { code: "conflict", message, status: 409 } });
        this.settle({ id: entry.id, error: { code: "conflict", message, status: 409 } });
        return null;
      }
      let { value } = change;
      if (resolution === "merge") {
        request = mergedRequest(request, conflict);
        value = conflict.merged;
      } else if (typeof resolution === "object") ({ request, value } = resolution);
      const { value: _, ...key } = change;
      optimistic.push({ ...key, ...(value === undefined ? {} : { value }), base });
    }
    const prepared = asJson({ ...entry, request, optimistic }, `${entry.service} ${entry.operation}`);
    if (optimistic.some((change, n) => change !== entry.optimistic[n])) {
      this.overlays.replace(prepared);
      await this.host.publish(prepared);
    }
    this.report(entry, found);
    return prepared;
  }

  private async resolution(entry: Entry, conflict: Conflict): Promise<Resolution> {
    // Changes of different fields are no question: both are kept.
    const chosen = entry.onConflict ?? (conflict.fields.length === 0 ? "merge" : await this.host.resolve(conflict));
    return chosen === "merge" && conflict.mine === undefined ? "theirs" : chosen; // an edit beats a deletion
  }

  private report(entry: Entry, found: readonly [Conflict, ConflictNotice["kept"], Base][]): void {
    for (const [{ type, id, fields }, kept, { seq: theirs }] of found) {
      const base = entry.optimistic.find((change) => change.type === type && change.id === id)!.base.seq;
      this.host.conflict({ type, id, base, theirs, kept, fields, here: "second" });
    }
  }

  private async perform(entry: Entry): Promise<unknown> {
    try {
      return await this.host.perform({ ...entry, base: basesOf(entry) });
    } catch (thrown) {
      const error = thrown as HeadwayError;
      const conflicts = (this.conflicts.get(entry.id) ?? 0) + 1;
      if (error.code !== "conflict" || basesOf(entry) === undefined || conflicts > CONFLICTS) throw error;
      // The object was changed after the comparison. The next attempt compares again, with that change at hand.
      this.conflicts.set(entry.id, conflicts);
      throw new HeadwayError(error.code, error.message, true, "", error.status);
    }
  }

  private failed(entry: Entry, error: HeadwayError, parked: boolean): void {
    const { code, message, status } = error;
    const { attempts } = this.outbox.pending.find(({ id }) => id === entry.id)!;
    const what = `${entry.service} ${entry.operation}`;
    this.host.failed(entry, { code, message, status }, attempts);
    if (parked) {
      this.overlays.remove(entry);
      void this.host.publish(entry);
      this.park(entry, error);
    } else if (attempts === 1) this.host.trouble(new HeadwayError(code, `${what} waits: ${message}`, true, "", status));
  }

  /** Tell that an entry was given up, here or in another tab. */
  private park(entry: Entry, { message, status }: OutcomeError): void {
    const { id, service, operation } = entry;
    const remedy = `store.retry("${id}") sends it again, store.cancel("${id}") drops it`;
    const reason = new HeadwayError("expired", `${service} ${operation} could not be done in time: ${message}`, false, remedy, status);
    this.reject(id, reason);
    this.host.refused(entry, reason);
  }

  private reject(id: string, reason: Error): void {
    for (const { reject } of this.takeWaiters(id)) reject(reason);
  }

  private takeWaiters(id: string): readonly Waiter[] {
    const waiters = this.waiters.get(id) ?? [];
    this.waiters.delete(id);
    return waiters;
  }
}

const keptBy = (resolution: Resolution): ConflictNotice["kept"] =>
  resolution === "theirs" ? "first" : resolution === "mine" ? "second" : "merged";

/** The revisions that an operation's changes are based on; undefined if it may overwrite whatever is there. */
function basesOf({ optimistic, onConflict }: Entry): Record<string, number> | undefined {
  const known = optimistic.filter(({ base }) => base.seq > 0);
  if (onConflict === "mine" || known.length === 0) return undefined;
  return Object.fromEntries(known.map((change) => [nameOf(change), change.base.seq]));
}

/** Return an entry as it was stored, possibly by an earlier version, which knew of no order, age or base. */
export const restored = (stored: Entry): Entry => ({
  ...stored,
  order: stored.order ?? [],
  maxAge: stored.maxAge ?? MAX_AGE,
  optimistic: stored.optimistic.map((change) => ({ ...change, base: change.base ?? { seq: 0 } })),
});

/** The error of an outcome, as it was thrown where the operation was performed. */
const raised = ({ code, message, status }: OutcomeError): HeadwayError => new HeadwayError(code, message, false, "", status);
