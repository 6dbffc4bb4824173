/**
 * Operations on their way: kept until the server has answered, repeated with the same key until then, in order within a
 * service. Until the outcome shows in the objects themselves, an optimistic change lies over them; a refusal takes it off.
 */
import { asError, HeadwayError } from "./errors.js";
import type { Key } from "./types.js";
import type { Operation } from "./wire.js";

/** What an object is to look like until the server has said. Without a value: deleted. */
export interface Optimistic extends Key {
  readonly value?: unknown;
}

export interface Entry extends Operation {
  /** Its name here, and its idempotency key. */
  readonly id: string;
  readonly optimistic: readonly Optimistic[];
  /** Milliseconds by this machine's clock; entries go out in this order. */
  readonly at: number;
}

export interface Outcome {
  readonly id: string;
  readonly answer?: unknown;
  readonly error?: { readonly code: string; readonly message: string; readonly status: number };
}

export interface OutboxHost {
  /** Perform an operation now; throws a HeadwayError. */
  perform(entry: Entry): Promise<unknown>;
  /** An entry was answered: forget it everywhere, and say so. */
  settled(outcome: Outcome): void;
  /** These objects look different now. */
  changed(keys: readonly Key[]): void;
  /** The revision of an object; 0 if there is none. */
  revision(key: Key): number;
}

/** Milliseconds before the first repetition; doubled each time, at most RETRY_MAX. */
const RETRY = 500;
const RETRY_MAX = 30_000;
/** Milliseconds that an accepted change is shown while its effect has not arrived. */
const LINGER = 10_000;

interface Overlay {
  readonly entry: string;
  readonly change: Optimistic;
  /** The revision it lies over; one that is higher shows the effect. */
  over: number;
  accepted: boolean;
}

export class Outbox {
  private readonly entries = new Map<string, Entry>();
  private readonly overlays = new Map<string, Overlay[]>();
  private readonly busy = new Set<string>();
  private readonly lingering = new Set<ReturnType<typeof setTimeout>>();
  /** Ends the waits before repetitions. */
  private readonly sleepers = new Set<() => void>();
  private sending = false;

  constructor(private readonly host: OutboxHost) {}

  /** What waits for an answer, oldest first. */
  get waiting(): readonly Entry[] {
    return [...this.entries.values()];
  }

  /** What lies over an object; undefined if nothing does. */
  overlay(type: string, id: string): Optimistic | undefined {
    return this.overlays.get(`${type}.${id}`)?.at(-1)?.change;
  }

  /** The objects that something lies over. */
  get covered(): readonly Optimistic[] {
    return [...this.overlays.values()].map((list) => list.at(-1)!.change);
  }

  /** Take an entry, this tab's or another's. */
  add(entry: Entry): void {
    if (this.entries.has(entry.id)) return;
    this.entries.set(entry.id, entry);
    this.cover(entry);
    if (this.sending) void this.drain(entry.service);
  }

  /** Lay an operation's changes over the objects, without sending it. */
  cover(entry: Entry): void {
    for (const change of entry.optimistic) {
      const name = `${change.type}.${change.id}`;
      const overlay = { entry: entry.id, change, over: this.host.revision(change), accepted: false };
      this.overlays.set(name, [...(this.overlays.get(name) ?? []), overlay]);
    }
    if (entry.optimistic.length > 0) this.host.changed(entry.optimistic);
  }

  /** An entry was answered, here or in another tab. */
  settle(outcome: Outcome): void {
    const entry = this.entries.get(outcome.id);
    if (entry === undefined) return;
    this.entries.delete(outcome.id);
    this.resolve(entry, outcome);
  }

  /** What lies over the objects for an operation goes away: at once if it was refused, else with its effect. */
  resolve(entry: Entry, { id, error }: Outcome): void {
    if (error !== undefined) this.uncover(entry);
    else {
      for (const change of entry.optimistic) {
        for (const overlay of this.overlays.get(`${change.type}.${change.id}`) ?? []) {
          if (overlay.entry === id) overlay.accepted = true;
        }
      }
      this.seen(entry.optimistic);
      if (entry.optimistic.length === 0) return;
      this.host.changed(entry.optimistic);
      const timer = setTimeout(() => {
        this.lingering.delete(timer);
        this.uncover(entry);
      }, LINGER);
      this.lingering.add(timer);
    }
  }

  /** Objects have changed: where that is the effect of what was accepted, nothing needs to lie over them. */
  seen(keys: Iterable<Key>): void {
    if (this.overlays.size === 0) return;
    for (const key of keys) {
      const name = `${key.type}.${key.id}`;
      const list = this.overlays.get(name);
      if (list === undefined) continue;
      const revision = this.host.revision(key);
      this.lay(name, list.filter((overlay) => !overlay.accepted || overlay.over >= revision));
    }
  }

  /** Send, from now on. Only the tab with the connection does. */
  start(): void {
    this.sending = true;
    for (const service of new Set(this.waiting.map((entry) => entry.service))) void this.drain(service);
  }

  /** Send nothing more for now; what is under way is. */
  stop(): void {
    this.sending = false;
    for (const wake of this.sleepers) wake();
  }

  close(): void {
    this.stop();
    for (const timer of this.lingering) clearTimeout(timer);
    this.lingering.clear();
  }

  /** Send the entries of one service, one after the other. */
  private async drain(service: string): Promise<void> {
    if (this.busy.has(service)) return;
    this.busy.add(service);
    let failures = 0;
    try {
      while (this.sending) {
        const entry = this.waiting.find((one) => one.service === service);
        if (entry === undefined) return;
        try {
          const answer = await this.host.perform(entry);
          this.host.settled({ id: entry.id, answer });
          failures = 0;
        } catch (thrown) {
          const error = asError(thrown);
          if (!error.retryable) {
            const { code, message, status } = error;
            this.host.settled({ id: entry.id, error: { code, message, status } });
            continue;
          }
          if (error.code === "offline") return; // the next connection starts it again
          const wait = Math.min(RETRY_MAX, RETRY * 2 ** failures++);
          await this.sleep(wait * (0.5 + Math.random() / 2));
        }
      }
    } finally {
      this.busy.delete(service);
    }
  }

  private uncover(entry: Entry): void {
    for (const { type, id } of entry.optimistic) {
      const name = `${type}.${id}`;
      const list = this.overlays.get(name);
      if (list !== undefined) this.lay(name, list.filter((overlay) => overlay.entry !== entry.id));
    }
    if (entry.optimistic.length > 0) this.host.changed(entry.optimistic);
  }

  private lay(name: string, list: Overlay[]): void {
    if (list.length === 0) this.overlays.delete(name);
    else this.overlays.set(name, list);
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.sleepers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.sleepers.add(wake);
    });
  }
}

/** The error of an outcome, as it was thrown where the operation was performed. */
export const raised = ({ code, message, status }: NonNullable<Outcome["error"]>): HeadwayError =>
  new HeadwayError(code, message, false, "", status);
