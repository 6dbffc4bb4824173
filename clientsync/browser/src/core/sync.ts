/**
 * Keeps a copy of a tenant's objects correct: a state machine without time, network or disk of its own.
 *
 * On every connection the subscription comes first. What it brings is buffered while a pull catches up from the cursor,
 * then both are applied by sequence. The live feed guarantees nothing, so every few seconds a beacon lists the changes that
 * there were: if all of them are here, the cursor moves on; if one is missing, a pull brings it.
 *
 * A reset (the stream was recreated, or the page was away for longer than tombstones are kept) loads everything again
 * beside the present rows, which are shown until the new set is complete.
 */
import type { Beacon, Change, Key, PullReply, PullRequest } from "../types.js";
import { meets, type Where } from "./fields.js";
import { Rows } from "./rows.js";

/** Objects in one page. */
const PAGE = 500;
/** Milliseconds that a change may still be on its way after a beacon has listed it. */
const GRACE = 1000;
/** Milliseconds without a beacon after which the copy is checked by a pull. */
const SILENCE = 10_000;
/** Milliseconds after which buffered changes no longer wait for a pull: a responder that is down stops no updates. */
const STALL = 2000;
/** Milliseconds before the first retry of a failed pull; doubled each time, at most RETRY_MAX, with jitter. */
const RETRY = 250;
const RETRY_MAX = 15_000;
/** Milliseconds over which the pages of a tenant spread their pulls when all may have missed the same change. */
const SPREAD = 500;
/** Live sequences that are remembered for the next beacon. Any further ones count as missing, and are pulled. */
const RECEIVED = 20_000;
const BEACONS = 8;

export interface Effects {
  /** Send a pull. Its outcome comes back as `reply` or `failed` with the same number. */
  pull(request: PullRequest, flight: number): void;
  /** These objects have changed. */
  changed(keys: Iterable<Key>): void;
  /** All rows were replaced at once. `changed` follows with those that differ. */
  replaced?(): void;
}

export interface SyncOptions {
  readonly types: readonly string[];
  readonly fields?: Readonly<Record<string, readonly string[]>> | undefined;
  /** Which objects of a type to keep. The server sends no others, and other live changes are ignored. */
  readonly where?: Readonly<Record<string, Where>> | undefined;
  /** Returns a number between 0 and 1; tests give their own. */
  readonly random?: () => number;
}

export interface Counts {
  changes: number;
  pulls: number;
  /** How often a change was found missing, or a checksum wrong. */
  gaps: number;
  resets: number;
}

interface Flight {
  readonly number: number;
  /** When its first page was requested. */
  readonly at: number;
}

export class Sync {
  readonly counts: Counts = { changes: 0, pulls: 0, gaps: 0, resets: 0 };
  /** Sequence of the tenant's last change, as far as it is known. */
  head = 0;
  /** The rows of a reload that is under way. */
  private next: Rows | null = null;
  /** The cursor that the reload has to reach before it replaces the present rows. */
  private floor = 0;
  /** Whether another pull has to follow the one in flight. */
  private again = false;
  private flight: Flight | null = null;
  private flights = 0;
  private buffer: Change[] = [];
  private beacons: Beacon[] = [];
  private readonly received = new Set<number>();
  private online = false;
  private complete = false;
  /** When to pull even if nothing happens; Infinity for never. */
  private due = Infinity;
  /** A beacon that lists a change which is not here yet. */
  private unconfirmed: Beacon | null = null;
  private lastBeacon = 0;
  private failures = 0;
  private mismatches = 0;
  private readonly wanted: ReadonlySet<string>;
  private readonly random: () => number;

  constructor(
    public rows: Rows,
    private readonly options: SyncOptions,
    private readonly effects: Effects,
  ) {
    this.wanted = new Set(options.types);
    this.random = options.random ?? Math.random;
  }

  /** Whether everything that is known to have changed is applied. */
  get current(): boolean {
    return this.online && this.complete && this.unconfirmed === null;
  }

  /** By how many sequences the copy may be behind the last known change. */
  get lag(): number {
    return Math.max(0, this.head - this.rows.seen);
  }

  /** A subscription exists: from now on only what gets lost is missed. */
  connected(now: number): void {
    this.online = true;
    this.lastBeacon = now;
    this.failures = 0;
    this.abandon();
    this.pull(now);
  }

  /** The subscription is gone. */
  disconnected(): void {
    this.online = false;
    this.complete = false;
    this.due = Infinity;
    this.unconfirmed = null;
    this.beacons = [];
    this.abandon();
  }

