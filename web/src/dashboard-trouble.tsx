/** What one may break, to see what the service makes of it. */
import { useState } from "preact/hooks";
import { figure } from "./dashboard-figures.js";
import type { Twin } from "./dashboard-twin.js";

/** What came of an order, in words. */
interface Outcome {
  text: string;
  refused: boolean;
}

/** What the last order came to, and how to give one: `give` answers with what is said when it is done. */
export function useOrder(): [Outcome | undefined, (give: () => Promise<string>) => Promise<void>] {
  const [outcome, setOutcome] = useState<Outcome>();
  const run = async (give: () => Promise<string>) => {
    try {
      setOutcome({ text: await give(), refused: false });
    } catch (error) {
      setOutcome({ text: (error as Error).message, refused: true });
    }
  };
  return [outcome, run];
}

export function Said({ outcome }: { outcome: Outcome | undefined }) {
  return (
    <p role="status" class={outcome?.refused ? "bad" : "faint"}>
      {outcome?.text}
    </p>
  );
}

export function Trouble({ twin }: { twin: Twin }) {
  return (
    <section aria-labelledby="trouble">
      <h2 id="trouble">Make trouble</h2>
      <Drop twin={twin} />
      <Throttle twin={twin} />
      <Clients twin={twin} />
    </section>
  );
}

function Drop({ twin }: { twin: Twin }) {
  const [count, setCount] = useState(100);
  const [outcome, run] = useOrder();
  const drop = () =>
    run(async () => {
      const { dropped } = await twin.order<{ dropped: number }>("drop", { count });
      return `${figure(dropped)} connections were cut.`;
    });
  return (
    <div class="order">
      <Amount label="Connections to cut" value={count} set={setCount} min={1} />
      <button onClick={drop}>{`Drop ${figure(count)} clients`}</button>
      <Said outcome={outcome} />
    </div>
  );
}

function Throttle({ twin }: { twin: Twin }) {
  const [rate, setRate] = useState(50);
  const [outcome, run] = useOrder();
  const throttle = (wanted: { rate: number | null; burst?: number }) =>
    run(async () => {
      const account = await twin.order<{ rate: number; burst: number }>("throttle", wanted);
      return `The account grants ${figure(account.rate)} requests a second.`;
    });
  return (
    <div class="order">
      <Amount label="Requests a second" value={rate} set={setRate} min={1} />
      <button onClick={() => throttle({ rate, burst: rate })}>Throttle the gateway</button>
      <button onClick={() => throttle({ rate: null })}>Lift the throttle</button>
      <Said outcome={outcome} />
    </div>
  );
}

function Clients({ twin }: { twin: Twin }) {
  const [count, setCount] = useState(1_000);
  const [outcome, run] = useOrder();
  const ask = (wanted: number) =>
    run(async () => {
      const { count } = await twin.order<{ count: number }>("clients", { count: wanted });
      return count ? `${figure(count)} simulated clients chat, or are about to.` : "They were sent away.";
    });
  return (
    <div class="order">
      <Amount label="Simulated clients" value={count} set={setCount} min={1} />
      <button onClick={() => ask(count)}>{`Add ${figure(count)} simulated clients`}</button>
      <button onClick={() => ask(0)}>Send them away</button>
      <Said outcome={outcome} />
    </div>
  );
}

/** A whole number. What is none, or too little, is not taken. */
function Amount({ label, value, set, min }: { label: string; value: number; set: (value: number) => void; min: number }) {
  /** What is being typed: the page is drawn anew twice a second meanwhile. */
  const [draft, setDraft] = useState<string>();
  return (
    <label>
      {label}
      <input
        type="number"
        min={min}
        value={draft ?? String(value)}
        onInput={({ currentTarget: it }) => setDraft(it.value)}
        onChange={({ currentTarget: it }) => {
          if (it.value !== "" && it.validity.valid) set(it.valueAsNumber);
          setDraft(undefined);
        }}
      />
    </label>
  );
}
