/** Every error of this package says what happened, and what to do about it. */

/** The kinds of errors. The server's own codes (`rejected`, `invalid_input`, `forbidden`, ...) are passed on as they are. */
export type ErrorCode =
  | "offline" // no connection, and the operation may not wait
  | "closed" // the store was closed
  | "timeout" // no answer in time
  | "not_served" // nobody serves it
  | "session" // the session endpoint refused or failed
  | "cancelled" // taken out of the outbox
  | "conflict" // somebody else changed the object first, and their change was kept
  | "expired" // could not be done in time: parked in the outbox
  | "inexact" // an integer that a number cannot hold exactly
  | "usage" // called wrongly
  | (string & {});

export class HeadwayError extends Error {
  override readonly name = "HeadwayError";

  /**
   * @param code the kind, for programs
   * @param message what happened
   * @param retryable whether the same may succeed later
   * @param remedy what to do about it
   * @param status the answer's status; 0 if there was no answer
   */
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly retryable = false,
    readonly remedy = "",
    readonly status = 0,
  ) {
    super(remedy ? `${message} (${remedy})` : message);
  }
}

export const asError = (thrown: unknown): HeadwayError =>
  thrown instanceof HeadwayError
    ? thrown
    : new HeadwayError("unknown", thrown instanceof Error ? thrown.message : String(thrown), true);
