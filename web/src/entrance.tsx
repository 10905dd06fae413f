/** Who one is: a name, or a token where the service asks for one. */
import { Unreachable } from "roomcast";
import { useState } from "preact/hooks";
import { Restored } from "./restored.js";

/** Who comes in. */
export type Who = { name: string } | { token: string };

interface Door {
  byToken: boolean;
  enter: (who: Who) => Promise<void>;
  /** Where the twin's dashboard is, if there is one. */
  dashboard: string | undefined;
}

export function Entrance({ byToken, enter, dashboard }: Door) {
  const [trouble, setTrouble] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const said = new FormData(event.currentTarget as HTMLFormElement).get("who") as string;
    setTrouble("");
    try {
      await enter(byToken ? { token: said.trim() } : { name: (Restored.name = said.trim()) });
    } catch (error) {
      // A browser does not say why a handshake failed.
      const refused = "Not let in: the service refuses this token, or can't be reached. Try a fresh one.";
      setTrouble(byToken && error instanceof Unreachable ? refused : String(error));
    }
  };
  return (
    <main class="entrance">
      <h1>roomcast</h1>
      <form onSubmit={submit}>
        <label for="who">{byToken ? "Your token" : "Your name"}</label>
        {byToken ? (
          <input id="who" name="who" type="password" required autocomplete="off" aria-describedby="hint" autofocus />
        ) : (
          <input id="who" name="who" required maxLength={40} autocomplete="nickname" defaultValue={Restored.name} autofocus />
        )}
        {byToken && <p id="hint">Whoever runs this service gives you one. It is not kept: a reload asks for it again.</p>}
        <button>Enter</button>
      </form>
      <p role="alert">{trouble}</p>
      {dashboard && (
        <p>
          <a href={dashboard}>The dashboard of this twin</a>
        </p>
      )}
    </main>
  );
}
