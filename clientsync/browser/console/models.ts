/** The rows that the console's projector writes. headway/console/rows.py says what each field means. */

export const TYPES = ["service", "trend", "scaling", "rollout", "worker", "dead", "installation", "pulse", "action"] as const;

export type State = "ok" | "busy" | "rollout" | "unwell" | "down" | "stopped";

/** The load of a version, or of a whole service. */
interface Load {
  readonly workers: number;
  readonly unhealthy: number;
  readonly desired: number | null;
  readonly waiting: number | null;
  readonly in_hand: number;
  readonly oldest_s: number;
  readonly rate: number;
  readonly failed: number;
  readonly p95_ms: number | null;
  readonly rss_mb: number;
}

export interface Version extends Load {
  readonly version: string;
  readonly weight: number | null;
  readonly phase: string;
  readonly image: string;
  readonly health: string;
  readonly deaths: number;
  readonly last_exit: string;
  readonly stderr: readonly string[];
  readonly retry_at: number | null;
}

export interface Service extends Load {
  readonly name: string;
  readonly state: State;
  readonly note: string;
  readonly low: number;
  readonly high: number;
  readonly dead: number;
  readonly versions: readonly Version[];
}

/** Values of the last minutes; null where nothing was measured. */
export type Series = readonly (number | null)[];

export interface Trend {
  /** Seconds between two points. */
  readonly step: number;
  readonly rate: Series;
  readonly failed: Series;
  readonly p95_ms: Series;
  readonly waiting: Series;
}

export interface Worker {
  readonly service: string;
  readonly version: string;
  readonly host: string;
  readonly pid: number;
  readonly started: number;
  readonly state: string;
  readonly note: string;
  readonly cpu: number;
  readonly rss_mb: number;
  readonly jobs: number;
  readonly slots: number;
  readonly calls: number;
  readonly limit: number;
  readonly oldest_s: number;
}

export interface Decision {
  readonly version: string;
  readonly at: number;
  readonly before: number;
  readonly desired: number;
  readonly reason: string;
}

export interface Scaling {
  readonly decisions: readonly Decision[];
}

export interface P95 {
  readonly kind: string;
  readonly at: number;
  readonly low: number | null;
  readonly high: number | null;
}

export interface Measured {
  readonly version: string;
  readonly tries: number;
  readonly errors: number;
  readonly dead: number;
  readonly shed: number;
  readonly p95: readonly P95[];
}

/** How far the evidence had come at a moment: `against` and `shown` are 0 to 1, where the release stops or passes. */
export interface Evidence {
  readonly at: number;
  readonly against: number;
  readonly shown: number;
}

export interface Transition {
  readonly at: number;
  readonly before: string;
  readonly after: string;
  readonly reason: string;
  readonly weight: number;
  readonly measured: readonly Measured[];
}

export interface Rollout {
  readonly service: string;
  readonly number: number;
  readonly version: string;
  readonly before: string | null;
  readonly steps: readonly number[];
  readonly bake: number;
  readonly manual: boolean;
  readonly urgent: boolean;
  readonly phase: string;
  readonly step: number;
  readonly began: number;
  readonly since: number;
  readonly paused: boolean;
  readonly abort: string | null;
  readonly note: string;
  readonly criteria: { readonly requests: number; readonly errors: number; readonly latency: number; readonly margin?: { readonly odds: number; readonly points: number; readonly latency: number } };
  readonly verdict: { readonly outcome: string; readonly reasons: readonly string[]; readonly measured: readonly Measured[]; readonly evidence?: readonly Evidence[] } | null;
  readonly took_over: number;
  readonly asked: readonly { readonly at: number; readonly what: string; readonly by: string }[];
  readonly history: readonly Transition[];
  readonly past: readonly { readonly number: number; readonly version: string; readonly before: string | null; readonly outcome: string; readonly began: number; readonly ended: number; readonly reason: string }[];
}

/** Return whether a rollout has ended. */
export const hasEnded = ({ phase }: Rollout): boolean => ["done", "rolled-back", "refused"].includes(phase);

export interface DeadLetter {
  readonly seq: number;
  readonly service: string;
  readonly tenant: string;
  readonly operation: string;
  readonly cause: string;
  readonly reason: string;
  readonly attempts: number;
  readonly traceback: string;
  readonly at: number;
  readonly preview: string;
  readonly size: number | null;
}

export interface Installation {
  readonly url: string;
  readonly headway: string;
  readonly servers: readonly { readonly name: string; readonly version: string; readonly leader: boolean; readonly stored_mb: number; readonly room_mb: number }[];
  readonly leases: readonly { readonly controller: string; readonly holder: string; readonly epoch: number }[];
  readonly dead: number;
  readonly blind: Readonly<Record<string, string>>;
}

export interface OperatorAction {
  readonly at: number;
  readonly by: string;
  readonly do: string;
  readonly said: string;
  readonly ok: boolean;
}

/** The actions that an operator may run; see headway/console/actions.py. */
export type Action =
  | { readonly do: "replay" | "discard"; readonly seqs: readonly number[] }
  | { readonly do: "promote" | "pause" | "resume" | "abort" | "rollback"; readonly service: string };
