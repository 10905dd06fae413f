/** Charts of the last two minutes. Each is a picture beside its figures: the figures are text, with the same colours. */
import { useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { figure } from "./dashboard-figures.js";
import { KEPT, type Live, type Moment } from "./dashboard-twin.js";

/** Pixels. */
const HEIGHT = 96;
const SMALL = 40;
const AXIS = 52;

/** What is drawn, and named beside it. */
export interface Line {
  name: string;
  /** The class of its mark, whose colour is the line's. */
  mark: string;
  of: (live: Live) => number | null;
  dashed?: boolean;
}

interface Drawn {
  moments: Moment[];
  lines: Line[];
  /** One upon the other, the first at the bottom. */
  stacked?: boolean;
  /** By powers of ten, from 1. */
  logarithmic?: boolean;
  /** Without axes. */
  small?: boolean;
}

export function Chart({ title, unit, ...drawn }: Drawn & { title: string; unit: string }) {
  const now = drawn.moments.at(-1)?.live;
  return (
    <figure class="chart">
      <figcaption>
        <h3>{title}</h3>
        <dl>
          {drawn.lines.map(({ name, mark, of }) => (
            <div key={name}>
              <dt>
                <span class={`mark ${mark}`} />
                {name}
              </dt>
              <dd>{now ? figure(of(now), unit) : "unknown"}</dd>
            </div>
          ))}
        </dl>
      </figcaption>
      <Plot {...drawn} />
    </figure>
  );
}

/** The picture alone, for who sees it. */
export function Plot(drawn: Drawn) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  useLayoutEffect(() => {
    const box = place.current!;
    const height = drawn.small ? SMALL : HEIGHT;
    const it = new uPlot(options(drawn, box, height), [[]], box);
    plot.current = it;
    const sized = new ResizeObserver(() => it.setSize({ width: box.clientWidth, height }));
    sized.observe(box);
    return () => {
      sized.disconnect();
      it.destroy();
    };
  }, []);
  useLayoutEffect(() => plot.current!.setData(columns(drawn)));
  return (
    <div class="plot" aria-hidden="true" ref={place}>
      {drawn.lines.map(({ name, mark }) => (
        <span key={name} class={`mark ${mark}`} hidden />
      ))}
    </div>
  );
}

/** Seconds before now, and a column for each line, as they are drawn: of a stack the highest first, behind the others. */
function columns({ moments, lines, stacked, logarithmic }: Drawn): uPlot.AlignedData {
  const now = moments.at(-1)?.at ?? 0;
  const drawn: (number | null)[][] = lines.map(() => []);
  for (const { live } of moments) {
    let below = 0;
    for (const [n, { of }] of lines.entries()) {
      const value = live ? of(live) : null;
      below += value ?? 0;
      drawn[n]!.push(value === null ? null : stacked ? below : logarithmic ? Math.max(1, value) : value);
    }
  }
  return [moments.map((it) => (it.at - now) / 1000), ...(stacked ? drawn.reverse() : drawn)];
}

function options({ lines, stacked, logarithmic, small }: Drawn, box: HTMLElement, height: number): uPlot.Options {
  // Asked for at each drawing, so that they follow the theme; of elements, since canvas reads no custom properties.
  const colour = (mark: string) => () => getComputedStyle(mark ? box.querySelector(`.${mark}`)! : box).color;
  const grid = () => getComputedStyle(box).borderColor;
  const axis = { stroke: colour(""), grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const behind = stacked ? lines.toReversed() : lines;
  return {
    width: box.clientWidth,
    height,
    cursor: { show: false },
    legend: { show: false },
    padding: small ? [2, 0, 2, 0] : [6, 14, 0, 0],
    scales: {
      x: { time: false, range: [-KEPT / 1000, 0] },
      y: logarithmic
        ? { distr: 3, range: (_, __, max) => [1, Math.max(100, 10 ** Math.ceil(Math.log10(max || 1)))] }
        : { range: (_, __, max) => [0, Math.max(1, (max || 0) * 1.05)] },
    },
    axes: [
      {
        ...axis,
        show: !small,
        size: 18,
        gap: 2,
        splits: [-120, -60, 0],
        values: () => ["2 min ago", "1 min", "now"],
      },
      {
        ...axis,
        show: !small,
        size: AXIS,
        gap: 4,
        space: 28,
        values: (_, splits) => splits.map((it) => figure(it)),
        ...(logarithmic ? { splits: powers, filter: (_: uPlot, splits: number[]) => splits } : {}),
      },
    ],
    series: [
      {},
      ...behind.map(({ mark, dashed }) => ({
        stroke: colour(mark),
        width: 1.5,
        points: { show: false },
        ...(dashed ? { dash: [4, 3] } : {}),
        ...(stacked ? { fill: colour(mark) } : {}),
      })),
    ],
  };
}

/** 1, 10, 100 and so on: a line for each, and none between. */
function powers(_: uPlot, __: number, min: number, max: number): number[] {
  return Array.from({ length: Math.round(Math.log10(max / min)) + 1 }, (_, n) => min * 10 ** n);
}
