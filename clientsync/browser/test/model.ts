/** A model of the server: a stream with the last value of each object, a responder, beacons. No time, no network. */
import type { Beacon, Change, PullReply, PullRequest } from "../src/types.js";
import { meets } from "../src/core/fields.js";
import { Sum } from "../src/core/sums.js";

export interface StreamEvent extends Change {
  readonly tenant: number;
}

export const MINE = 0;

export class Stream {
  epoch = "e1";
  events: StreamEvent[] = [];
  horizon = 0;
  private streams = 1;
  private beaconed = 0;

  get head(): number {
    return this.events.length;
  }

  write(tenant: number, type: string, id: string, value: unknown): StreamEvent {
    const seq = this.events.length + 1;
    const event: StreamEvent = value === undefined ? { tenant, type, id, seq, deleted: true } : { tenant, type, id, seq, value };
    this.events.push(event);
    return event;
  }

  /** Delete the stream and make a new one. */
  recreate(): void {
    this.epoch = `e${++this.streams}`;
    this.events = [];
    this.horizon = 0;
    this.beaconed = 0;
  }

  /** Drop tombstones up to a sequence. */
  purge(upto: number): void {
    this.horizon = Math.max(this.horizon, Math.min(upto, this.head));
  }

  /** The last change of each of our objects, tombstones above the horizon among them, as of a sequence. */
  last(upto = this.head, horizon = this.horizon): StreamEvent[] {
    const last = new Map<string, StreamEvent>();
    for (const event of this.events) {
      if (event.tenant === MINE && event.seq <= upto) last.set(`${event.type}.${event.id}`, event);
    }
    return [...last.values()].filter((e) => !e.deleted || e.seq > horizon).sort((a, b) => a.seq - b.seq);
  }

  /** Answer a pull from a replica that has everything up to `upto`. */
  answer(request: PullRequest, upto = this.head, page = 3): PullReply {
    const { epoch, horizon } = this;
    const known = request.base ?? request.since;
    const none = { epoch, horizon, head: upto, changes: [], next: request.since, more: false, base: null, checksum: null };
    if ((request.since > 0 && request.epoch !== epoch) || (known > 0 && known < horizon)) return { ...none, reset: true };
    const all = this.last(upto).filter((e) => request.types.includes(e.type));
    const fits = (e: StreamEvent): boolean => !e.deleted && meets(e.value, request.where?.[e.type] ?? {});
    const newer = all.filter((e) => e.seq > request.since && (request.since > 0 || fits(e)));
    const changes = newer.slice(0, page).map(({ tenant: _, ...change }): Change =>
      change.deleted || fits(change as StreamEvent) ? change : { type: change.type, id: change.id, seq: change.seq, gone: true });
    const more = newer.length > page;
    const next = more ? changes.at(-1)!.seq : Math.max(upto, request.since);
    const sum = new Sum();
    for (const e of all) if (fits(e)) sum.add(e.type, e.id, e.seq);
    return {
      ...none, reset: false, changes, next, more, base: request.since === 0 ? upto : null,
      checksum: request.checksum && !more ? { count: sum.count, sum: sum.hex } : null,
    };
  }

  /** The next beacon: which of our changes since the last one are still there. */
  beacon(): Beacon {
    const from = this.beaconed;
    const upto = (this.beaconed = this.head);
    let before = from;
    const changes = [];
    for (const event of this.last(upto)) {
      if (event.seq <= from) continue;
      changes.push(event.seq - before);
      before = event.seq;
    }
    return { epoch: this.epoch, from, upto, head: this.last(upto).at(-1)?.seq ?? 0, changes };
  }
}
