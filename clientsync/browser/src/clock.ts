/**
 * The server's clock, as far as it is known here. The machine's own clock may be wrong by minutes or step at any time, so
 * ages and deadlines are worked out from what the server says and from the monotonic clock.
 */
import { monotonic } from "./timers.js";

/** Milliseconds by which the estimate may lag behind the server before it is corrected. */
const TOLERANCE = 500;

export class ServerClock {
  /** Server time minus monotonic time, in milliseconds; null before the first answer. */
  private offset: number | null = null;

  /** Return the server's time in Unix milliseconds; the machine's own before the server has said anything. */
  now(): number {
    return this.offset === null ? Date.now() : monotonic() + this.offset;
  }

  /** Take the time from an answer. `asked` is when it was asked for, on the monotonic clock. */
  set(time: number, asked: number): void {
    if (Number.isFinite(time)) this.offset = time - (asked + monotonic()) / 2;
  }

  /** Correct the estimate if the server is further than it says: the monotonic clock stands still while a machine sleeps. */
  atLeast(time: number): void {
    if (this.offset !== null && Number.isFinite(time) && time > this.now() + TOLERANCE) this.offset = time - monotonic();
  }
}