  /** Changes were probably missed: the page was hidden, or the computer slept. */
  suspect(now: number): void {
    if (this.online && this.flight === null) this.pull(now);
  }

  /** The live feed brought a change. */
  live(change: Change, now: number): void {
    if (this.received.size < RECEIVED) this.received.add(change.seq);
    if (change.seq > this.head) this.head = change.seq;
    if (!this.wanted.has(change.type)) return;
    this.buffer.push(this.filtered(change));
    if (this.flight === null || now - this.flight.at >= STALL) this.release();
  }

  beacon(beacon: Beacon, now: number): void {
    this.lastBeacon = now;
    if (beacon.epoch === this.rows.epoch && beacon.head > this.head) this.head = beacon.head;
    if (!this.online) return;
    if (this.flight !== null) {
      this.beacons.push(beacon);
      if (this.beacons.length > BEACONS) this.beacons.shift();
      return;
    }
    this.check(beacon, now);
  }

  /** A page of changes arrived. */
  reply(flight: number, reply: PullReply, now: number): void {
    if (this.flight?.number !== flight) return;
    this.failures = 0;
    if (reply.reset || this.target.epoch !== reply.epoch) {
      const first = !reply.reset && this.target.epoch === null;
      this.startLoad(reply.epoch);
      if (!first) {
        this.counts.resets++;
        this.send(now);
        return;
      }
    }
    const { target } = this;
    if (target.cursor === 0 && reply.more) target.base = reply.base ?? reply.head;
    if (target === this.rows) this.apply(reply.changes);
    else for (const change of reply.changes) target.apply(change);
    target.advance(reply.next);
    this.forget();
    if (reply.head > this.head) this.head = reply.head;
    if (reply.more) {
      this.send(this.flight.at);
      return;
    }
    if (target === this.next && target.cursor < this.floor && target.epoch === this.rows.epoch) {
      this.failed(flight, now); // from a replica that lags behind: what is shown must not go back in time
      return;
    }
    this.finish(target, reply, now);
  }

  /** A pull brought no page: nobody answered, in time or at all, or it was refused. */
  failed(flight: number, now: number, after = 0): void {
    if (this.flight?.number !== flight) return;
    this.abandon();
    this.complete = false;
    const wait = Math.min(RETRY_MAX, RETRY * 2 ** this.failures++);
    this.due = now + Math.max(after, wait * (0.5 + this.random() / 2));
  }

  /** Time has passed. To be called about every second while connected. */
  tick(now: number): void {
    if (!this.online) return;
    if (this.flight !== null) {
      if (now - this.flight.at >= STALL) this.release();
      return;
    }
    if (this.unconfirmed !== null) this.recheck(this.unconfirmed);
    const silent = now - this.lastBeacon > SILENCE;
    if (now < this.due && !silent) return;
    if (silent) this.lastBeacon = now;
    if (this.unconfirmed !== null) this.counts.gaps++;
    this.pull(now);
  }

  /** The rows that pages are applied to. */
  private get target(): Rows {
    return this.next ?? this.rows;
  }

  /** Catch up from the cursor. */
  private pull(now: number): void {
    this.due = Infinity;
    this.unconfirmed = null;
    const { target } = this;
    // Rows without a cursor belong to no known moment: what was deleted since would stay among them.
    if (target.cursor === 0 && target === this.rows && this.rows.size > 0) {
      this.next = new Rows(target.epoch);
    }
    this.send(now);
  }

  private send(at: number): void {
    const { target } = this;
    const { fields, where } = this.options;
    this.flight = { number: ++this.flights, at };
    this.counts.pulls++;
    const request: PullRequest = {
      types: this.options.types,
      since: target.cursor,
      epoch: target.epoch,
      limit: PAGE,
      checksum: true,
      ...(target.base > 0 ? { base: target.base } : {}),
      ...(fields === undefined ? {} : { fields }),
      ...(where === undefined ? {} : { where }),
    };
    this.effects.pull(request, this.flight.number);
  }

  /** Load everything of an epoch beside the present rows. */
  private startLoad(epoch: string): void {
    // Nobody knows to which epoch the buffered changes belong: a pull brings them again.
    this.again = this.again || this.received.size > 0;
    this.buffer = [];
    this.received.clear();
    if (this.rows.epoch !== epoch) this.head = 0;
    const fresh = new Rows(epoch);
    if (this.rows.size === 0) {
      this.rows = fresh;
      this.next = null;
      this.effects.replaced?.();
    } else this.next = fresh;
    this.floor = 0;
  }

