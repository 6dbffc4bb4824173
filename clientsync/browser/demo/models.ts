/** The objects that the reference services write, with the fields that the page shows (services/…/models.py). */

export interface Call {
  readonly call: string;
  readonly caller: string;
  readonly skill: string;
  readonly state: "queued" | "active" | "ended" | "missed";
  readonly queued_at: number;
  readonly agent?: string | null;
  readonly started_at?: number | null;
  readonly over_at?: number | null;
  readonly reason?: string | null;
}

export interface Fax {
  readonly fax: string;
  readonly to: string;
  readonly state: "queued" | "rendering" | "dialing" | "sending" | "sent" | "failed";
  readonly page: number;
  readonly pages: number;
  readonly dials: number;
  readonly reason?: string | null;
  readonly at: number;
}

export interface Voicemail {
  readonly message: string;
  readonly mailbox: string;
  readonly caller: string;
  readonly at: number;
  readonly seconds: number;
  readonly size: number;
  readonly peaks: readonly number[];
}

export interface Mailbox {
  readonly mailbox: string;
  readonly unheard: number;
  readonly entries: readonly { readonly message: string; readonly heard: boolean }[];
}

export interface Agent {
  readonly agent: string;
  readonly presence: "available" | "away" | "offline";
  readonly present_until: number;
  readonly call?: string | null;
}

export const TYPES = ["agent", "call", "fax", "mailbox", "voicemail"] as const;
