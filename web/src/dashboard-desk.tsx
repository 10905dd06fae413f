/** All that the dashboard shows. */
import { Chart, type Line } from "./dashboard-charts.js";
import { figure, time } from "./dashboard-figures.js";
import { Knobs } from "./dashboard-knobs.js";
import { Lanes } from "./dashboard-lanes.js";
import { Trouble } from "./dashboard-trouble.js";
import type { Live, Twin } from "./dashboard-twin.js";

const DELIVERIES: Line[] = [
  { name: "deliveries", mark: "deliveries", of: (it) => it.deliveries_per_s },
  { name: "posts", mark: "posts", of: (it) => it.posts_per_s, dashed: true },
];
const LATENCY: Line[] = [
  { name: "p50", mark: "p50", of: (it) => it.latency_ms.p50 },
  { name: "p99", mark: "p99", of: (it) => it.latency_ms.p99, dashed: true },
];
const POSTS: Line[] = (["sent", "gone", "throttled", "failed"] as const).map((outcome) => ({
  name: outcome,
  mark: outcome,
  of: (it: Live) => it.posts[outcome],
}));
const ENTRIES: Line[] = [{ name: "entries", mark: "entries", of: (it) => it.entries_per_frame }];

const STATES: Record<Twin["state"], string> = {
  connecting: "Connecting …",
  live: "Live",
  lost: "The twin is not heard: these figures are old. Trying again …",
};

export function Desk({ twin }: { twin: Twin }) {
  const { live, moments, state } = twin;
  return (
    <>
      <header>
        <h1>roomcast dashboard</h1>
        <p role="status" class={state === "lost" ? "bad" : "good"}>
          {STATES[state]}
        </p>
        <a href="./">To the chat</a>
      </header>
      {live && (
        <div class="desk">
          <main>
            <Throttled live={live} />
            <section aria-labelledby="now">
              <h2 id="now">Now</h2>
              <dl class="counts">
                <Count name="rooms" value={live.rooms} />
                <Count name="connections" value={live.connections} />
                <Count name="simulated clients" value={live.clients} />
              </dl>
              <div class="charts">
                <Chart title="Deliveries" unit=" /s" moments={moments} lines={DELIVERIES} />
                <Chart title="From stored to socket" unit=" ms" moments={moments} lines={LATENCY} logarithmic />
                <Chart title="Posts by outcome" unit=" /s" moments={moments} lines={POSTS} stacked />
                <Chart title="Entries per frame" unit="" moments={moments} lines={ENTRIES} />
              </div>
            </section>
            <Lanes twin={twin} />
            <div class="beside">
              <Happenings live={live} />
              <Rooms live={live} />
            </div>
          </main>
          <aside aria-label="What can be done">
            <Trouble twin={twin} />
            <Knobs twin={twin} />
          </aside>
        </div>
      )}
    </>
  );
}

function Throttled({ live }: { live: Live }) {
  const { rate, usual_rate } = live.account;
  if (rate >= usual_rate) return null;
  return (
    <p class="banner">
      {`The gateway is throttled: ${figure(rate)} requests a second instead of ${figure(usual_rate)}. Beyond that it answers 429.`}
    </p>
  );
}

function Count({ name, value }: { name: string; value: number | null }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value === null ? "unknown" : figure(value)}</dd>
    </div>
  );
}

/** The newest first. Read out one by one as they come, when nothing else is. */
function Happenings({ live }: { live: Live }) {
  const newest = live.happenings.toReversed();
  return (
    <section aria-labelledby="happenings">
      <h2 id="happenings">Happenings</h2>
      <div class="happenings" role="log" aria-labelledby="happenings" tabIndex={0}>
        <ol>
          {newest.map(({ at, kind, text }) => (
            <li key={`${at} ${text}`} class={kind}>
              <time dateTime={new Date(at).toISOString()}>{time(at)}</time> {text}
            </li>
          ))}
        </ol>
      </div>
    </section>
  );
}

function Rooms({ live }: { live: Live }) {
  return (
    <section aria-labelledby="rooms">
      <h2 id="rooms">Busiest rooms</h2>
      <table class="rooms" aria-labelledby="rooms">
        <thead>
          <tr>
            <th scope="col">room</th>
            <th scope="col">members</th>
            <th scope="col">deliveries /s</th>
          </tr>
        </thead>
        <tbody>
          {live.room_list.map(({ room, members, deliveries_per_s }) => (
            <tr key={room}>
              <th scope="row">{room}</th>
              <td>{members === null ? "unknown" : figure(members)}</td>
              <td>{figure(deliveries_per_s)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
