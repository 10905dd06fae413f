/** The knobs of each lane: a slider, and a field for what no finger can hit. Both take effect at once. */
import type { TargetedEvent } from "preact";
import { useRef, useState } from "preact/hooks";
import { words } from "./dashboard-figures.js";
import type { Knob, Twin } from "./dashboard-twin.js";

/** Milliseconds without a further turn after which one is sent: keys turn by single steps. */
const PAUSE = 200;

export function Knobs({ twin }: { twin: Twin }) {
  return (
    <section aria-labelledby="knobs">
      <h2 id="knobs">Knobs</h2>
      <p class="faint">What is turned here takes effect with the next batch, and is as before when the twin starts again.</p>
      {Object.entries(twin.knobs).map(([lane, knobs], n) => (
        <details name="lane" key={lane} open={n === 0}>
          <summary>{lane}</summary>
          <div class="knobs">
            {knobs.map((knob) => (
              <Turned key={knob.name} twin={twin} lane={lane} knob={knob} />
            ))}
          </div>
        </details>
      ))}
    </section>
  );
}

function Turned({ twin, lane, knob }: { twin: Twin; lane: string; knob: Knob }) {
  const { name, min, max, step, unit, says, usual } = knob;
  const setting = twin.live!.settings[lane]?.[name] ?? min;
  /** What one has turned to, or is typing, until the twin has answered. */
  const [draft, setDraft] = useState<string>();
  const [trouble, setTrouble] = useState("");
  const timer = useRef<number | undefined>(undefined);
  /** Counts what was turned: an answer says nothing of a later turn. */
  const turns = useRef(0);
  const turn = (text: string) => {
    turns.current += 1;
    clearTimeout(timer.current);
    timer.current = undefined;
    setDraft(text);
  };
  const send = async (value: number, turned: number) => {
    try {
      await twin.turn(lane, { [name]: value });
      setTrouble("");
    } catch (error) {
      setTrouble((error as Error).message);
    }
    if (turned === turns.current) leave();
  };
  const leave = () => {
    timer.current = undefined;
    setDraft(undefined);
  };
  const turned = ({ currentTarget: { value } }: TargetedEvent<HTMLInputElement>) => {
    turn(value);
    if (value === "") return leave();
    const { current } = turns;
    timer.current = setTimeout(() => send(Number(value), current), PAUSE);
  };
  const value = draft ?? String(setting);
  const id = `${lane}-${name}`;
  const common = {
    value,
    step,
    "aria-describedby": `${id}-says`,
    onInput: (event: TargetedEvent<HTMLInputElement>) => turn(event.currentTarget.value),
    onChange: turned,
  };
  return (
    <div class="knob">
      <label for={id}>{words(name)}</label>
      <input
        {...common}
        id={id}
        type="range"
        min={Math.min(usual?.low ?? min, setting)}
        max={Math.max(usual?.high ?? max, setting)}
        aria-valuetext={`${value} ${unit}`}
      />
      <span class="typed">
        <input
          {...common}
          type="number"
          min={min}
          max={max}
          aria-label={`${words(name)} as a number`}
          onBlur={() => timer.current === undefined && setDraft(undefined)}
        />
        {` ${unit}`}
      </span>
      <p class="faint" id={`${id}-says`}>
        {says}
      </p>
      <p role="alert">{trouble}</p>
    </div>
  );
}
