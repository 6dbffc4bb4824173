/** Waiting: pauses that can be aborted, time limits, and exponential back-off. All of it on the monotonic clock. */
import { HeadwayError } from "./errors.js";

/** The longest delay that setTimeout can hold, in milliseconds. */
const LONGEST = 2 ** 31 - 1;

/** Milliseconds on a clock that never steps, whatever happens to the machine's wall clock. */
export const monotonic = (): number => performance.now();

/** Resolve after some milliseconds, or at once when aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted || ms <= 0) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, LONGEST));
    signal.addEventListener("abort", done);
  });
}

/**
 * Wait for a promise, but no longer than a time limit.
 *
 * @param ended rejects the wait early, with the error that it resolves to
 */
export async function within<T>(promise: Promise<T>, timeout: number, ended?: Promise<unknown>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new HeadwayError("timeout", "no answer in time", true, "", 504)), timeout);
    void ended?.then((error) => reject(error instanceof Error ? error : new HeadwayError("offline", "the connection was lost", true)));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Exponential back-off with jitter: each wait is between half of the current step and all of it. */
export class Backoff {
  private failures = 0;

  /**
   * @param first milliseconds of the first step; each further step is twice as long
   * @param most milliseconds of the longest step
   */
  constructor(
    private readonly first: number,
    private readonly most: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** Return the milliseconds to wait now, and make the next wait longer. */
  next(): number {
    return Math.min(this.most, this.first * 2 ** this.failures++) * (0.5 + this.random() / 2);
  }

  reset(): void {
    this.failures = 0;
  }
}
