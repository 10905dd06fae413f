/** The twin as the dashboard has it: what it said last, what it said in the last two minutes, and what it is told to do. */

/** Milliseconds that are kept, and shown. */
export const KEPT = 120_000;
/** Milliseconds without a word after which what is shown is old. The twin says something every 500. */
const SILENCE = 3_000;
/** Milliseconds before the twin is tried again, where the browser does not do so by itself. */
const AGAIN = 2_000;

export type Outcome = "sent" | "gone" | "throttled" | "failed";

export interface LaneState {
  waiting: number;
  in_flight: number;
  delayed: number;
  dead: number;
  /** Age of the oldest message that waits; null where none does. */
  oldest_s: number | null;
  workers: { up: number; busy: number; limit: number };
  crashes: number;
  failures: number;
  batches_per_s: number;
}

export interface Live {
  /** Milliseconds since 1970. */
  at: number;
  /** Null until they were counted. */
  rooms: number | null;
  /** The busiest. */
  room_list: { room: string; members: number | null; deliveries_per_s: number }[];
  connections: number;
  /** How many simulated ones were asked for. */
  clients: number;
  deliveries_per_s: number;
  posts_per_s: number;
  entries_per_frame: number | null;
  latency_ms: { p50: number | null; p99: number | null; count: number };
  /** A second. */
  posts: Record<Outcome, number>;
  lanes: Record<string, LaneState>;
  settings: Record<string, Record<string, number>>;
  account: { rate: number; burst: number; usual_rate: number };
  /** The newest last. */
  happenings: { at: number; kind: string; text: string }[];
}

/** One setting of a lane that may be changed while the twin runs. */
export interface Knob {
  name: string;
  min: number;
  max: number;
  step: number;
  unit: string;
  says: string;
  /** Where a slider is of use, if that is not all of it. */
  usual?: { low: number; high: number } | null;
}

/** What was said at a time; undefined where nothing was, so that no line is drawn over it. */
export interface Moment {
  at: number;
  live: Live | undefined;
}

/** What the twin does not do, in its own words. */
export class Refused extends Error {}

export class Twin {
  /** Undefined until the twin has said something. */
  live: Live | undefined;
  moments: Moment[] = [];
  /** Lane → what may be turned there. */
  knobs: Record<string, Knob[]> = {};
  state: "connecting" | "live" | "lost" = "connecting";
  #silence: number | undefined;
  #changed: () => void;

  /** `changed` is called whenever anything here has changed. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** Hear what the twin says, for as long as the page is open. */
  watch(): void {
    const source = new EventSource("dashboard/live");
    source.onopen = () => void this.#learn();
    source.onmessage = ({ data }) => this.#take(JSON.parse(data as string) as Live);
    source.onerror = () => {
      this.#lose();
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.watch(), AGAIN);
    };
    this.#changed();
  }

  /** Turn knobs of a lane. Rejects with `Refused`. */
  async turn(lane: string, settings: Record<string, number>): Promise<void> {
    const answer = await this.order<{ lane: Record<string, number> }>(`lanes/${lane}`, settings);
    if (this.live) this.live.settings[lane] = answer.lane;
    this.#changed();
  }

  /** Have the twin do something; what it answers. Rejects with `Refused`. */
  async order<Answer>(path: string, body: object): Promise<Answer> {
    const headers = { "Content-Type": "application/json" };
    const request = { method: "POST", headers, body: JSON.stringify(body) };
    const answer = await fetch(`dashboard/${path}`, request).catch(() => undefined);
    if (!answer) throw new Refused("The twin can't be reached.");
    const said = (await answer.json().catch(() => ({}))) as Answer & { message?: string };
    if (!answer.ok) throw new Refused(said.message ?? `The twin has answered ${answer.status}.`);
    return said;
  }

  /** What there is to be turned: asked again of each twin, as the one that comes back may be another. */
  async #learn(): Promise<void> {
    const answer = await fetch("dashboard/knobs").catch(() => undefined);
    if (!answer?.ok) return;
    this.knobs = ((await answer.json()) as { lanes: Record<string, Knob[]> }).lanes;
    this.#changed();
  }

  #take(live: Live): void {
    this.live = live;
    this.state = "live";
    this.moments.push({ at: live.at, live });
    this.moments = this.moments.filter((it) => it.at > live.at - KEPT && it.at <= live.at);
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lose(), SILENCE);
    this.#changed();
  }

  #lose(): void {
    if (this.state === "lost") return;
    this.state = "lost";
    const last = this.moments.at(-1);
    if (last) this.moments.push({ at: last.at + 1, live: undefined });
    this.#changed();
  }
}
