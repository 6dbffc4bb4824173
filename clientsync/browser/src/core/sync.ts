/**
 * How a copy of a tenant's objects stays right: a state machine without time, network or disk of its own.
 *
 * The order of things on every connection: the subscription stands first, what it brings waits while a pull catches up
 * from the cursor, then both are applied by sequence. The live feed promises nothing, so every few seconds a beacon lists
 * which changes there were; with all of them at hand the cursor moves on, with one missing a pull brings it.
 *
 * A reset (another life of the stream, or away for longer than tombstones are kept) loads everything anew beside the
 * rows there are, which are shown until the new set is complete.
 */
import type { Beacon, Change, Key, PullReply, PullRequest } from "../types.js";
import { meets, type Where } from "./fields.js";
import { Rows } from "./rows.js";

/** Objects in one page. */
const PAGE = 500;
/** Milliseconds that a change which a beacon lists may still be on its way. */
const GRACE = 1000;
/** Milliseconds without a beacon after which the copy is no longer taken for right. */
const SILENCE = 10_000;
/** Milliseconds after which the live feed no longer waits for a pull: a responder that is down stops no updates. */
const STALL = 2000;
/** Milliseconds before the first retry of a failed pull; doubled each time, at most RETRY_MAX, jittered. */
const RETRY = 250;
const RETRY_MAX = 15_000;
/** Milliseconds over which the clients of a tenant spread their pulls when all of them may have missed something. */
const SPREAD = 500;
/** Live sequences that are remembered for the next beacon; those past them count as missing, and are pulled. */
const RECEIVED = 20_000;
const BEACONS = 8;

export interface Effects {
  /** Send a pull; its outcome comes back as `reply` or `failed` with the same number. */
  pull(request: PullRequest, flight: number): void;
  /** These objects are not what they were. */
  changed(keys: Iterable<Key>): void;
  /** All rows were replaced at once; `changed` follows with those that differ. */
  replaced?(): void;
}

export interface Options {
  readonly types: readonly string[];
  readonly fields?: Readonly<Record<string, readonly string[]>> | undefined;
  /** Which objects of a type to keep: the server sends no others, and of live changes no others are taken. */
  readonly where?: Readonly<Record<string, Where>> | undefined;
  /** Between 0 and 1; tests give their own. */
  readonly random?: () => number;
}

export interface Counts {
  changes: number;
  pulls: number;
  /** Times that a change was found missing, or a checksum wrong. */
  gaps: number;
  resets: number;
}

interface Flight {
  readonly number: number;
  /** When its first page was asked for. */
  readonly at: number;
}

export class Sync {
  readonly counts: Counts = { changes: 0, pulls: 0, gaps: 0, resets: 0 };
  /** Sequence of the tenant's last change, as far as it was told. */
  head = 0;
  /** What is being loaded anew. */
  private next: Rows | null = null;
  /** How far it has to reach before it replaces the rows there are. */
  private floor = 0;
  /** Whether the pull in flight is to be followed by another one. */
  private again = false;
  private flight: Flight | null = null;
  private flights = 0;
  private buffer: Change[] = [];
  private beacons: Beacon[] = [];
  private readonly received = new Set<number>();
  private online = false;
  private complete = false;
  /** When to pull although nothing happens; Infinity for never. */
  private due = Infinity;
  private doubt: Beacon | null = null;
  private heard = 0;
  private failures = 0;
  private mismatches = 0;
  private readonly wanted: ReadonlySet<string>;
  private readonly random: () => number;

  constructor(
    public rows: Rows,
    private readonly options: Options,
    private readonly effects: Effects,
  ) {
    this.wanted = new Set(options.types);
    this.random = options.random ?? Math.random;
  }

  /** Whether all that was known to have changed is applied. */
  get current(): boolean {
    return this.online && this.complete && this.doubt === null;
  }

  /** How far behind the last known change the copy may be. */
  get lag(): number {
    return Math.max(0, this.head - this.rows.seen);
  }

  /** A subscription stands: nothing is missed from now on, save what gets lost. */
  connected(now: number): void {
    this.online = true;
    this.heard = now;
    this.failures = 0;
    this.abandon();
    this.pull(now);
  }

  /** The subscription is gone. */
  disconnected(): void {
    this.online = false;
    this.complete = false;
    this.due = Infinity;
    this.doubt = null;
    this.beacons = [];
    this.abandon();
  }

  /** Something makes it likely that changes were missed: the page was hidden, a computer slept. */
  suspect(now: number): void {
    if (this.online && this.flight === null) this.pull(now);
  }

  /** The live feed brought a change. */
  live(change: Change, now: number): void {
    if (this.received.size < RECEIVED) this.received.add(change.seq);
    if (change.seq > this.head) this.head = change.seq;
    if (!this.wanted.has(change.type)) return;
    this.buffer.push(this.seen(change));
    if (this.flight === null || now - this.flight.at >= STALL) this.release();
  }

