/** Whose objects are stored here. Another user's must never be shown. */
import type { Session } from "./session.js";

/** Who a session belongs to. */
export type Identity = Pick<Session, "tenant" | "user">;

export class Ownership {
  /** @param owner tenant and user of what is stored; null before the first session */
  constructor(public owner: string | null = null) {}

  /** Make somebody the owner. Returns whether nobody was, they were already, or somebody else was. */
  claim({ tenant, user }: Identity): "first" | "same" | "other" {
    const before = this.owner;
    this.owner = `${tenant}/${user}`;
    return before === null ? "first" : before === this.owner ? "same" : "other";
  }
}