  private finish(target: Rows, reply: PullReply, now: number): void {
    target.base = 0;
    this.flight = null;
    const fits = this.checksumFits(target, reply);
    if (target !== this.rows) this.swap(target);
    this.complete = true;
    this.release();
    const waiting = this.beacons;
    this.beacons = [];
    if (fits) {
      for (const beacon of waiting) if (this.flight === null) this.check(beacon, now);
    } else this.checksumFailed(now);
    if (this.again && this.flight === null) {
      this.again = false;
      this.pull(now);
    }
  }

  /** Return whether the objects are those that the server has. With changes beyond the page that cannot be told. */
  private checksumFits(target: Rows, { checksum, next }: PullReply): boolean {
    if (!checksum || target.seen > next) return true;
    if (!target.total(this.options.types).is(checksum.count, checksum.sum)) return false;
    this.mismatches = 0;
    return true;
  }

  /** The checksum was wrong: pull again; if it is wrong again, load everything, less and less often. */
  private checksumFailed(now: number): void {
    this.counts.gaps++;
    this.mismatches++;
    if (this.mismatches > 1) {
      this.next = new Rows(this.rows.epoch);
      this.floor = this.rows.cursor;
      this.counts.resets++;
    }
    this.due = now + RETRY * 2 ** Math.min(this.mismatches, 10);
  }

  private swap(fresh: Rows): void {
    const old = this.rows;
    const same = old.epoch === fresh.epoch;
    if (same) for (const change of old.after(fresh.cursor)) fresh.apply(change);
    this.rows = fresh;
    this.next = null;
    this.effects.replaced?.();
    const differing: Key[] = [];
    for (const { type, id, seq } of fresh) {
      if (!same || old.get(type, id)?.seq !== seq) differing.push({ type, id });
    }
    for (const { type, id } of old) if (fresh.get(type, id) === undefined) differing.push({ type, id });
    if (differing.length > 0) this.effects.changed(differing);
  }

  private check(beacon: Beacon, now: number): void {
    if (this.unconfirmed !== null) this.recheck(this.unconfirmed);
    if (this.confirms(beacon) || this.failures > 0) return;
    // What this beacon lists may be on its way; what an earlier one listed that was lost is not. All pages of a tenant may
    // have missed the same change, so they do not all pull in the same instant.
    const lost = beacon.epoch !== this.rows.epoch || beacon.from > this.rows.cursor;
    this.unconfirmed = beacon;
    this.due = Math.min(this.due, now + (lost ? 0 : GRACE) + this.random() * SPREAD);
  }

  private recheck(beacon: Beacon): void {
    if (!this.confirms(beacon)) return;
    this.unconfirmed = null;
    this.due = Infinity;
  }

  /** Return whether everything that a beacon lists is here. If so, the copy is complete up to its end. */
  private confirms(beacon: Beacon): boolean {
    const { rows, received } = this;
    if (beacon.epoch !== rows.epoch) return false;
    if (beacon.upto <= rows.cursor) return true;
    if (beacon.from > rows.cursor) return false;
    let seq = beacon.from;
    for (const difference of beacon.changes) {
      seq += difference;
      if (seq > rows.cursor && !received.has(seq)) return false;
    }
    rows.advance(beacon.upto);
    this.forget();
    return true;
  }

  private apply(changes: readonly Change[]): void {
    const fresh: Key[] = [];
    for (const change of changes) if (this.rows.apply(change)) fresh.push(change);
    this.counts.changes += fresh.length;
    if (fresh.length > 0) this.effects.changed(fresh);
  }

  /** Stop waiting for a pull. */
  private abandon(): void {
    this.flight = null;
    this.release();
  }

  /** Apply the changes that were buffered during a pull. */
  private release(): void {
    if (this.buffer.length === 0) return;
    const waiting = this.buffer;
    this.buffer = [];
    if (this.next !== null) for (const change of waiting) this.next.apply(change);
    if (this.next === null || this.next.epoch === this.rows.epoch) this.apply(waiting);
  }

  private forget(): void {
    for (const seq of this.received) if (seq <= this.rows.cursor) this.received.delete(seq);
  }

  /** Return a live change, which has the whole object, as a page would have it. */
  private filtered(change: Change): Change {
    const { type, id, seq, deleted, value } = change;
    const where = this.options.where?.[type];
    if (!deleted && where !== undefined && !meets(value, where)) return { type, id, seq, gone: true };
    return this.projected(change);
  }

  private projected(change: Change): Change {
    const fields = this.options.fields?.[change.type];
    if (fields === undefined || change.value === null || typeof change.value !== "object") return change;
    const whole = change.value as Record<string, unknown>;
    const value: Record<string, unknown> = {};
    for (const field of fields) if (field in whole) value[field] = whole[field];
    return { ...change, value };
  }
}