  beacon(beacon: Beacon, now: number): void {
    this.heard = now;
    if (beacon.epoch === this.rows.epoch && beacon.head > this.head) this.head = beacon.head;
    if (!this.online) return;
    if (this.flight !== null) {
      this.beacons.push(beacon);
      if (this.beacons.length > BEACONS) this.beacons.shift();
      return;
    }
    this.judge(beacon, now);
  }

  /** A page came. */
  reply(flight: number, reply: PullReply, now: number): void {
    if (this.flight?.number !== flight) return;
    this.failures = 0;
    if (reply.reset || this.target.epoch !== reply.epoch) {
      const first = !reply.reset && this.target.epoch === null;
      this.begin(reply.epoch);
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
      this.failed(flight, now); // a replica that lags: what we show must not go back in time
      return;
    }
    this.finish(target, reply, now);
  }

  /** A pull brought no page: nobody there, refused, or no answer in time. */
  failed(flight: number, now: number, after = 0): void {
    if (this.flight?.number !== flight) return;
    this.abandon();
    this.complete = false;
    const wait = Math.min(RETRY_MAX, RETRY * 2 ** this.failures++);
    this.due = now + Math.max(after, wait * (0.5 + this.random() / 2));
  }

  /** Time passes; to be called about every second while connected. */
  tick(now: number): void {
    if (!this.online) return;
    if (this.flight !== null) {
      if (now - this.flight.at >= STALL) this.release();
      return;
    }
    if (this.doubt !== null) this.recheck(this.doubt);
    const silent = now - this.heard > SILENCE;
    if (now < this.due && !silent) return;
    if (silent) this.heard = now;
    if (this.doubt !== null) this.counts.gaps++;
    this.pull(now);
  }

  /** What pages are applied to. */
  private get target(): Rows {
    return this.next ?? this.rows;
  }

  /** Catch up from the cursor. */
  private pull(now: number): void {
    this.due = Infinity;
    this.doubt = null;
    const { target } = this;
    // Rows without a cursor are of no known moment: what is deleted since would stay among them.
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

  /** Load everything, of one life of the stream, beside the rows there are. */
  private begin(epoch: string): void {
    // Which life the changes belong to that came meanwhile, nobody knows: leave them to a pull.
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
    const right = this.fits(target, reply);
    if (target !== this.rows) this.swap(target);
    this.complete = true;
    this.release();
    const waiting = this.beacons;
    this.beacons = [];
    if (right) {
      for (const beacon of waiting) if (this.flight === null) this.judge(beacon, now);
    } else this.mistrust(now);
    if (this.again && this.flight === null) {
      this.again = false;
      this.pull(now);
    }
  }

  /** Whether our objects are those that the server has; changes past the page make that impossible to tell. */
  private fits(target: Rows, { checksum, next }: PullReply): boolean {
    if (!checksum || target.seen > next) return true;
    if (!target.total(this.options.types).is(checksum.count, checksum.sum)) return false;
    this.mismatches = 0;
    return true;
  }

  /** The checksum did not fit: ask again; if it still does not, load everything; then less and less often. */
  private mistrust(now: number): void {
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

  private judge(beacon: Beacon, now: number): void {
    if (this.doubt !== null) this.recheck(this.doubt);
    if (this.settled(beacon) || this.failures > 0) return;
    // What it lists may be on its way; an earlier beacon that was lost is not. All clients of a tenant may have missed
    // the same, so they do not all ask in the same instant.
    const lost = beacon.epoch !== this.rows.epoch || beacon.from > this.rows.cursor;
    this.doubt = beacon;
    this.due = Math.min(this.due, now + (lost ? 0 : GRACE) + this.random() * SPREAD);
  }

  private recheck(doubt: Beacon): void {
    if (!this.settled(doubt)) return;
    this.doubt = null;
    this.due = Infinity;
  }

  /** Whether all that a beacon lists is here; then we know that we are complete up to its end. */
  private settled(beacon: Beacon): boolean {
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

  /** No longer wait for a pull. */
  private abandon(): void {
    this.flight = null;
    this.release();
  }

  /** Apply what waited for a pull. */
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

  /** A live change, which shows the whole object, as a page would have it. */
  private seen(change: Change): Change {
    const { type, id, seq, deleted, value } = change;
    const where = this.options.where?.[type];
    if (!deleted && where !== undefined && !meets(value, where)) return { type, id, seq, gone: true };
    return this.shaped(change);
  }

  private shaped(change: Change): Change {
    const fields = this.options.fields?.[change.type];
    if (fields === undefined || change.value === null || typeof change.value !== "object") return change;
    const whole = change.value as Record<string, unknown>;
    const value: Record<string, unknown> = {};
    for (const field of fields) if (field in whole) value[field] = whole[field];
    return { ...change, value };
  }
}
