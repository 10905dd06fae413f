/** The page of a roomcast service. `config.json` beside it says where the service is. */
import { render } from "preact";
import { Page } from "./page.js";

const answer = await fetch("config.json");
const { ws } = (await answer.json()) as { ws: string };
render(<Page url={ws} />, document.body);
