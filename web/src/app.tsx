/** The page of a roomcast service. `config.json` beside it says where the service is, and how it knows its users. */
import { render } from "preact";
import { Page } from "./page.js";

const answer = await fetch("config.json");
const { ws, auth = "demo", dashboard } = (await answer.json()) as { ws: string; auth?: string; dashboard?: string };
render(<Page url={ws} byToken={auth !== "demo"} dashboard={dashboard} />, document.body);
