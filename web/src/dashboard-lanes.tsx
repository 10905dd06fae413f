/** The lanes of the broadcast: what waits in each, who works on it, and what has gone wrong. */
import { useMemo } from "preact/hooks";
import { Plot } from "./dashboard-charts.js";
import { figure } from "./dashboard-figures.js";
import { Said, useOrder } from "./dashboard-trouble.js";
import type { LaneState, Moment, Twin } from "./dashboard-twin.js";

interface Column {
  name: string;
  /** `crashed`: how many workers did so just now. */
  text: (lane: LaneState, crashed: number) => string;
  bad?: (lane: LaneState, crashed: number) => boolean;
}

/** What has waited in the last two minutes; what waits is a figure beside it. */
const DEPTH = "2 min";
const COLUMNS: Column[] = [
  { name: "waiting", text: (it) => figure(it.waiting) },
  { name: "oldest", text: (it) => figure(it.oldest_s, " s") },
  { name: "in flight", text: (it) => figure(it.in_flight) },
  { name: "delayed", text: (it) => figure(it.delayed) },
  { name: "batches /s", text: (it) => figure(it.batches_per_s) },
  { name: "workers", text: ({ workers: { up, busy, limit } }) => `${up} of ${limit}, ${busy} busy` },
  {
    name: "crashes",
    text: (it, crashed) => figure(it.crashes) + (crashed > 0 ? ` (${crashed} just now)` : ""),
    bad: (_, crashed) => crashed > 0,
  },
  { name: "failures", text: (it) => figure(it.failures) },
  { name: "dead", text: (it) => figure(it.dead), bad: (it) => it.dead > 0 },
];
/** Milliseconds for which a crash is pointed out. */
const RECENT = 10_000;

/** The roles are those of a table anyway; they hold as well where a phone shows each row as a block. */
export function Lanes({ twin }: { twin: Twin }) {
  const [outcome, run] = useOrder();
  const kill = (lane: string) =>
    run(async () => {
      const { pid } = await twin.order<{ pid: number }>("kill", { lane });
      return `Worker ${pid} of ${lane} was killed.`;
    });
  return (
    <section aria-labelledby="lanes">
      <h2 id="lanes">Lanes</h2>
      <table role="table" class="lanes" aria-labelledby="lanes">
        <thead role="rowgroup">
          <tr role="row">
            {["lane", DEPTH, ...COLUMNS.map(({ name }) => name), "kill"].map((name) => (
              <th role="columnheader" scope="col" key={name}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {Object.keys(twin.live!.lanes).map((name) => (
            <Row key={name} twin={twin} name={name} kill={() => kill(name)} />
          ))}
        </tbody>
      </table>
      <Said outcome={outcome} />
    </section>
  );
}

function Row({ twin, name, kill }: { twin: Twin; name: string; kill: () => void }) {
  const lines = useMemo(() => [{ name: "waiting", mark: "waiting", of: depth(name) }], [name]);
  const lane = twin.live!.lanes[name]!;
  const crashed = lane.crashes - crashesBefore(twin.moments, name);
  return (
    <tr role="row" class={crashed > 0 ? "hurt" : undefined}>
      <th role="rowheader" scope="row">
        {name}
      </th>
      <td role="cell" data-name={DEPTH} class="depth">
        <Plot moments={twin.moments} lines={lines} small />
      </td>
      {COLUMNS.map(({ name, text, bad }) => (
        <td role="cell" key={name} data-name={name} class={bad?.(lane, crashed) ? "bad" : undefined}>
          {text(lane, crashed)}
        </td>
      ))}
      <td role="cell">
        <button aria-label={`Kill a worker of ${name}`} onClick={kill}>
          Kill
        </button>
      </td>
    </tr>
  );
}

const depth = (lane: string) => (live: { lanes: Record<string, LaneState> }) => live.lanes[lane]?.waiting ?? null;

/** How many workers of the lane had crashed a little while ago. */
function crashesBefore(moments: Moment[], lane: string): number {
  const now = moments.at(-1)?.at ?? 0;
  const before = moments.find((it) => it.live && it.at >= now - RECENT);
  return before?.live?.lanes[lane]?.crashes ?? 0;
}
